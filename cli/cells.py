"""`vbpi-mix cells`: mixtures in the latent space of single cells: train (also without the word), evaluate."""

from __future__ import annotations

import click

from vbpi_mix_cli import cells_evaluate, cells_train

EPILOG = """\b
Examples:
  vbpi-mix cells simulated --A 4                    # train; needs no file
  vbpi-mix cells cells.h5ad --A 4 --labels cell_type
  vbpi-mix cells --data cortex --A 4                # downloaded once, unless it is here
  vbpi-mix cells --resume cells.vbpi --epochs 400
  vbpi-mix cells evaluate cells.vbpi
"""


class CellsGroup(click.Group):
    """What is no command is the data to train on, or an option of the training."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._named(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, self._named(args))

    def _named(self, args: list[str]) -> list[str]:
        """With the command that is meant where none is named."""
        return ["train", *args] if args and args[0] not in (*self.commands, "-h", "--help") else args


@click.group("cells", cls=CellsGroup, epilog=EPILOG)
def command() -> None:
    """Mixtures in the latent space of single cells (scVI), on the same estimators as trees.

    Name an .h5ad file with raw counts, or simulated, or cortex, to train on it.
    """


command.add_command(cells_train.command)
command.add_command(cells_evaluate.command)

"""`vbpi-mix image`: mixtures in the latent space of an image model: train, evaluate, sample, classify, measure, compare."""

from __future__ import annotations

import click

from vbpi_mix.errors import ConfigError
from vbpi_mix_cli import image_classify, image_compare, image_eval, image_fid, image_sample
from vbpi_mix_cli.image_train import DATA_SETS, train_command

EPILOG = """\b
Examples:
  vbpi-mix image digits --A 4                       # train; needs no download
  vbpi-mix image mnist --A 20 --S 2 --estimator s2a
  vbpi-mix image eval mnist.vbpi --importance-samples 1000
  vbpi-mix image sample mnist.vbpi
  vbpi-mix image classify digits.vbpi
  vbpi-mix image fid digits.vbpi
  vbpi-mix image compare a1.vbpi a4.vbpi a16.vbpi
"""


class ImageGroup(click.Group):
    """Data sets are commands; so are eval, sample, classify, fid and compare. An unknown one is an error of one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name.replace("-", "_"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            others = [name for name in self.commands if name not in DATA_SETS]
            raise ConfigError(
                f"no image data set is called {args[0]!r}: there are {', '.join(DATA_SETS)}; "
                f"the other commands are {', '.join(others)}"
            )
        return super().resolve_command(ctx, args)


@click.group("image", cls=ImageGroup, epilog=EPILOG)
def command() -> None:
    """Mixtures in the latent space of an image model (MISVAE), on the same estimators as trees.

    Name a data set to train on it. Files are found through VBPI_MIX_DATA or --data, or downloaded once.
    """


for _name in DATA_SETS:
    command.add_command(train_command(_name))
for _other in (image_eval, image_sample, image_classify, image_fid, image_compare):
    command.add_command(_other.command)

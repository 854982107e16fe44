"""`vbpi-mix cells train`: train a mixture of encoders on single cells, or resume a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.cells.config import FitConfig
from vbpi_mix_cli.config_options import config_options

if TYPE_CHECKING:
    from vbpi_mix.cells.run import CellRun
    from vbpi_mix.training.train import NoticeCallback, ProgressCallback

MAY_CHANGE_ON_RESUME = ("resume", "data", "named", "epochs", "seconds", "patience", "threads", "quiet")
EPILOG = """\b
Examples:
  vbpi-mix cells simulated --A 4
  vbpi-mix cells cells.h5ad --A 20 --S 2 --estimator s2a --genes 2000
  vbpi-mix cells --data cortex --A 4 --batch-size 512 --epochs 1000 --patience 100   # as published
  vbpi-mix cells --resume cells.vbpi --epochs 400
"""


@click.command("train", epilog=EPILOG, short_help="Train on an .h5ad file, simulated or cortex; the word may be left out.")
@click.argument("data", required=False)
@click.option("--data", "named", metavar="DATA", help="The same as the argument.")
@config_options(FitConfig, {"threads": {"default": None}})
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="Run directory.  [default: the data's name with .vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run there.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR",
              help="Resume a run; --epochs, --seconds and --patience extend it.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    data: str | None, named: str | None, out: Path | None, force: bool, resume: Path | None, quiet: bool, **choices: Any
) -> None:
    """Train on DATA: an .h5ad file with raw counts, `simulated` (seven known types), or `cortex` (Zeisel et al. 2015).

    Counts are layers["counts"], raw.X or X of the file, the first that holds counts. Writes a run directory.
    """
    from vbpi_mix_cli.console import check_only_resume
    from vbpi_mix_cli.torchrun import check_one_process

    check_one_process("cells")
    if data is not None and named is not None:
        raise click.UsageError("name the data once: as the argument, or with --data")
    chosen = data if data is not None else named
    if resume is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
        budgets = {budget: choices[budget] for budget in ("epochs", "seconds", "patience", "threads")}
        _show(lambda **told: _resumed(resume, chosen, budgets, told), quiet)
        return
    if chosen is None:
        raise click.UsageError("name an .h5ad file, simulated or cortex, or a run to resume: --resume DIR")
    given = {name: value for name, value in choices.items() if value is not None}
    config = FitConfig(chosen, **given)

    def start(progress: ProgressCallback, notice: NoticeCallback | None) -> CellRun:
        from vbpi_mix.cells.fit import fit

        return fit(config, out, force=force, progress=progress, notice=notice)

    _show(start, quiet)


def _resumed(place: Path, data: str | None, budgets: dict[str, Any], told: dict[str, Any]) -> CellRun:
    from vbpi_mix.cells.fit import resume

    return resume(place, data=data, **budgets, **told)


def _show(train: Callable[..., CellRun], quiet: bool) -> None:
    """Train, and print how it went."""
    from vbpi_mix_cli.console import show_trained
    from vbpi_mix_cli.progress import Progress

    with Progress(quiet) as progress:
        run = train(progress=progress, notice=None if quiet else lambda line: click.echo(line, err=True))
    assert run.result is not None
    show_trained(run.directory.destination, run.result, run.epochs, "cells evaluate", "", quiet)

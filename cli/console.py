"""What commands share in speaking to a user: training shown, paths and figures in words, options that a resumed run refuses."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from vbpi_mix.errors import ConfigError
from vbpi_mix_cli.progress import Progress

if TYPE_CHECKING:
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.problem import Problem
    from vbpi_mix.training.reports import TrainingResult
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix.training.trainer import Trainer

def describe_elbo(elbo: float, standard_error: float) -> str:
    """The single-sample bound for a reader: it says little where a few draws carry it."""
    if standard_error < 1.0:
        return f"ELBO {elbo:.2f} (se {standard_error:.2f})"
    return f"ELBO {elbo:.4g} (se {standard_error:.2g}: a few draws with very long branches carry it)"


def train(
    problem: Problem,
    training: TrainingConfig,
    run: RunDirectory,
    config: dict[str, Any],
    quiet: bool,
    resume: bool,
    evaluated: Collection[str] = (),
    note: str = "",
) -> TrainingResult:
    """Train to the end or to an interruption, from the last checkpoint if `resume`, shown (with a note) and logged.

    evaluated: entries of summary.json that tell of the model as it was, and go when training goes on. CheckpointError,
    before anything is changed, if there is a checkpoint that does not load, or none although the run was trained.
    """
    from vbpi_mix.training.trainer import Trainer

    with Progress(quiet, note=note) as progress:
        trainer = Trainer(problem, training, run, progress, run_config=config)
        if resume:
            _take_up(trainer, run, quiet)
            run.write_config(config)
            if not trainer.ended:
                run.drop_from_summary(evaluated)
        run.log(f"{'resumed' if resume else 'started'} at iteration {trainer.iteration:,}")
        result = trainer.run()
    run.log(f"stopped: {result.stop_reason}, {result.iterations:,} iterations, {result.seconds:.1f} s")
    return result


def _take_up(trainer: Trainer, run: RunDirectory, quiet: bool) -> None:
    """Bring a trainer to where the run stands, and say so where a user may expect more."""
    from vbpi_mix.training.extension import has_checkpoint

    remark = ""
    if has_checkpoint(run):
        trainer.resume()
        if trainer.ended:
            remark = f"nothing left to train: the run is at its end, after {trainer.iteration:,} iterations"
    else:
        remark = "no checkpoint yet: starting from the beginning"
    if remark and not quiet:
        click.echo(remark, err=True)


def shown_path(path: Path) -> Path:
    """A path as a user would type it: relative, if it is below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def check_only_resume(allowed: Collection[str]) -> None:
    """ConfigError if the current command was given an option that a resumed run has fixed; `allowed` are parameter names."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in allowed and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise ConfigError(f"{parameter.opts[0]} cannot be given with --resume: the run has fixed it")

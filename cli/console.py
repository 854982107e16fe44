"""What commands share in talking to a user: paths, descriptions of figures, options that a resumed run refuses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from vbpi_mix.errors import ConfigError

if TYPE_CHECKING:
    from vbpi_mix.phylo.report.parameters import ParameterSummary
    from vbpi_mix.training.reports import TrainingResult


# What ended training (TrainingReport.stop_reason), as a screen says it.
ENDED = {"iterations": "all done", "seconds": "time up", "patience": "no further gain"}


def ended(stop_reason: str) -> str:
    """What ended training, in words; "converged" and "interrupted" are their own."""
    return ENDED.get(stop_reason, stop_reason)


def describe_elbo(elbo: float, standard_error: float) -> str:
    """The single-sample bound for a reader: it says little where a few draws carry it."""
    if standard_error < 1.0:
        return f"ELBO {elbo:.2f} (se {standard_error:.2f})"
    return f"ELBO {elbo:.4g} (se {standard_error:.2g}: a few draws with very long branches carry it)"


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


def parameter_table(parameters: Sequence[ParameterSummary]) -> list[str]:
    """A line for each parameter: mean, standard deviation and 95% interval."""
    names = [f"{each.name} of {each.partition}" if each.partition else each.name for each in parameters]
    width = max(map(len, [*names, "parameter"]))
    lines = [f"{'parameter':<{width}}  {'mean':>10}  {'sd':>10}  {'95% interval':>23}"]
    for name, each in zip(names, parameters, strict=True):
        numbers = f"{each.mean:>10.5g}  {each.sd:>10.3g}  {each.lower:>10.4g} to {each.upper:<10.4g}"
        lines.append(f"{name:<{width}}  {numbers.rstrip()}")
    return lines


def show_trained(place: Path, result: TrainingResult, epochs: float, then: str, note: str, quiet: bool) -> None:
    """How the training of a model of images or cells went. then: the command that evaluates it; note: on its likelihood."""
    best = "none" if result.best_metric is None else f"{result.best_metric:.2f}"
    click.echo(
        f"{place.name}: {ended(result.stop_reason)} after {epochs:.4g} epochs and {result.seconds:.0f} s, "
        f"best validation MISELBO {best}{f' ({note})' if note else ''}"
    )
    if not quiet:
        click.echo(f"wrote {shown_path(place)}/: checkpoint.pt, summary.json, trace.csv", err=True)
        click.echo(f"next: vbpi-mix {then} {shown_path(place)}", err=True)

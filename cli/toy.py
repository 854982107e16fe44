"""`vbpi-mix toy`: train approximations of a target in the plane, and hold them against the exact answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.toy.experiment import APPROXIMATIONS, RECIPES, WEIGHTS, plan
from vbpi_mix_cli.console import check_only_resume, shown_path
from vbpi_mix_cli.numbers import Number
from vbpi_mix_cli.progress import Progress

if TYPE_CHECKING:
    from vbpi_mix.toy.experiment import Experiment, Member
    from vbpi_mix.toy.run import ToyRun

DEFAULTS = {name: value.default for name, value in inspect.signature(plan).parameters.items()}
FUNNEL, RING = RECIPES["funnel"], RECIPES["ring"]
MAY_CHANGE_ON_RESUME = ("resume", "iterations", "full", "quiet")

EPILOG = """\b
Examples:
  vbpi-mix toy --preset fig3                          # the five configurations of the published figure
  vbpi-mix toy --A 20 --S 2 --estimator s2a --weights learned
  vbpi-mix toy --target ring                          # mixture, ensemble, IWVI and flow
  vbpi-mix toy --resume toy-fig3.vbpi
"""


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


@click.command("toy", epilog=EPILOG)
@click.option("--target", default=DEFAULTS["target"], show_default=True, help=f"{_either(RECIPES)}.")
@click.option("--preset", help="fig3: A2A, S2A and S2S mixtures of the funnel, five in all.")
@click.option(
    "--approximation",
    "approximations",
    multiple=True,
    help=f"{_either(APPROXIMATIONS)}; may be repeated. [default: mixture for the funnel, else all four]",
)
@click.option(
    "--A", "A", type=Number("A"),
    help=f"Components, members, importance samples, flow steps. [{FUNNEL.A}; else {RING.A}]",
)
@click.option("--S", "S", type=Number("S"), help="Components sampled in each iteration. [1 for S2A]")
@click.option("--K", "K", type=Number("K"), help=f"Particles of each sampled component. [{FUNNEL.K}; else {RING.K}]")
@click.option("--estimator", help=f"a2a, s2a or s2s. [{FUNNEL.estimator} for the funnel, else {RING.estimator}]")
@click.option("--weights", help=f"{_either(WEIGHTS)} mixture weights. [{WEIGHTS[0]}]")
@click.option("--iterations", type=Number("iterations"), help="Of each training. [a fifth of the published number]")
@click.option(
    "--full",
    is_flag=True,
    help=f"As published: {FUNNEL.iterations:,} iterations for the funnel, else {RING.iterations:,}.",
)
@click.option(
    "--learning-rate",
    type=Number("learning_rate"),
    help=f"Constant. [funnel: {FUNNEL.quick_learning_rate}, with --full {FUNNEL.learning_rate}; else {RING.learning_rate}]",
)
@click.option(
    "--seed", type=Number("seed"), default=DEFAULTS["seed"], show_default=True,
    help="Of start, training and evaluation.",
)
@click.option("--sequential-energy", is_flag=True, help="Evaluate the likelihood one component at a time (funnel).")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [toy-TARGET.vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run there.")
@click.option("--resume", type=click.Path(path_type=Path), help="Resume a run; --iterations extends it.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def command(out: Path | None, force: bool, resume: Path | None, quiet: bool, **choices: Any) -> None:
    """Train approximations of a target in the plane, whose log evidence is known exactly.

    Writes a run directory with curves.csv, summary.json, and pictures as PNG and SVG.
    """
    from vbpi_mix.toy import run as toy

    if resume is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
        with Shown(quiet) as shown:
            budget = {name: choices[name] for name in ("iterations", "full")}
            run = toy.resume(resume, **budget, observe=shown.observe, notice=shown.notice)
    else:
        experiment = plan(**choices)
        with Shown(quiet) as shown:
            run = toy.run_experiment(experiment, out, force=force, observe=shown.observe, notice=shown.notice)
    if run.interrupted:
        click.echo(f"resume with: vbpi-mix toy --resume {shown_path(run.directory.path)}", err=True)
        raise click.Abort()
    click.echo(_table(run))
    pictures = ", ".join(f"{name}.png and .svg" for name in run.pictures)
    click.echo(f"wrote {shown_path(run.directory.path)}: summary.json, curves.csv, {pictures}")


class Shown:
    """Progress on standard error, one after the other: each member has its own."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._progress = Progress(quiet)

    def observe(self, experiment: Experiment, member: Member) -> Progress:
        """Announce a member; returns what shows its training."""
        self._progress.close()
        self._progress = Progress(self._quiet)
        self.notice(f"{experiment.target}: {member.label}")
        return self._progress

    def notice(self, line: str) -> None:
        """Show a line."""
        if not self._quiet:
            click.echo(line, err=True)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()


def _table(run: ToyRun) -> str:
    """The results for people. The gap is log evidence less bound: KL(q || posterior) where L = 1."""
    lines = [
        f"{run.experiment.target}: exact log evidence {run.log_evidence:.3f}",
        f"{'':<26} {'bound':>10} {'se':>7} {'gap':>8} {'best':>9} {'ms/iter':>8} {'seconds':>8}",
    ]
    for entry in run.entries():
        best = entry["best_elbo_of_curve"]
        lines.append(
            f"{entry['label']:<26} {entry['elbo']:>10.4f} {entry['elbo_standard_error']:>7.4f} "
            f"{entry['gap']:>8.4f} {'' if best is None else format(best, '.3f'):>9} "
            f"{1e3 * entry['seconds_per_iteration']:>8.3f} {entry['training_seconds']:>8.1f}"
        )
        lines.extend(f"{'':<4}{text}" for text in _remarks(entry, run.log_evidence))
    return "\n".join(lines)


def _remarks(facts: Mapping[str, Any], log_evidence: float) -> list[str]:
    remarks = []
    if "share_of_first_mode" in facts:
        remarks.append(f"share of samples at the first mode {facts['share_of_first_mode']:.3f}")
    if "as_mixture" in facts:
        found = facts["as_mixture"]
        gap = log_evidence - found["miselbo"]
        remarks.append(
            f"its members as one mixture: {found['miselbo']:.4f}, se {found['standard_error']:.4f}, gap {gap:.4f}"
        )
    if "effective_components" in facts:
        remarks.append(f"effective number of components {facts['effective_components']:.2f}")
    return remarks

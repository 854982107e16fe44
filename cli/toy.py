"""`vbpi-mix toy`: train approximations of a target in the plane, and hold them against the exact answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.errors import ConfigError
from vbpi_mix_cli.console import check_only_resume, shown_path

if TYPE_CHECKING:
    from vbpi_mix.toy.curves import Curve
    from vbpi_mix.toy.experiment import Experiment, Member
    from vbpi_mix.toy.figures import Panel
    from vbpi_mix.training.mixture_problem import BoundEstimate, MixtureProblem
    from vbpi_mix.training.reports import TrainingResult
    from vbpi_mix.training.run_directory import RunDirectory

# Of all components together; L times as many where L are averaged inside the logarithm.
VALIDATION_PARTICLES = 1_000
FINAL_PARTICLES = 100_000
PICTURED_SAMPLES = 3_000
COUNTED_SAMPLES = 30_000
# Streams of the final estimate and of pictured samples, apart from those of the validations (t >= 1).
FINAL_STREAM, PICTURE_STREAM = -1, -2
MAY_CHANGE_ON_RESUME = ("resume", "iterations", "full", "quiet")

EPILOG = """\b
Examples:
  vbpi-mix toy --preset fig3                          # the five configurations of the published figure
  vbpi-mix toy --A 20 --S 2 --estimator s2a --weights learned
  vbpi-mix toy --target ring                          # mixture, ensemble, IWVI and flow
  vbpi-mix toy --resume toy-fig3.vbpi
"""


@dataclass(frozen=True)
class Outcome:
    """One trained member: estimate of its bound, of its curve, and what is pictured of it."""

    member: Member
    problem: MixtureProblem
    result: TrainingResult
    curve: Curve
    final: BoundEstimate
    panel: Panel
    facts: dict[str, Any]


@click.command("toy", epilog=EPILOG)
@click.option("--target", default="funnel", show_default=True, help="funnel, ring or bimodal.")
@click.option("--preset", help="fig3: A2A, S2A and S2S mixtures of the funnel, five in all.")
@click.option(
    "--approximation",
    "approximations",
    multiple=True,
    help="mixture, ensemble, iwvi or iaf; may be repeated. [default: mixture for the funnel, else all four]",
)
@click.option("--A", "A", type=int, help="Components, members, importance samples, flow steps. [20; else 30]")
@click.option("--S", "S", type=int, help="Components sampled in each iteration. [1 for S2A]")
@click.option("--K", "K", type=int, help="Particles of each sampled component. [10; else 100]")
@click.option("--estimator", help="a2a, s2a or s2s. [s2a for the funnel, else a2a]")
@click.option("--weights", help="uniform or learned mixture weights. [uniform]")
@click.option("--iterations", type=int, help="Of each training. [a fifth of the published number]")
@click.option("--full", is_flag=True, help="As published: 50,000 iterations for the funnel, else 5,000.")
@click.option("--learning-rate", type=float, help="Constant. [funnel: 0.005, with --full 0.001; else 0.1]")
@click.option("--seed", default=1, show_default=True, help="Of start, training and evaluation.")
@click.option("--sequential-energy", is_flag=True, help="Evaluate the likelihood one component at a time (funnel).")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [toy-TARGET.vbpi]")
@click.option("--force", is_flag=True, help="Replace an earlier run there.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with a run; --iterations extends it.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def command(out: Path | None, force: bool, resume: Path | None, quiet: bool, **choices: Any) -> None:
    """Train approximations of a target in the plane, whose log evidence is known exactly.

    Writes a run directory with curves.csv, summary.json, and pictures as PNG and SVG.
    """
    from vbpi_mix.toy.experiment import plan
    from vbpi_mix.training.provenance import use_threads
    from vbpi_mix.training.run_directory import RunDirectory

    use_threads(1)
    if resume is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
        run = RunDirectory.open(resume)
        experiment = _reopened(run, choices["iterations"], choices["full"])
        _check_begun(run, experiment)
        run.write_config(_config(experiment))
        _finish(run, experiment, _train_all(run, experiment, quiet), quiet)
        return
    experiment = plan(**choices)
    for member in experiment.members:  # refuse what does not fit before anything is written
        _make_problem(experiment, member)
    _training_config(experiment)
    place = out if out is not None else Path(f"toy-{experiment.preset or experiment.target}.vbpi")
    with RunDirectory.create(place, force) as run:
        run.commit(_config(experiment))
        _finish(run, experiment, _train_all(run, experiment, quiet), quiet)


def _reopened(run: RunDirectory, iterations: int | None, full: bool) -> Experiment:
    """The experiment of a run, longer if that is asked for."""
    import dataclasses

    from vbpi_mix.toy.experiment import RECIPES, Experiment

    config = run.read_config()
    if config.get("command") != "toy" or not isinstance(config.get("experiment"), dict):
        raise ConfigError(f"{run.path} is not a run of vbpi-mix toy: resume it with the command that made it")
    experiment = Experiment.from_dict(config["experiment"])
    if full and iterations is not None:
        raise ConfigError("--full and --iterations both say how long to train: give one of them")
    if full:
        iterations = RECIPES[experiment.target].iterations
    return experiment if iterations is None else dataclasses.replace(experiment, iterations=iterations)


def _check_begun(run: RunDirectory, experiment: Experiment) -> None:
    """What was trained of a run can be gone on with: CheckpointError or ConfigError, before anything is changed."""
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.extension import extend, standing_of
    from vbpi_mix.training.run_directory import RunDirectory

    before = TrainingConfig.from_dict(run.read_config().get("training", {}))
    for member in experiment.members:
        place = _member_place(run, experiment, member)
        if place.exists():
            extend(before, standing_of(RunDirectory.open(place), "toy"), iterations=experiment.iterations)
        _make_problem(experiment, member)


def _config(experiment: Experiment) -> dict[str, Any]:
    training = _training_config(experiment).to_dict()
    return {"command": "toy", "experiment": experiment.to_dict(), "training": training}


def _training_config(experiment: Experiment) -> Any:
    from vbpi_mix.training.config import TrainingConfig

    return TrainingConfig(**experiment.training()).resolve()


def _make_problem(experiment: Experiment, member: Member) -> MixtureProblem:
    """What the trainer trains: mixtures as asked for, everything else as one component."""
    from vbpi_mix.estimators import Estimator
    from vbpi_mix.toy.experiment import make_approximation, make_target
    from vbpi_mix.training.mixture_problem import MixtureProblem

    estimator, sampled = Estimator.A2A, 1
    if member.approximation == "mixture":
        estimator = Estimator.parse(member.estimator or "")
        if member.S is None and estimator is not Estimator.A2A:
            raise ConfigError(f"--S is missing: {estimator} samples S of the A={member.A} components")
        sampled = member.A if member.S is None else member.S
    return MixtureProblem(
        "toy",
        make_target(experiment),
        make_approximation(experiment, member),
        estimator=estimator,
        sampled=sampled,
        particles=experiment.K * member.importance_samples,
        gradient="pathwise",
        importance_samples=member.importance_samples,
        validation_particles=VALIDATION_PARTICLES * member.importance_samples,
    )


def _train_all(run: RunDirectory, experiment: Experiment, quiet: bool) -> list[Outcome]:
    """Train one member after the other; what was trained before is taken up where it stands.

    One member's run is the run itself; several have runs of their own inside it.
    """
    outcomes = []
    for member in experiment.members:
        if not quiet:
            click.echo(f"{experiment.target}: {member.label}", err=True)
        outcomes.append(_train(run, experiment, member, quiet))
        if outcomes[-1].result.stop_reason == "interrupted":
            run.log(f"interrupted: {member.label}")
            click.echo(f"go on with: vbpi-mix toy --resume {shown_path(run.path)}", err=True)
            raise click.Abort()
    return outcomes


def _member_place(run: RunDirectory, experiment: Experiment, member: Member) -> Path:
    """Where the run of a member is: the run itself, if it is the only one."""
    return run.path if len(experiment.members) == 1 else run.path / member.slug


def _own_run(run: RunDirectory, place: Path, config: dict[str, Any]) -> RunDirectory:
    """The run at the place of a member, made anew unless it has been begun."""
    from vbpi_mix.training.run_directory import RunDirectory

    if place == run.path:
        return run
    if place.exists():
        return RunDirectory.open(place)
    own = RunDirectory.create(place)
    own.commit(config)
    return own


def _train(run: RunDirectory, experiment: Experiment, member: Member, quiet: bool) -> Outcome:
    from vbpi_mix.toy.curves import read_curve
    from vbpi_mix.training.extension import has_checkpoint
    from vbpi_mix_cli.console import train

    problem = _make_problem(experiment, member)
    place = _member_place(run, experiment, member)
    config = _config(experiment) | ({} if place == run.path else {"member": member.label})
    run = _own_run(run, place, config)
    run.log(f"training {member.label}")
    result = train(problem, _training_config(experiment), run, config, quiet, has_checkpoint(run))
    curve = read_curve(run.trace, member.label, result.seconds_per_iteration or 0.0)
    particles = FINAL_PARTICLES * member.importance_samples
    final = problem.estimate(particles, _stream(experiment, FINAL_STREAM))
    panel, facts = _inspect(problem, experiment, member)
    return Outcome(member, problem, result, curve, final, panel, facts)


def _stream(experiment: Experiment, number: int) -> Any:
    """A generator of the run's seed, apart from those that training uses."""
    import torch

    from vbpi_mix.training.validation import hash_seed

    return torch.Generator().manual_seed(hash_seed(experiment.seed, number))


def _inspect(problem: Any, experiment: Experiment, member: Member) -> tuple[Panel, dict[str, Any]]:
    """What to picture of a trained member, and what only its kind can tell."""
    import torch

    from vbpi_mix.toy.experiment import effective_components
    from vbpi_mix.toy.figures import Panel
    from vbpi_mix.toy.gaussians import resampled_positions

    q = problem.mixture
    facts: dict[str, Any] = {}
    generator = _stream(experiment, PICTURE_STREAM)
    if member.approximation == "iwvi":
        L = member.importance_samples
        positions, labels = resampled_positions(q, problem.target, L, COUNTED_SAMPLES, generator)
    else:
        positions, labels = q.positions(COUNTED_SAMPLES, generator)
    if experiment.target == "bimodal":
        facts["share_of_first_mode"] = float((positions.sum(1) > 0).double().mean())
    weights = None
    if member.weights == "learned":
        weights = torch.softmax(q.log_weights.detach(), 0)
        facts["weights"] = weights.tolist()
        facts["effective_components"] = effective_components(q.log_weights)
    if member.approximation == "ensemble":
        facts["as_mixture"] = _as_mixture(problem, experiment)
    means = deviations = None
    if member.approximation in ("mixture", "ensemble"):
        means, deviations = q.ellipses()
    shown = torch.randperm(len(labels), generator=generator)[:PICTURED_SAMPLES]
    title = member.label if experiment.target == "funnel" else member.full_label
    panel = Panel(title, positions[shown], labels[shown], means, deviations, weights)
    return panel, facts


def _as_mixture(problem: Any, experiment: Experiment) -> dict[str, float]:
    """The bound of an ensemble's members taken as one mixture with equal weights."""
    from vbpi_mix.estimators import Estimator
    from vbpi_mix.training.mixture_problem import MixtureProblem

    mixture = problem.mixture.as_mixture()
    A = mixture.n_components
    joint = MixtureProblem(
        "toy", problem.target, mixture, estimator=Estimator.A2A, sampled=A, particles=1, gradient="pathwise"
    )
    found = joint.estimate(FINAL_PARTICLES, _stream(experiment, FINAL_STREAM))
    return {"miselbo": found.mean, "standard_error": found.standard_error}


def _finish(run: RunDirectory, experiment: Experiment, outcomes: Sequence[Outcome], quiet: bool) -> None:
    """Write curves, pictures and summary, and print the table."""
    from vbpi_mix.toy.curves import curves_csv
    from vbpi_mix.toy.experiment import make_target

    target = make_target(experiment)
    log_evidence = target.log_evidence()
    run.write_text("curves.csv", curves_csv([outcome.curve for outcome in outcomes]))
    names = _write_pictures(run, target, outcomes, log_evidence)
    run.update_summary(_summary(experiment, outcomes, log_evidence))
    click.echo(_table(experiment, outcomes, log_evidence))
    pictures = ", ".join(f"{name}.png and .svg" for name in names)
    click.echo(f"wrote {shown_path(run.path)}: summary.json, curves.csv, {pictures}")


def _write_pictures(run: RunDirectory, target: Any, outcomes: Sequence[Outcome], log_evidence: float) -> list[str]:
    """Draw and write; returns the names without their endings."""
    from vbpi_mix.toy import figures

    panels = [outcome.panel for outcome in outcomes]
    pictures: dict[str, Callable[[], Any]] = {
        "bound": lambda: figures.draw_bounds([outcome.curve for outcome in outcomes], log_evidence),
    }
    if target.name == "funnel":
        pictures["latent"] = lambda: figures.draw_latent(target, panels)
    else:
        pictures["samples"] = lambda: figures.draw_samples(target, panels)
    if any(panel.weights is not None for panel in panels):
        pictures["weights"] = lambda: figures.draw_weights(panels)
    for name, draw in pictures.items():
        for form, data in figures.render(draw()).items():
            run.write_bytes(f"{name}.{form}", data)
    return list(pictures)


def _summary(experiment: Experiment, outcomes: Sequence[Outcome], log_evidence: float) -> dict[str, Any]:
    """summary.json: the experiment, and one entry for each member; a single member's is at the top too."""
    from vbpi_mix.training.provenance import environment, versions

    entries = [_entry(experiment, outcome, log_evidence) for outcome in outcomes]
    return {
        "command": "toy",
        "target": experiment.target,
        "preset": experiment.preset,
        "seed": experiment.seed,
        "sequential_energy": experiment.sequential_energy,
        "log_evidence": log_evidence,
        **(entries[0] if len(entries) == 1 else {"iterations": experiment.iterations, "K": experiment.K}),
        "members": entries,
        "versions": versions(),
        "environment": environment(),
    }


def _entry(experiment: Experiment, outcome: Outcome, log_evidence: float) -> dict[str, Any]:
    """What is recorded of one member; seconds include validation, training_seconds do not."""
    member, result, curve = outcome.member, outcome.result, outcome.curve
    per_iteration = result.seconds_per_iteration or 0.0
    best = curve.best if curve.miselbo else None
    return {
        "label": member.label,
        "approximation": member.approximation,
        "A": member.A,
        "S": member.S,
        "K": experiment.K,
        "estimator": member.estimator,
        "weights_kind": member.weights,
        "iterations": result.iterations,
        "seconds": result.seconds,
        "seconds_per_iteration": per_iteration,
        "training_seconds": per_iteration * result.iterations,
        "elbo": outcome.final.mean,
        "elbo_standard_error": outcome.final.standard_error,
        "gap": log_evidence - outcome.final.mean,
        "best_elbo_of_curve": None if best is None else curve.miselbo[best],
        "best_iteration": None if best is None else curve.iterations[best],
        **outcome.facts,
    }


def _table(experiment: Experiment, outcomes: Sequence[Outcome], log_evidence: float) -> str:
    """The results for people. The gap is log evidence less bound: KL(q || posterior) where L = 1."""
    lines = [
        f"{experiment.target}: exact log evidence {log_evidence:.3f}",
        f"{'':<26} {'bound':>10} {'se':>7} {'gap':>8} {'best':>9} {'ms/iter':>8} {'seconds':>8}",
    ]
    for outcome in outcomes:
        entry = _entry(experiment, outcome, log_evidence)
        best = entry["best_elbo_of_curve"]
        lines.append(
            f"{entry['label']:<26} {entry['elbo']:>10.4f} {entry['elbo_standard_error']:>7.4f} "
            f"{entry['gap']:>8.4f} {'' if best is None else format(best, '.3f'):>9} "
            f"{1e3 * entry['seconds_per_iteration']:>8.3f} {entry['training_seconds']:>8.1f}"
        )
        lines.extend(f"{'':<4}{text}" for text in _remarks(outcome.facts, log_evidence))
    return "\n".join(lines)


def _remarks(facts: dict[str, Any], log_evidence: float) -> list[str]:
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

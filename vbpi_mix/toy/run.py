"""A toy experiment as a run: train it (`run_experiment`), resume it (`resume`), load what was trained (`load`).

    from vbpi_mix.toy.experiment import plan
    from vbpi_mix.toy.run import run_experiment

    run = run_experiment(plan("ring", iterations=200), "ring.vbpi")
    run.outcomes[0].final.mean, run.log_evidence

One member's run is the run itself; several have runs of their own inside it. All trainings use one thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.toy import figures
from vbpi_mix.toy.curves import curves_csv
from vbpi_mix.toy.experiment import KIND, RECIPES, Experiment, Member
from vbpi_mix.toy.fit import make_problem
from vbpi_mix.toy.members import make_target
from vbpi_mix.toy.outcomes import Outcome, assess
from vbpi_mix.training.checkpoint import MISFITS, load_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.extension import extend, has_checkpoint, standing_of
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.provenance import environment, use_threads, versions
from vbpi_mix.training.run_config import check_recorded
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.train import NoticeCallback, ProgressCallback, train_in

# Called before each member is trained; what it returns gets the reports of that training.
Observer = Callable[[Experiment, Member], ProgressCallback]


@dataclass(frozen=True)
class ToyRun:
    """An experiment that was trained, as far as it came.

    outcomes  of the members, in order. interrupted: a signal ended the last of them; no pictures and no summary were written
    pictures  names of the files, without their endings
    """

    directory: RunDirectory
    experiment: Experiment
    log_evidence: float
    outcomes: tuple[Outcome, ...]
    interrupted: bool = False
    pictures: tuple[str, ...] = ()

    def entries(self) -> list[dict[str, Any]]:
        """What summary.json records of each member."""
        return [outcome.entry(self.experiment, self.log_evidence) for outcome in self.outcomes]


@dataclass(frozen=True)
class Trained:
    """A member with what was learned of it: `problem.mixture` to sample from, `problem.estimate` for its bound."""

    member: Member
    problem: MixtureProblem


def run_experiment(
    experiment: Experiment,
    out: str | Path | None = None,
    *,
    force: bool = False,
    observe: Observer | None = None,
    notice: NoticeCallback | None = None,
) -> ToyRun:
    """Train all members and write the run: trainings, curves.csv, pictures, summary.json.

    out: by default toy-NAME.vbpi, after preset or target. force: replace an earlier run there. ConfigError for what does not
    fit, RunDirectoryError if the place is taken: before anything is written.
    """
    use_threads(1)
    for member in experiment.members:
        make_problem(experiment, member)
    config = _config(experiment)
    place = Path(f"toy-{experiment.preset or experiment.target}.vbpi" if out is None else out)
    with RunDirectory.create(place, force) as run:
        run.commit(config)
        return _finish(run, experiment, observe, notice)


def resume(
    path: str | Path,
    *,
    iterations: int | None = None,
    full: bool = False,
    observe: Observer | None = None,
    notice: NoticeCallback | None = None,
) -> ToyRun:
    """Take every member up where it stands and train it to its end, or to a later one.

    iterations: in all, of each training; `full`: as many as were published. CheckpointError or ConfigError before anything is
    changed.
    """
    use_threads(1)
    run = RunDirectory.open_unfinished(path)
    experiment = read_experiment(run)
    if full and iterations is not None:
        raise ConfigError("--full and --iterations both say how long to train: give one of them")
    if full:
        iterations = RECIPES[experiment.target].iterations
    if iterations is not None:
        experiment = dataclasses.replace(experiment, iterations=iterations)
    with run:
        _check_begun(run, experiment)
        run.write_config(_config(experiment))
        return _finish(run, experiment, observe, notice)


def load(path: str | Path) -> list[Trained]:
    """The members of a run as their checkpoints hold them. CheckpointError if one was not trained or does not fit."""
    run = RunDirectory.open(path)
    experiment = read_experiment(run)
    found = []
    for member in experiment.members:
        problem, checkpoint = make_problem(experiment, member), _place(run, experiment, member) / run.checkpoint.name
        stored = load_checkpoint(checkpoint, KIND)
        check_recorded(run, {"experiment": run.read_config()["experiment"]}, {"experiment": stored.config.get("experiment")})
        try:
            problem.load_state_dict(stored.problem)
        except MISFITS as error:
            reason = str(error).strip().split("\n")[0]
            raise CheckpointError(f"{checkpoint} does not fit {member.label}: {reason}") from error
        found.append(Trained(member, problem))
    return found


def read_experiment(run: RunDirectory) -> Experiment:
    """The experiment of a run. ConfigError if it is a run of something else."""
    config = run.read_config()
    if config.get("command") != KIND or not isinstance(config.get("experiment"), dict):
        raise ConfigError(f"{run.path} is not a run of vbpi-mix toy: resume it with the command that made it")
    return Experiment.from_dict(config["experiment"])


def _check_begun(run: RunDirectory, experiment: Experiment) -> None:
    """What was trained of a run can be resumed: CheckpointError or ConfigError, before anything is changed."""
    before = TrainingConfig.from_dict(run.read_config().get("training", {}))
    for member in experiment.members:
        place = _place(run, experiment, member)
        if place.exists():
            extend(before, standing_of(RunDirectory.open(place), KIND), iterations=experiment.iterations)
        make_problem(experiment, member)


def _config(experiment: Experiment) -> dict[str, Any]:
    return {"command": KIND, "experiment": experiment.to_dict(), "training": _training(experiment).to_dict()}


def _training(experiment: Experiment) -> TrainingConfig:
    return TrainingConfig(**experiment.training()).resolve()


def _place(run: RunDirectory, experiment: Experiment, member: Member) -> Path:
    """Where the run of a member is: the run itself, if it is the only one."""
    return run.path if len(experiment.members) == 1 else run.path / member.slug


def _finish(
    run: RunDirectory, experiment: Experiment, observe: Observer | None, notice: NoticeCallback | None
) -> ToyRun:
    """Train one member after the other; then, unless interrupted, write curves, pictures and summary."""
    log_evidence = make_target(experiment).log_evidence()
    outcomes: list[Outcome] = []
    for member in experiment.members:
        outcomes.append(_train(run, experiment, member, None if observe is None else observe(experiment, member), notice))
        if outcomes[-1].result.stop_reason == "interrupted":
            run.log(f"interrupted: {member.label}")
            return ToyRun(run, experiment, log_evidence, tuple(outcomes), interrupted=True)
    run.write_text("curves.csv", curves_csv([outcome.curve for outcome in outcomes]))
    pictures = _write_pictures(run, experiment, outcomes, log_evidence)
    finished = ToyRun(run, experiment, log_evidence, tuple(outcomes), pictures=pictures)
    run.update_summary(_summary(finished))
    return finished


def _train(
    run: RunDirectory,
    experiment: Experiment,
    member: Member,
    progress: ProgressCallback | None,
    notice: NoticeCallback | None,
) -> Outcome:
    """Train one member in its own run, which is made unless it was begun."""
    problem, place, config = make_problem(experiment, member), _place(run, experiment, member), _config(experiment)
    if place != run.path:
        config["member"] = member.label
        if place.exists():
            run = RunDirectory.open(place)
        else:
            run = RunDirectory.create(place)
            run.commit(config)
    with run:
        run.log(f"training {member.label}")
        result = train_in(
            run, problem, _training(experiment), config, resume=has_checkpoint(run), progress=progress, notice=notice
        )
        return assess(experiment, member, problem, result, run)


def _write_pictures(
    run: RunDirectory, experiment: Experiment, outcomes: list[Outcome], log_evidence: float
) -> tuple[str, ...]:
    """Draw and write; returns the names without their endings."""
    target, panels = make_target(experiment), [outcome.panel for outcome in outcomes]
    pictures: dict[str, Callable[[], Any]] = {
        "bound": lambda: figures.draw_bounds([outcome.curve for outcome in outcomes], log_evidence),
    }
    if experiment.target == "funnel":
        pictures["latent"] = lambda: figures.draw_latent(target, panels)
    else:
        pictures["samples"] = lambda: figures.draw_samples(target, panels)
    if any(panel.weights is not None for panel in panels):
        pictures["weights"] = lambda: figures.draw_weights(panels)
    for name, draw in pictures.items():
        for form, data in figures.render(draw()).items():
            run.write_bytes(f"{name}.{form}", data)
    return tuple(pictures)


def _summary(run: ToyRun) -> dict[str, Any]:
    """summary.json: the experiment, and one entry for each member; a single member's is at the top too."""
    experiment, entries = run.experiment, run.entries()
    return {
        "command": KIND,
        "target": experiment.target,
        "preset": experiment.preset,
        "seed": experiment.seed,
        "sequential_energy": experiment.sequential_energy,
        "log_evidence": run.log_evidence,
        **(entries[0] if len(entries) == 1 else {"iterations": experiment.iterations, "K": experiment.K}),
        "members": entries,
        "versions": versions(),
        "environment": environment(),
    }

"""Resuming a run for longer: where it stands, and which budgets hold from then on.

Budgets count from the beginning of the run, earlier parts included.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.training.checkpoint import load_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Standing:
    """What a run has had: iterations, seconds of training, and validations since its best one."""

    iterations: int = 0
    seconds: float = 0.0
    since_best: int = 0


def has_checkpoint(run: RunDirectory) -> bool:
    """Whether there is a checkpoint to resume from; none, if the run was stopped before it wrote one.

    CheckpointError if it is gone although the run was trained: a fresh start would lose the trace as well.
    """
    if run.checkpoint.exists():
        return True
    if run.was_trained():
        raise CheckpointError(
            f"{run.checkpoint} is missing, though this run was trained: put it back, or train anew in another folder"
        )
    return False


def standing_of(run: RunDirectory, kind: str) -> Standing:
    """Where the checkpoint of a run stands; at the beginning, if there is none yet.

    CheckpointError if it cannot be read, is of another kind, or is gone although the run was trained.
    """
    if not has_checkpoint(run):
        return Standing()
    state = load_checkpoint(run.checkpoint, kind).training
    try:
        return Standing(int(state["iteration"]), float(state["seconds"]), int(state["watch"]["since"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run.checkpoint} does not say how far training had come: the run cannot be resumed") from error


def extend(
    config: TrainingConfig,
    standing: Standing,
    *,
    iterations: int | None = None,
    seconds: float | None = None,
    patience: int | None = None,
) -> TrainingConfig:
    """The choices of a run with these budgets, where they are given, in place of its own.

    A budget of the other kind stays, unless it is used up: then it is dropped, as the run could not continue. ConfigError if
    what is given is less than the run has had, or if the run has run out of patience.
    """
    given: dict[str, float | None] = {"iterations": iterations, "seconds": seconds, "patience": patience}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return config
    for name, had in (("iterations", standing.iterations), ("seconds", standing.seconds)):
        own, new = getattr(config, name), given[name]
        if new is not None and new < had and new != own:
            raise ConfigError(f"{_number(new)} {name} in all asked for, but the run has had {_number(had)}: give more")
        other = given["seconds" if name == "iterations" else "iterations"]
        if new is None and other is not None and own is not None and had >= own:
            changes[name] = None
    if config.schedule == "paper" and changes.get("iterations", config.iterations) is None:
        raise ConfigError("the published schedule ends by iterations: say how many in all")
    longer = dataclasses.replace(config, **changes)
    if longer.patience is not None and standing.since_best >= longer.patience:
        raise ConfigError(
            f"the run has stopped after {standing.since_best} validations without a better one: give more patience than that"
        )
    return longer


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"

"""How to train: every choice of the training loop, checked once and written out in full.

A field that is None is not chosen yet; `resolve` fills it by the schedule, so that config.yaml shows every
value that was in force. Times are seconds, lengths are iterations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.training.provenance import available_cores

SCHEDULES = ("default", "paper")

# Published: Adam 0.001, times 0.75 every 20,000 of 400,000 iterations, tempered over the first 100,000.
_PAPER = {
    "iterations": 400_000,
    "learning_rate": 0.001,
    "learning_rate_decay": 0.75,
    "decay_every": 20_000,
    "tempering_iterations": 100_000,
}
_DEFAULT = {
    "learning_rate": 0.01,
    "learning_rate_decay": 0.3,
    "decay_every": 0,
    "tempering_iterations": 2_000,
}

# name -> (integer?, smallest value, whether the smallest is allowed, largest value, None allowed?)
_LIMITS: dict[str, tuple[bool, float, bool, float, bool]] = {
    "iterations": (True, 1, True, math.inf, True),
    "seconds": (False, 0, False, math.inf, True),
    "learning_rate": (False, 0, False, math.inf, True),
    "learning_rate_decay": (False, 0, False, 1, True),
    "decay_every": (True, 0, True, math.inf, True),
    "final_learning_rate_factor": (False, 0, False, 1, False),
    "tempering_iterations": (True, 0, True, math.inf, True),
    "tempering_seconds": (False, 0, False, math.inf, True),
    "initial_beta": (False, 0, True, 1, False),
    "plateau_window": (True, 2, True, math.inf, False),
    "plateau_windows": (True, 1, True, math.inf, False),
    "plateau_standard_errors": (False, 0, True, math.inf, False),
    "plateau_reductions": (True, 0, True, math.inf, False),
    "iteration_limit": (True, 1, True, math.inf, False),
    "validate_every": (True, 1, True, math.inf, True),
    "patience": (True, 1, True, math.inf, True),
    "seed": (True, 0, True, 2**63 - 1, False),
    "threads": (True, 1, True, math.inf, True),
    "checkpoint_every_seconds": (False, 0, True, math.inf, True),
    "trace_every": (True, 1, True, math.inf, False),
    "bound_window": (True, 1, True, math.inf, False),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Choices of one training run. ConfigError, one line, if a value is out of range or two do not fit.

    iterations, seconds: where to stop; the first that is reached. With neither, the default schedule stops
        when the bound has stopped improving, and the paper's after 400,000 iterations.
    learning_rate: Adam's at the start. learning_rate_decay: its factor at each decay (paper: every
        `decay_every` iterations; default: at each plateau). final_learning_rate_factor: what is left of the
        learning rate when a budget (`iterations` or `seconds`) of the default schedule is used up.
    learning_rate_multipliers: by name of a parameter group, on top of the problem's own.
    tempering_iterations: the inverse temperature beta is min(1, initial_beta + t / tempering_iterations).
    tempering_seconds: or, if that is more, the seconds of training so far over these. If neither is chosen, a run of the
        default schedule with a budget of time takes a tenth of it, whatever budget it is given later.
    plateau_*: see schedules.PlateauRule. iteration_limit: the default schedule ends here at the latest.
    validate_every, patience, validation_metric, validation_maximise, keep_best: for problems that validate;
        training stops after `patience` validations without a better metric (the first one, if None).
    bound_window: how many last bounds the reported bound is the mean of.
    """

    iterations: int | None = None
    seconds: float | None = None
    schedule: str = "default"
    learning_rate: float | None = None
    learning_rate_decay: float | None = None
    decay_every: int | None = None
    final_learning_rate_factor: float = 0.01
    learning_rate_multipliers: Mapping[str, float] = field(default_factory=dict)
    tempering_iterations: int | None = None
    tempering_seconds: float | None = None
    initial_beta: float = 0.001
    plateau_window: int = 2_000
    plateau_windows: int = 1
    plateau_standard_errors: float = 1.0
    plateau_reductions: int = 4
    iteration_limit: int = 1_000_000
    validate_every: int | None = None
    patience: int | None = None
    validation_metric: str | None = None
    validation_maximise: bool = True
    keep_best: bool = False
    seed: int = 1
    threads: int | None = None
    checkpoint_every_seconds: float | None = 60.0
    trace_every: int = 10
    bound_window: int = 1_000

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        for name, limits in _LIMITS.items():
            _check_number(name, getattr(self, name), *limits)
        for name in ("validation_maximise", "keep_best"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.validation_metric is not None and not isinstance(self.validation_metric, str):
            raise ConfigError(f"validation_metric must be a name, not {self.validation_metric!r}")
        if not isinstance(self.learning_rate_multipliers, Mapping):
            raise ConfigError("learning_rate_multipliers must map names of parameter groups to numbers")
        for name, value in self.learning_rate_multipliers.items():
            _check_number(f"learning_rate_multipliers[{name}]", value, False, 0, True, math.inf, False)
        for name in ("patience", "keep_best"):
            if getattr(self, name) and self.validate_every is None:
                raise ConfigError(f"{name} needs validate_every: without validations there is no best state")
        if self.schedule == "paper" and self.decay_every == 0:
            raise ConfigError("decay_every must be at least 1 under the paper's schedule")

    def resolve(self) -> TrainingConfig:
        """The same choices with every value explicit; what stays None is off (no budget, no validation).

        A run of N iterations under the default schedule is tempered over at most a tenth of them, one with a budget of
        time over at most a tenth of that.
        """
        chosen: dict[str, float] = dict(_PAPER if self.schedule == "paper" else _DEFAULT)
        if self.schedule == "default" and self.iterations is not None:
            chosen["tempering_iterations"] = min(chosen["tempering_iterations"], self.iterations // 10)
        if self.schedule == "default" and self.seconds is not None and self.tempering_iterations is None:
            chosen["tempering_seconds"] = self.seconds / 10.0
        chosen["threads"] = available_cores()
        unset = {name: value for name, value in chosen.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **unset)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for YAML and for checkpoints."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["learning_rate_multipliers"] = dict(self.learning_rate_multipliers)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The inverse of `to_dict`; missing names take their defaults. ConfigError for an unknown name."""
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise ConfigError(
                f"unknown training option {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return cls(**values)


def _check_number(
    name: str, value: object, integer: bool, low: float, low_allowed: bool, high: float, none_allowed: bool
) -> None:
    """ConfigError unless `value` is a number of the kind and range asked for."""
    if value is None and none_allowed:
        return
    kind = "a whole number" if integer else "a number"
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        raise ConfigError(f"{name} must be {kind}, not {value!r}")
    high_enough = value >= low if low_allowed else value > low
    if high_enough and value <= high and math.isfinite(value):
        return
    bounds = f"at least {low}" if low_allowed else f"above {low}"
    if math.isfinite(high):
        bounds += f" and at most {high}"
    raise ConfigError(f"{name} must be {kind} {bounds}, not {value!r}")

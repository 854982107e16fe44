"""How to train: every choice of the training loop, checked once and written out in full.

A field that is None is not chosen yet; `resolve` fills it by the schedule, so that config.yaml shows every
value that was in force. Times are seconds, lengths are iterations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.options import Option, check_options, option
from vbpi_mix.training.provenance import available_cores

SCHEDULES = ("default", "paper")
_MULTIPLIER = Option(float, least=0)

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


@dataclass(frozen=True)
class TrainingConfig:
    """Choices of one training run. ConfigError, one line, if a value is out of range or two do not fit.

    iterations, seconds: where to stop; the first that is reached. With neither, the default schedule stops
        when the bound has stopped improving, and the paper's after 400,000 iterations.
    learning_rate: Adam's at the start. learning_rate_decay: its factor at each decay (paper: every
        `decay_every` iterations; default: at each plateau). final_learning_rate_factor: what is left of the
        learning rate when a budget (`iterations` or `seconds`) of the default schedule is used up.
    learning_rate_multipliers: by name of a parameter group, on top of the problem's own.
    tempering_iterations: the inverse temperature beta is min(1, initial_beta + t / tempering_iterations); if initial_beta is
        below 0, max(0, initial_beta + (1 - initial_beta) t / tempering_iterations), which is 0 for a while and ends at 1.
    tempering_seconds: or, if that is more, the same of the seconds of training so far over these, from 0 or what is below.
        If neither is chosen, a run of the default schedule with a budget of time takes a tenth of it, whatever budget it is
        given later.
    plateau_*: see schedules.PlateauRule. iteration_limit: the default schedule ends here at the latest.
    validate_every, patience, validation_metric, validation_maximise, keep_best: for problems that validate;
        training stops after `patience` validations without a better metric (the first one, if None), of which those at
        beta below 1 do not count if initial_beta is below 0.
    bound_window: how many last bounds the reported bound is the mean of.
    """

    iterations: int | None = option(
        None, int, least=1, help="Stop after this many in all; otherwise when the bound is flat."
    )
    seconds: float | None = option(None, float, above=0, help="Time budget of the training in all.")
    schedule: str = option("default", choices=SCHEDULES)
    learning_rate: float | None = option(None, float, above=0)
    learning_rate_decay: float | None = option(None, float, above=0, most=1)
    decay_every: int | None = option(None, int, least=0)
    final_learning_rate_factor: float = option(0.01, above=0, most=1)
    learning_rate_multipliers: Mapping[str, float] = field(default_factory=dict)
    tempering_iterations: int | None = option(None, int, least=0)
    tempering_seconds: float | None = option(None, float, above=0)
    initial_beta: float = option(0.001, least=-1_000_000, most=1)
    plateau_window: int = option(2_000, least=2)
    plateau_windows: int = option(1, least=1)
    plateau_standard_errors: float = option(1.0, least=0)
    plateau_reductions: int = option(4, least=0)
    iteration_limit: int = option(1_000_000, least=1)
    validate_every: int | None = option(None, int, least=1)
    patience: int | None = option(None, int, least=1)
    validation_metric: str | None = option(None, str)
    validation_maximise: bool = option(True)
    keep_best: bool = option(False)
    seed: int = option(1, least=0, most=2**63 - 1, help="Seed of all random numbers.")
    threads: int | None = option(None, int, least=1, help="Threads of the kernels.", unset="all cores")
    checkpoint_every_seconds: float | None = option(60.0, least=0, optional=True)
    trace_every: int = option(10, least=1)
    bound_window: int = option(1_000, least=1)

    def __post_init__(self) -> None:
        check_options(self)
        if not isinstance(self.learning_rate_multipliers, Mapping):
            raise ConfigError("learning_rate_multipliers must map names of parameter groups to numbers")
        for name, value in self.learning_rate_multipliers.items():
            _MULTIPLIER.check(f"learning_rate_multipliers[{name}]", value)
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
        """The inverse of `to_dict`. ConfigError for a name that is unknown or missing: today's default need not be the run's."""
        known = {item.name for item in dataclasses.fields(cls)}
        if not isinstance(values, Mapping):
            raise ConfigError("the training options are missing")
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise ConfigError(
                f"unknown training option {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        missing = sorted(known - set(values))
        if missing:
            raise ConfigError(f"training option {', '.join(missing)} is missing: put it back as it was")
        return cls(**values)

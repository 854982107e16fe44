"""Early stopping: the best value of a held-out metric, the state that had it, and how long ago that was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.training.checkpoint import plain
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.problem import Problem, Validates


class Watch:
    """Measures a problem every `validate_every` iterations and remembers the best.

    ConfigError if the configuration asks for validation of a problem that has none, or for a metric that
    the problem does not report.
    """

    def __init__(self, problem: Problem, config: TrainingConfig) -> None:
        self.metric_names: tuple[str, ...] = ()
        self.best: float | None = None
        self.best_state: dict[str, Any] | None = None
        self.exhausted = False
        self._problem = problem
        self._config = config
        self._since = 0
        if config.validate_every is None:
            return
        if not isinstance(problem, Validates):
            raise ConfigError("validate_every is set, but this problem has no held-out data to validate on")
        self.metric_names = tuple(problem.metric_names)
        self._metric = config.validation_metric or self.metric_names[0]
        if self._metric not in self.metric_names:
            raise ConfigError(
                f"validation_metric must be one of {', '.join(self.metric_names)}, not {self._metric!r}"
            )

    @property
    def every(self) -> int:
        """Iterations between validations; 0 for never."""
        return self._config.validate_every or 0

    def measure(self, iteration: int, patient: bool = False) -> dict[str, float]:
        """Validate after iteration t; notes the best, and sets `exhausted` when patience has run out.

        patient: this one does not count against patience. Without the KL term a bound at beta = 1 must fall.
        """
        if not isinstance(self._problem, Validates):
            return {}
        generator = torch.Generator().manual_seed(hash_seed(self._config.seed, iteration))
        with torch.no_grad():
            metrics: Mapping[str, float] = self._problem.validate(iteration, generator)
        values = {name: float(value) for name, value in metrics.items()}
        if self._is_better(values[self._metric]):
            self.best = values[self._metric]
            self._since = 0
            if self._config.keep_best:
                self.best_state = plain(self._problem.state_dict(), "problem")
        elif not patient:
            self._since += 1
            self.exhausted = self._config.patience is not None and self._since >= self._config.patience
        return values

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value > self.best if self._config.validation_maximise else value < self.best

    def state_dict(self) -> dict[str, Any]:
        """The best value and how many validations ago it was; the best state is kept beside it."""
        return {"best": self.best, "since": self._since, "exhausted": self.exhausted}

    def load_state_dict(self, state: Mapping[str, Any], best_state: dict[str, Any] | None) -> None:
        """Continue from a `state_dict`; patience is judged anew, as the configuration may allow more."""
        self.best = state["best"]
        self._since = int(state["since"])
        self.exhausted = self._config.patience is not None and self._since >= self._config.patience
        self.best_state = best_state


def hash_seed(seed: int, iteration: int) -> int:
    """A seed for iteration t of a run, apart from the run's own and from those of other iterations."""
    mixed = (seed * 0x9E3779B97F4A7C15 + iteration * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63

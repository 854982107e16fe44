"""Learning rate and inverse temperature beta of each iteration, and when training has converged.

Iterations t count from 1. Three schedules share one shape (`Schedule`): the published one (`StepSchedule`),
one that spreads its decay over a budget of iterations or of time (`BudgetSchedule`), and one that lowers the
learning rate whenever the bound stops improving (`PlateauSchedule`). beta is that of `Tempering` in all of them.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from vbpi_mix.training.config import TrainingConfig


class HasSigns(Protocol):
    """What an iteration found (estimators.gradients.Objective)."""

    @property
    def signs(self) -> tuple[float, ...]:
        """What must have stopped rising before training has converged."""
        ...


class Schedule(Protocol):
    """What the trainer asks of a schedule."""

    iterations: int | None
    """Training ends after this iteration, if given."""
    open_ended: bool
    """Whether training is expected to end before that."""
    converged: bool
    """Whether training should end now."""

    def at(self, iteration: int, seconds: float) -> tuple[float, float]:
        """(learning rate, beta) of iteration t >= 1, begun after `seconds` of training."""
        ...

    def observe(self, found: HasSigns, beta: float) -> None:
        """Take note of what an iteration found."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        ...


def make_schedule(config: TrainingConfig) -> Schedule:
    """The schedule that a configuration asks for."""
    config = config.resolve()
    if config.schedule == "paper":
        return StepSchedule(config)
    if config.iterations is not None or config.seconds is not None:
        return BudgetSchedule(config)
    return PlateauSchedule(config)


def tempered_beta(iteration: int, initial_beta: float, tempering_iterations: int) -> float:
    """min(1, initial_beta + t / tempering_iterations); 1 without tempering. See `held_beta` for an initial_beta below 0."""
    if iteration >= tempering_iterations:
        return 1.0
    if initial_beta < 0.0:
        return held_beta(iteration / tempering_iterations, initial_beta)
    return min(1.0, initial_beta + iteration / tempering_iterations)


def held_beta(share: float, initial_beta: float) -> float:
    """On a line from initial_beta to 1, of which what is below 0 counts as 0. share: how much of the tempering is over."""
    return min(1.0, max(0.0, initial_beta + (1.0 - initial_beta) * share))


class Tempering:
    """beta of each iteration: after `tempering_iterations`, or `tempering_seconds` if those are sooner over, it is 1."""

    def __init__(self, config: TrainingConfig) -> None:
        self._initial_beta = config.initial_beta
        self._iterations = int(_given(config.tempering_iterations))
        self._seconds = config.tempering_seconds

    def at(self, iteration: int, seconds: float) -> float:
        """beta of iteration t >= 1, begun after `seconds` of training."""
        beta = tempered_beta(iteration, self._initial_beta, self._iterations)
        return beta if self._seconds is None else max(beta, held_beta(seconds / self._seconds, min(0.0, self._initial_beta)))


def step_learning_rate(iteration: int, learning_rate: float, decay: float, every: int) -> float:
    """Times `decay` after each `every` iterations: iterations 1 ... every have the full learning rate."""
    return learning_rate * decay ** ((iteration - 1) // every)


def cosine_learning_rate(share: float, learning_rate: float, final_factor: float) -> float:
    """Half a cosine from `learning_rate` at share 0 of the budget to `final_factor` of it at share 1."""
    share = min(max(share, 0.0), 1.0)
    return learning_rate * (final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * share)))


class _Stateless:
    """For schedules that are functions of the iteration (and the clock) alone."""

    converged = False
    open_ended = False

    def observe(self, found: HasSigns, beta: float) -> None:
        """Nothing to note."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to continue."""


class StepSchedule(_Stateless):
    """The published schedule: step decay and a long linear tempering."""

    def __init__(self, config: TrainingConfig) -> None:
        config = config.resolve()
        self.iterations = config.iterations
        self._learning_rate = _given(config.learning_rate)
        self._decay = _given(config.learning_rate_decay)
        self._every = int(_given(config.decay_every))
        self._tempering = Tempering(config)

    def at(self, iteration: int, seconds: float) -> tuple[float, float]:
        """(learning rate, beta) of iteration t."""
        rate = step_learning_rate(iteration, self._learning_rate, self._decay, self._every)
        return rate, self._tempering.at(iteration, seconds)


class BudgetSchedule(_Stateless):
    """Cosine decay over the share of the budget that is used: of iterations, of time, or the larger of both.

    With a time budget the learning rate of an iteration depends on the clock, so such a run is not
    reproducible iteration by iteration; a budget of iterations alone is.
    """

    def __init__(self, config: TrainingConfig) -> None:
        config = config.resolve()
        self.iterations = config.iterations
        self._seconds = config.seconds
        self._learning_rate = _given(config.learning_rate)
        self._final_factor = config.final_learning_rate_factor
        self._tempering = Tempering(config)

    def at(self, iteration: int, seconds: float) -> tuple[float, float]:
        """(learning rate, beta) of iteration t, begun after `seconds`."""
        share = 0.0
        if self.iterations is not None:
            share = (iteration - 1) / self.iterations
        if self._seconds is not None:
            share = max(share, seconds / self._seconds)
        rate = cosine_learning_rate(share, self._learning_rate, self._final_factor)
        return rate, self._tempering.at(iteration, seconds)


class PlateauRule:
    """Says when noisy series, all of one length, have stopped rising.

    The series are cut into windows of `window` values. A window has improved if the mean of any series exceeds that of the
    previous window by more than `standard_errors` times sqrt(se^2 + previous se^2), where se is the sample standard
    deviation of a window over sqrt(window). After `windows` windows in a row without improvement the rule fires and starts
    afresh: the window after that is compared with nothing.
    """

    def __init__(self, window: int, windows: int = 1, standard_errors: float = 1.0) -> None:
        self.window = window
        self.windows = windows
        self.standard_errors = standard_errors
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._previous: list[tuple[float, float]] = []
        self._stale = 0
        self._start_window()

    def _start_window(self) -> None:
        self._count = 0
        self._means: list[float] = []
        self._squares: list[float] = []

    def add(self, *values: float) -> bool:
        """Note the next value of each series; True if the rule fires on them."""
        if self._count == 0:
            self._means, self._squares = [0.0] * len(values), [0.0] * len(values)
        self._count += 1
        for i, value in enumerate(values):
            deviation = value - self._means[i]
            self._means[i] += deviation / self._count
            self._squares[i] += deviation * (value - self._means[i])
        if self._count < self.window:
            return False
        return self._close_window()

    def _close_window(self) -> bool:
        scale = self.window * (self.window - 1)
        current = [(mean, squares / scale) for mean, squares in zip(self._means, self._squares, strict=True)]
        if self._previous:
            improved = any(
                mean - before > self.standard_errors * math.sqrt(variance + variance_before)
                for (mean, variance), (before, variance_before) in zip(current, self._previous, strict=True)
            )
            self._stale = 0 if improved else self._stale + 1
        if self._stale >= self.windows:
            self._start_afresh()
            return True
        self._previous = current
        self._start_window()
        return False

    def state_dict(self) -> dict[str, Any]:
        """Where the rule stands, as plain data."""
        return {
            "previous": [list(each) for each in self._previous],
            "stale": self._stale,
            "count": self._count,
            "means": list(self._means),
            "squares": list(self._squares),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; one of a single series, as earlier versions wrote it, starts its window anew."""
        if "means" not in state:
            self._start_afresh()
            return
        self._previous = [(float(mean), float(variance)) for mean, variance in state["previous"]]
        self._stale = int(state["stale"])
        self._count = int(state["count"])
        self._means = [float(mean) for mean in state["means"]]
        self._squares = [float(squares) for squares in state["squares"]]


class PlateauSchedule:
    """A short tempering and a high learning rate, lowered at each plateau until the last one.

    Bounds found below beta = 1 are of another target and are not counted. After `plateau_reductions`
    reductions the next plateau means that training has converged.
    """

    def __init__(self, config: TrainingConfig) -> None:
        config = config.resolve()
        self.iterations: int | None = config.iteration_limit
        self.open_ended = True
        self.converged = False
        self._learning_rate = _given(config.learning_rate)
        self._decay = _given(config.learning_rate_decay)
        self._tempering = Tempering(config)
        self._allowed = config.plateau_reductions
        self._reductions = 0
        self._rule = PlateauRule(
            config.plateau_window, config.plateau_windows, config.plateau_standard_errors
        )

    def at(self, iteration: int, seconds: float) -> tuple[float, float]:
        """(learning rate, beta) of iteration t."""
        rate = self._learning_rate * self._decay**self._reductions
        return rate, self._tempering.at(iteration, seconds)

    def observe(self, found: HasSigns, beta: float) -> None:
        """Lower the learning rate, or end training, if this iteration completes a plateau."""
        if beta < 1.0 or not self._rule.add(*found.signs):
            return
        if self._reductions == self._allowed:
            self.converged = True
        else:
            self._reductions += 1

    def state_dict(self) -> dict[str, Any]:
        """Reductions so far and where the rule stands."""
        return {"reductions": self._reductions, "converged": self.converged, "rule": self._rule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; one of another schedule (an empty one) leaves the start."""
        if state:
            self._reductions = int(state["reductions"])
            self.converged = bool(state["converged"]) and self._reductions >= self._allowed
            self._rule.load_state_dict(state["rule"])


def _given(value: float | None) -> float:
    """A value that `TrainingConfig.resolve` has filled in."""
    if value is None:
        raise ValueError("the training configuration is not resolved")
    return value

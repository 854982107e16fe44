"""What training tells: reports on the way, a result at the end, and the error that ends it early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vbpi_mix.errors import VbpiMixError, one_line


class NonFiniteError(VbpiMixError):
    """The bound or a parameter is no longer a finite number."""


@dataclass(frozen=True)
class Note:
    """One line that a progress callback may show: what was found or decided, or (warning) what a user should mind."""

    text: str
    warning: bool = False

    def __post_init__(self) -> None:
        """Names from files may be in it, with ends of lines or a terminal's commands."""
        object.__setattr__(self, "text", one_line(self.text))


@dataclass(frozen=True)
class TrainingReport:
    """How training stands after an iteration.

    iterations: how many are planned, None if training ends by time or by convergence. seconds: of training,
    earlier parts of a resumed run included. seconds_left: None where it cannot be known. bound: mean of the
    last ones (NaN before the first). metrics: of the last validation. finished: whether this report is the
    last.
    """

    iteration: int
    iterations: int | None
    seconds: float
    seconds_left: float | None
    bound: float
    beta: float
    learning_rate: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """How training ended.

    stop_reason: "iterations", "seconds", "converged", "patience" or "interrupted".
    bound: mean over the last `bound_window` iterations. seconds_per_iteration: median; None if none was run.
    best_metric: the best validation, if there was any. threads: how many iterations were made with each number of
    threads.
    """

    iterations: int
    seconds: float
    seconds_per_iteration: float | None
    bound: float
    stop_reason: str
    best_metric: float | None = None
    threads: Mapping[int, int] = field(default_factory=dict)

"""How a bound rose: points read from a run's trace, on an axis of training time alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("configuration", "iteration", "seconds", "miselbo", "miselbo_se")


@dataclass(frozen=True)
class Curve:
    """Validations of one training, in order; seconds are of training alone."""

    label: str
    iterations: tuple[int, ...]
    seconds: tuple[float, ...]
    miselbo: tuple[float, ...]
    miselbo_se: tuple[float, ...]

    @property
    def best(self) -> int:
        """Position of the highest point."""
        return max(range(len(self.miselbo)), key=self.miselbo.__getitem__)


def read_curve(trace: Path, label: str, seconds_per_iteration: float) -> Curve:
    """The rows of a trace that hold a validation; point t comes after t times the time of an iteration."""
    with trace.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["miselbo"]]
    iterations = tuple(int(row["iteration"]) for row in rows)
    return Curve(
        label=label,
        iterations=iterations,
        seconds=tuple(iteration * seconds_per_iteration for iteration in iterations),
        miselbo=tuple(float(row["miselbo"]) for row in rows),
        miselbo_se=tuple(float(row["miselbo_se"]) for row in rows),
    )


def curves_csv(curves: Sequence[Curve]) -> str:
    """All curves below one another, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        points = zip(curve.iterations, curve.seconds, curve.miselbo, curve.miselbo_se, strict=True)
        for iteration, seconds, bound, error in points:
            writer.writerow((curve.label, iteration, f"{seconds:.6f}", repr(bound), repr(error)))
    return text.getvalue()

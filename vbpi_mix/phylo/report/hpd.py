"""Mean, median and 95% intervals of weighted values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MASS = 0.95


@dataclass(frozen=True)
class Spread:
    """Of a quantity: mean, median, the ends of the central 95% interval, and those of the shortest that holds 95% (HPD)."""

    mean: float
    median: float
    lower: float
    upper: float
    hpd_lower: float
    hpd_upper: float


def spread(values: np.ndarray, shares: np.ndarray) -> Spread:
    """Of values float64 [N] with shares [N], which need not sum to one. nan throughout if no share is positive."""
    kept = shares > 0
    order = np.argsort(values[kept], kind="stable")
    x, weights = values[kept][order], shares[kept][order]
    if not x.size:
        return Spread(*[float("nan")] * 6)
    cumulative = np.cumsum(weights)
    cumulative /= cumulative[-1]
    tail = 0.5 * (1.0 - MASS)
    lower, median, upper = (_quantile(x, cumulative, at) for at in (tail, 0.5, 1.0 - tail))
    return Spread(float(weights @ x / weights.sum()), median, lower, upper, *_shortest(x, cumulative))


def _quantile(x: np.ndarray, cumulative: np.ndarray, at: float) -> float:
    """The least value that has at least this share at or below it."""
    return float(x[min(int(np.searchsorted(cumulative, at - 1e-12)), x.size - 1)])


def _shortest(x: np.ndarray, cumulative: np.ndarray) -> tuple[float, float]:
    """Ends of the shortest interval from a value to a value with at least MASS in it (Chen and Shao 1999)."""
    before = np.concatenate([[0.0], cumulative[:-1]])
    # A rounding error must not add a value to the interval.
    last = np.searchsorted(cumulative, before + MASS - 1e-12)
    possible = last < x.size
    first = np.flatnonzero(possible)
    best = int(np.argmin(x[last[possible]] - x[first]))
    return float(x[first[best]]), float(x[last[first[best]]])

"""Averages over the components of a mixture, and draws of components, by weights that are uniform or learned.

Weights come as logarithms, float64 [A], of which exp sums to 1; None is uniform, 1/A each.
"""

from __future__ import annotations

import numpy as np


def average(values: np.ndarray, log_weights: np.ndarray | None, axis: int = -1) -> np.ndarray:
    """sum_a pi_a v_a over the components along `axis`."""
    if log_weights is None:
        return np.asarray(values.mean(axis=axis))
    return np.asarray(np.moveaxis(values, axis, -1) @ np.exp(log_weights))


def log_average(log_values: np.ndarray, log_weights: np.ndarray | None) -> np.ndarray:
    """log sum_a pi_a v_a of log v, float64 [T, A]: [T]. -inf where all are."""
    if log_weights is None:
        return np.asarray(np.logaddexp.reduce(log_values, axis=1) - np.log(log_values.shape[1]))
    return np.asarray(np.logaddexp.reduce(log_values + log_weights, axis=1))


def in_proportion(log_weights: np.ndarray, count: int, start: float) -> np.ndarray:
    """The components of `count` draws, int64 [count] in order: each count pi_a times, rounded up or down, and on average
    exactly so where `start` is uniform in [0, 1) (systematic sampling)."""
    ends = np.cumsum(np.exp(log_weights))
    points = (start + np.arange(count)) / count * ends[-1]
    # The last point must not pass the sum in its last bits.
    return np.minimum(np.searchsorted(ends, points, side="right"), log_weights.size - 1)

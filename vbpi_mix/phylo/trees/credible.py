"""Credible sets of topologies: the fewest that hold a share of the probability."""

from __future__ import annotations

import numpy as np

# Sums of weights that should be equal differ in their last bits.
ROUNDING = 1e-12


def credible_set(weights: np.ndarray, share: float) -> np.ndarray:
    """The fewest topologies that hold `share` of all weight, the most probable first: int64, numbers of theirs.

    weights: float64 [U], at least 0; their sum need not be 1. share: in (0, 1]. Of equally probable ones those
    that come first are taken.
    """
    order = np.argsort(-weights, kind="stable")
    return order[: count_to_hold(weights[order], share * float(weights.sum()))]


def count_to_hold(weights: np.ndarray, wanted: float) -> int:
    """How many weights from the front add up to `wanted`; U + 1 if all of float64 [U] together do not."""
    return int(np.searchsorted(np.cumsum(weights), wanted * (1 - ROUNDING))) + 1

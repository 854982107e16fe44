"""Credible sets: the fewest topologies that hold a share, against all subsets; and that there is one such rule."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vbpi_mix.phylo.trees.credible import count_to_hold, credible_set

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
def test_no_smaller_set_holds_the_share(share):
    weights = np.array([3, 8, 1, 4, 4, 2], dtype=float)
    chosen = credible_set(weights, share)
    assert weights[chosen].sum() >= share * weights.sum()
    assert np.all(np.diff(weights[chosen]) <= 0)
    for smaller in combinations(range(weights.size), chosen.size - 1):
        assert weights[list(smaller)].sum() < share * weights.sum()


def test_ties_go_to_those_that_come_first():
    assert credible_set(np.array([1.0, 2.0, 2.0, 2.0]), 0.5).tolist() == [1, 2]


def test_sums_that_are_a_last_bit_short_still_hold_the_share():
    # Three of ten tenths add up to more than 0.3, eight to less than 0.8.
    weights = np.full(10, 0.1)
    assert [credible_set(weights, share).size for share in (0.3, 0.8)] == [3, 8]


def test_all_are_taken_where_rounding_leaves_the_whole_short():
    """Adding one by one loses what adding the small ones first does not."""
    weights = np.concatenate([[1.0], np.full(100_000, 1e-16)])
    assert np.cumsum(weights)[-1] < weights.sum() * (1 - 1e-12)
    assert credible_set(weights, 1.0).size == weights.size


def test_a_share_that_is_not_reached_is_told():
    assert count_to_hold(np.array([0.5, 0.25]), 0.75) == 2
    assert count_to_hold(np.array([0.5, 0.25]), 0.9) == 3


def test_there_is_one_rule():
    """No other module looks for where a running sum reaches a share."""
    again = re.compile(r"cumsum\([^\n]*\) >=")
    assert not [str(path) for path in (ROOT / "vbpi_mix").rglob("*.py") if again.search(path.read_text("utf-8"))]

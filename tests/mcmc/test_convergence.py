"""Whether runs agree and have arrived: against the same figures by other ways, and on series of known behaviour."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vbpi_mix.phylo.sampling.convergence import BATCHES, _Elements, arrival, assess, is_rising
from vbpi_mix.phylo.sbn.coverage import coverage
from vbpi_mix.phylo.sbn.splits import average_standard_deviation, split_frequencies, unite
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import random_topologies, unique_topologies

FLAT = np.zeros((2, 8))


def spread(pool, draws):
    """Trees [R, N, n-2, 2] from a pool by number [R, N], and the batch of each."""
    return pool[draws], np.arange(draws.shape[1]) * BATCHES // draws.shape[1]


@pytest.fixture
def pool():
    topologies, _ = unique_topologies(random_topologies(7, 60, np.random.default_rng(1)))
    return topologies


def test_asdsf_and_agreement_are_those_of_whole_runs(pool):
    rng = np.random.default_rng(2)
    draws = rng.integers(0, len(pool), (3, 40))
    weights = rng.random((3, 40))
    children, batch = spread(pool, draws)
    found = assess(children, weights, batch, np.zeros((3, 8)))
    sets = unite(*(split_frequencies(children[r], weights[r]) for r in range(3)))
    assert found.asdsf == pytest.approx(average_standard_deviation(sets), rel=1e-12)
    shares = [
        coverage(build_support(np.concatenate(np.delete(children, r, axis=0))), children[r], weights[r])
        for r in range(3)
    ]
    assert 0.05 < np.mean(shares) < 0.95
    assert found.agreement == pytest.approx(np.mean(shares), rel=1e-12)


def test_new_mass_is_what_the_support_of_the_other_batches_lacks(pool):
    rng = np.random.default_rng(5)
    children, batch = spread(pool, rng.integers(0, len(pool), (2, 80)))
    weights = rng.random((2, 80))
    shares = []
    for r, b in np.ndindex(2, BATCHES):
        own = np.zeros((2, 80), bool)
        own[r] = batch == b
        shares.append(coverage(build_support(children[~own]), children[own], weights[own]))
    assert 0.05 < np.mean(shares) < 0.95
    assert assess(children, weights, batch, FLAT).new_mass == pytest.approx(1 - np.mean(shares), rel=1e-9)


def test_the_weight_error_is_that_of_batches(pool):
    """Two trees without a common split: what only the first has is as frequent as it is."""
    first = pool[0]
    apart = next(tree for tree in pool if not shared_splits(first, tree))
    shares = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])
    draws = np.array([[0] * k + [1] * (10 - k) for k in shares.ravel()]).reshape(2, 40)
    children, batch = spread(np.stack([first, apart]), draws)
    found = assess(children, np.ones((2, 40)), batch, FLAT)
    assert found.weight_error == pytest.approx((shares / 10).std(ddof=1) / math.sqrt(8), rel=1e-12)
    assert found.agreement == 1


def shared_splits(one, other):
    both = unite(*(split_frequencies(tree[None], np.ones(1)) for tree in (one, other)))
    return (both.frequencies.min(axis=0) > 0).any()


def test_runs_that_agree_by_chance_do_not_know_their_weights(pool):
    """Both were a half of the time with one tree, then with another: no ASDSF, but half a weight of error."""
    children, batch = spread(pool[:2], np.repeat([[0, 1], [0, 1]], 20, axis=1))
    found = assess(children, np.ones((2, 40)), batch, FLAT)
    assert found.asdsf == pytest.approx(0, abs=1e-15)
    assert found.weight_error == pytest.approx(np.std([0, 0, 1, 1] * 2, ddof=1) / math.sqrt(8))


def test_one_run_has_an_error_but_no_agreement(pool):
    children, batch = spread(pool[:2], np.repeat([[0, 1]], 20, axis=1))
    found = assess(children, np.ones((1, 40)), batch, FLAT[:1])
    assert math.isnan(found.asdsf)
    assert math.isnan(found.agreement)
    assert found.weight_error == pytest.approx(np.std([0, 0, 1, 1], ddof=1) / 2)
    assert found.new_mass == 0


def autoregressive(count, length, coefficient, rng):
    series = np.empty((count, length))
    series[:, 0] = rng.normal(size=count) / math.sqrt(1 - coefficient**2)
    for k in range(1, length):
        series[:, k] = coefficient * series[:, k - 1] + rng.normal(size=count)
    return series


def test_what_stays_where_it_is_is_seldom_said_to_rise():
    series = autoregressive(1000, 1000, 0.9, np.random.default_rng(3))
    assert np.mean([is_rising(one[None]) for one in series]) < 0.02


def test_what_rises_is_said_to_rise_even_in_one_run():
    level, other = autoregressive(2, 1000, 0.9, np.random.default_rng(4))
    slope = np.linspace(0, 12, 1000)
    assert not is_rising(np.stack([level, other]))
    assert is_rising(np.stack([level, other + slope]))
    assert not is_rising(np.stack([level, other - slope]))
    assert is_rising(np.array([[0.0, 1.0, 9.0, 10.0]]))
    # Of a length that ten batches a half do not fit, the first entries do not count.
    assert is_rising(np.concatenate([np.full(9, 1e9), other + slope])[None])


def test_a_tree_is_made_of_its_internal_splits_its_nodes_and_the_nodes_on_both_sides_of_each_split(pool):
    elements = _Elements.of(pool)
    splits, tripartitions, neighbourhoods = 4, 5, 4
    assert elements.numbers.shape == (len(pool), splits + tripartitions + neighbourhoods)
    assert all(len(set(row)) == len(row) for row in elements.numbers.tolist())
    assert elements.numbers.max() < elements.count


@pytest.mark.parametrize(("errors", "rising"), [(2.9, False), (3.1, True)])
def test_three_standard_errors_are_a_rise(errors, rising):
    """Halves of ten batches of one, each with a variance of 10/9: the error of their difference is sqrt(2/9)."""
    half = np.tile([-1.0, 1.0], 5)
    assert is_rising(np.concatenate([half, half + errors * np.sqrt(2 / 9)])[None]) == rising


def test_runs_have_arrived_where_the_last_reaches_its_level():
    settled = [5.0, 6.0, 4.0, 5.0]
    assert arrival(np.array([[5.0, 6.0, 4.0, 5.0, *settled], [-9.0, -3.0, 2.0, 7.0, *settled]])) == 3
    assert arrival(np.array([[5.0, 6.0, 4.0, 5.0, *settled]])) == 0

"""Divergence over topologies, and credible sets."""

import math

import numpy as np
import pytest

from vbpi_mix.phylo.assess.divergence import (
    divergence,
    topologies_for,
)


def log(values):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(values, dtype=float))


# Divergence


def test_identical_distributions_diverge_by_nothing():
    p = np.random.default_rng(1).dirichlet(np.ones(1000))
    found = divergence(p, log(p), log(p))
    assert (found.kl, found.partial_sum, found.mass_outside, found.standard_error) == (0.0, 0.0, 0.0, 0.0)


def test_divergence_by_hand():
    found = divergence(np.array([0.5, 0.5]), log([0.5, 0.5]), log([0.75, 0.25]))
    assert found.kl == pytest.approx(0.5 * math.log(4 / 3))
    assert found.partial_sum == pytest.approx(found.kl)
    assert (found.mass_outside, found.standard_error) == (0, 0)


def test_mass_outside_is_apart():
    """p = (0.5, 0.3, 0.2), q lacks the last: inside, p is (0.625, 0.375)."""
    p = np.array([0.5, 0.3, 0.2])
    found = divergence(p, log(p), log([0.4, 0.5, 0.0]))
    assert found.mass_outside == pytest.approx(0.2)
    assert found.kl == pytest.approx(0.625 * math.log(0.625 / 0.4) + 0.375 * math.log(0.375 / 0.5))
    assert found.partial_sum == pytest.approx(0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.5))
    assert found.partial_sum == pytest.approx(0.8 * found.kl + 0.8 * math.log(0.8))


def test_nothing_in_common_is_infinite():
    found = divergence(np.ones(1), np.zeros(1), log([0.0]))
    assert (found.kl, found.partial_sum, found.mass_outside, found.standard_error) == (math.inf, 0.0, 1.0, 0.0)


def test_topologies_of_no_weight_do_not_count():
    p = np.array([0.5, 0.5, 0.0])
    assert divergence(p, log(p), log([0.5, 0.5, 0.0])).kl == 0.0


def test_divergence_from_draws_estimates_the_exact_one():
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
    q[:5] = 0
    q /= q.sum()
    exact = divergence(p, log(p), log(q))
    estimates = []
    for _ in range(200):
        counts = rng.multinomial(2000, p)
        estimates.append(divergence(counts / 2000, log(p), log(q), draws=2000))
    found = np.array([each.kl for each in estimates])
    assert found.mean() == pytest.approx(exact.kl, abs=4 * found.std() / math.sqrt(200))
    # The error of the mass inside, which -log P adds, is left out of the standard error.
    assert found.std() == pytest.approx(np.mean([each.standard_error for each in estimates]), rel=0.2)
    outside = np.mean([each.mass_outside for each in estimates])
    assert outside == pytest.approx(exact.mass_outside, abs=0.005)


def test_the_error_counts_the_draws_inside():
    """Eight draws of three topologies, of which q lacks the last: six are inside, four and two."""
    counts, p, q = np.array([4, 2, 2]), np.array([0.4, 0.3, 0.3]), [0.2, 0.6, 0.0]
    found = divergence(counts / 8, log(p), log(q), draws=8)
    ratios = [math.log(0.4 / 0.2)] * 4 + [math.log(0.3 / 0.6)] * 2
    mean = sum(ratios) / 6
    assert found.kl == pytest.approx(mean - math.log(6 / 8))
    assert found.standard_error == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in ratios) / 6 / 6))
    assert found.partial_sum == pytest.approx(6 / 8 * mean)


# Credible sets


def test_fewest_topologies_by_hand():
    p = np.array([0.4, 0.1, 0.3, 0.2])
    for share, count in ((0.3, 1), (0.4, 1), (0.5, 2), (0.7, 2), (0.71, 3), (0.95, 4)):
        found = topologies_for(share, p, log(p))
        assert (found.count, found.estimated) == (count, False)


def test_equal_draws_estimate_the_number():
    """A thousand draws from a million equally likely topologies."""
    p = np.full(1000, 1e-6)
    found = topologies_for(0.95, np.full(1000, 1e-3), log(p))
    assert found.estimated
    assert found.count == 950_000


def test_drawn_topologies_are_counted_if_they_hold_the_share():
    p = np.array([0.6, 0.39, 0.01])
    found = topologies_for(0.95, np.array([0.9, 0.1]), log(p[:2]))
    assert (found.count, found.estimated) == (2, False)


def test_estimated_number_is_near_the_true_one():
    rng = np.random.default_rng(4)
    p = -np.sort(-rng.dirichlet(np.full(200_000, 0.5)))
    exact = topologies_for(0.5, p, log(p)).count
    drawn, counts = np.unique(rng.choice(p.size, 20_000, p=p), return_counts=True)
    found = topologies_for(0.5, counts / 20_000, log(p[drawn]))
    assert found.estimated
    assert found.count == pytest.approx(exact, rel=0.05)

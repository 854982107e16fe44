"""Gamma approximations: modes and curvatures by differences, marginal likelihoods by quadrature."""

import math

import numpy as np
import pytest
from scipy import stats
from small_posteriors import exact_log_marginals, shares, small_data

from vbpi_mix.phylo import approximation
from vbpi_mix.phylo.trees.topology import enumerate_topologies


@pytest.fixture(scope="module")
def four():
    """Topologies of 4 taxa, their posterior and exact log marginal likelihoods but for `log_joint`'s constant."""
    patterns, target = small_data(4, 20)
    constant = target.branch_prior.log_constant(5)
    return enumerate_topologies(4), target, exact_log_marginals(patterns) - constant


def test_modes_are_flat_and_precisions_are_second_differences():
    topologies = enumerate_topologies(6)[:7]
    _, target = small_data(6, 400)
    found = approximation.approximate(topologies, target, np.random.default_rng(1))
    slope = target.log_joint_slopes(topologies, found.mode)
    sd = found.shape**-0.5
    assert np.abs(slope * sd).max() < 0.1  # less than a tenth of an sd from the mode
    exact = np.empty_like(sd)
    for e in range(9):
        h = np.zeros(9)
        h[e] = 1e-3
        above, here, below = (target.log_joint(topologies, found.mode + k * h) for k in (1, 0, -1))
        exact[:, e] = np.maximum((2 * here - above - below) / 1e-6, approximation.LEAST_SHAPE) ** -0.5
    # Random signs: what an edge's neighbours add to its curvature averages out, but not altogether.
    error = np.abs(np.log(sd / exact))
    assert np.median(error) < 0.15
    assert np.mean(error > 0.5) < 0.1


def test_marginal_likelihoods_are_those_of_quadrature(monkeypatch, four):
    monkeypatch.setattr(approximation, "DRAWS", 20_000)
    topologies, target, exact = four
    found = approximation.approximate(topologies, target, np.random.default_rng(1)).log_marginal
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_log_weights_are_those_of_gamma_densities():
    """Of one draw, taken again from the same stream: posterior less scipy's density of the log-length."""
    topologies = enumerate_topologies(5)[:3]
    _, target = small_data(5, 60)
    rng = np.random.default_rng(2)
    mode, shape = rng.normal(-2, 0.5, (3, 7)), rng.uniform(1, 30, (3, 7))
    (found,) = approximation._log_weights(topologies, mode, shape, target, np.random.default_rng(7), 1)
    x = np.log(np.random.default_rng(7).standard_gamma(shape) / shape) + mode
    log_q = stats.loggamma.logpdf(x, shape, loc=mode - np.log(shape)).sum(1)
    np.testing.assert_allclose(found, target.log_joint(topologies, x) - log_q, rtol=0, atol=1e-9)


def test_refined_marginal_likelihoods_are_those_of_quadrature_on_average(monkeypatch, four):
    """The mean of many refinements, within its own error; and a refinement is nearer than what it starts from."""
    monkeypatch.setattr(approximation, "AT_ONCE", 700)  # draws of a topology are in several parts
    topologies, target, exact = four
    rng = np.random.default_rng(3)
    first, ratios = [], []
    for _ in range(60):
        found = approximation.approximate(topologies, target, rng)
        better = approximation.refine(topologies, found, target, rng, 2_000)
        np.testing.assert_array_equal(better.mode, found.mode)
        np.testing.assert_array_equal(better.shape, found.shape)
        first.append(np.exp(found.log_marginal - exact))
        ratios.append(np.exp(better.log_marginal - exact))
    first, ratios = np.array(first), np.array(ratios)
    error = ratios.std(0) / np.sqrt(len(ratios))
    assert error.max() < 0.02
    assert np.abs(ratios.mean(0) - 1.0).max() < 4 * error.max()
    assert (ratios.std(0) < first.std(0)).all()
    assert ratios.std(0)[exact.argmax()] < 0.3 * first.std(0)[exact.argmax()]


def test_refinement_draws_in_proportion_to_the_marginal_likelihoods(monkeypatch, four):
    topologies, target, _ = four
    found = approximation.GammaApproximations(np.full((3, 5), -2.0), np.ones((3, 5)), np.log([0.2, 0.7, 0.1]) - 300.0)
    seen = []

    def weights(children, *_):
        seen.extend(children)
        return np.full(children.shape[0], -300.0)

    monkeypatch.setattr(approximation, "_draw_log_weights", weights)
    better = approximation.refine(topologies, found, target, np.random.default_rng(1), 1_000)
    counts = [sum(np.array_equal(child, topology) for child in seen) for topology in topologies]
    assert counts == [200, 700, 100]
    # Means of the first draws and of those that follow, all counting alike.
    first, more = approximation.DRAWS, np.array(counts)
    expected = (first * np.array([0.2, 0.7, 0.1]) + more) / (first + more)
    np.testing.assert_allclose(np.exp(better.log_marginal + 300.0), expected, rtol=1e-12)


def test_a_topology_that_is_refined_by_no_draw_keeps_its_estimate(four):
    topologies, target, _ = four
    found = approximation.GammaApproximations(np.full((3, 5), -2.0), np.ones((3, 5)), np.array([0.0, -60.0, -np.inf]))
    better = approximation.refine(topologies, found, target, np.random.default_rng(1), 500)
    assert better.log_marginal[1] == pytest.approx(-60.0, abs=1e-9)
    assert better.log_marginal[2] == -np.inf


def test_one_draw_is_not_taken_for_mass():
    """Of a hundred weights alike and one a million times as large, for one topology; others keep their means."""
    rng = np.random.default_rng(1)
    draws = 100
    which = np.concatenate([np.tile(np.arange(3), draws), [1]])
    log_w = np.concatenate([np.tile([-200.0, -300.0, -100.0], draws) + rng.uniform(-1, 1, 3 * draws), [math.log(1e6) - 300.0]])
    found = approximation._log_means(log_w, which, 4)
    plain = [math.log(np.exp(log_w[which == t] - log_w[t]).mean()) + log_w[t] for t in (0, 2)]
    np.testing.assert_allclose(found[[0, 2]], plain, rtol=1e-14)
    usual = math.log(np.exp(log_w[:-1][which[:-1] == 1] + 300.0).mean()) - 300.0
    # A weight of sqrt(101) among 101 adds a tenth or so; uncut it adds nine thousand times the mean.
    assert usual < found[1] < usual + 0.15
    assert found[3] == -np.inf


@pytest.mark.parametrize("sites", [8, 20])
def test_laplace_is_within_a_nat_of_what_is_exact(sites):
    """From modes that are off by a third, and the shapes of the posterior."""
    topologies = enumerate_topologies(4)
    patterns, target = small_data(4, sites)
    exact = exact_log_marginals(patterns) - target.branch_prior.log_constant(5)
    near = approximation.approximate(topologies, target, np.random.default_rng(1))
    found, mode = approximation.laplace(topologies, near.mode + 0.3, near.shape, target, steps=6)
    assert np.abs(found - exact).max() < 1.0
    assert np.abs(shares(found) - shares(exact)).max() < 0.1
    assert (np.abs((mode - near.mode) * np.sqrt(near.shape)) < 0.5).all()


def test_approximations_are_taken_and_joined():
    rng = np.random.default_rng(1)
    found = approximation.GammaApproximations(rng.normal(size=(5, 3)), rng.random((5, 3)), rng.normal(size=5))
    again = found.take(slice(0, 2)).joined(found.take(np.array([2, 3, 4])))
    for name in ("mode", "shape", "log_marginal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(found.take(np.array([3])).mode, found.mode[3:4])

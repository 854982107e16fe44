"""The start of training: modes and curvatures by differences, marginal likelihoods by quadrature, regression by hand."""

import numpy as np
import pytest
from reference import jukes_cantor
from scipy import stats

from vbpi_mix.phylo import start
from vbpi_mix.phylo.branches.lognormal import LOG_LENGTH_SHIFT, LogNormal
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies


def small_data(n_taxa, sites):
    states = simulate_states(
        enumerate_topologies(n_taxa)[1], np.full(2 * n_taxa - 3, 0.2), sites, np.random.default_rng(n_taxa)
    )
    patterns = compress(Alignment(tuple(f"t{k}" for k in range(n_taxa)), states))
    return patterns, Posterior(patterns)


def test_modes_are_flat_and_precisions_are_second_differences():
    topologies = enumerate_topologies(6)[:7]
    _, target = small_data(6, 400)
    found = start.approximate(topologies, target, np.random.default_rng(1))
    slope = target.log_joint_slopes(topologies, found.mode)
    sd = found.shape**-0.5
    assert np.abs(slope * sd).max() < 0.1  # less than a tenth of an sd from the mode
    exact = np.empty_like(sd)
    for e in range(9):
        h = np.zeros(9)
        h[e] = 1e-3
        above, here, below = (target.log_joint(topologies, found.mode + k * h) for k in (1, 0, -1))
        exact[:, e] = np.maximum((2 * here - above - below) / 1e-6, start.LEAST_SHAPE) ** -0.5
    # Random signs: what an edge's neighbours add to its curvature averages out, but not altogether.
    error = np.abs(np.log(sd / exact))
    assert np.median(error) < 0.15
    assert np.mean(error > 0.5) < 0.1


def test_marginal_likelihoods_are_those_of_quadrature(monkeypatch):
    monkeypatch.setattr(start, "DRAWS", 5_000)
    topologies = enumerate_topologies(4)
    patterns, target = small_data(4, 20)
    found = start.approximate(topologies, target, np.random.default_rng(1)).log_marginal
    exact = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in topologies])
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=0.1)


def test_log_weights_are_those_of_gamma_densities():
    """Of one draw, taken again from the same stream: posterior less scipy's density of the log-length."""
    topologies = enumerate_topologies(5)[:3]
    _, target = small_data(5, 60)
    rng = np.random.default_rng(2)
    mode, shape = rng.normal(-2, 0.5, (3, 7)), rng.uniform(1, 30, (3, 7))
    (found,) = start._log_weights(topologies, mode, shape, target, np.random.default_rng(7), 1)
    x = np.log(np.random.default_rng(7).standard_gamma(shape) / shape) + mode
    log_q = stats.loggamma.logpdf(x, shape, loc=mode - np.log(shape)).sum(1)
    np.testing.assert_allclose(found, target.log_joint(topologies, x) - log_q, rtol=0, atol=1e-9)


def nearest_normals(approximation):
    """Mean and sd of log-lengths [T, E]."""
    wanted = LogNormal().features_of(approximation)
    return wanted[..., 0] + LOG_LENGTH_SHIFT, np.exp(wanted[..., 1])


def test_the_nearest_normal_has_the_least_divergence():
    approximation = start.GammaApproximations(np.array([[-2.0]]), np.array([[3.0]]), np.zeros(1))
    best_mean, best_sd = (float(values[0, 0]) for values in nearest_normals(approximation))

    def divergence(mean, sd):
        """But for a constant: -log sd - E log density of the gamma's logarithm."""
        return -np.log(sd) - 3.0 * mean + 3.0 * np.exp(mean + 0.5 * sd**2 + 2.0)

    least = divergence(best_mean, best_sd)
    for mean, sd in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.01, 0.01)):
        assert divergence(best_mean + mean, best_sd + sd) > least


def test_modes_found_from_those_of_pilots_are_the_same(monkeypatch):
    topologies = enumerate_topologies(6)
    _, target = small_data(6, 400)
    support = build_support(topologies)
    rows = support.encode(topologies).rows
    exact = start.approximate(topologies, target, np.random.default_rng(1))
    monkeypatch.setattr(start, "PILOTS", 40)
    found = start._approximate_all(topologies, rows, support, target, np.random.default_rng(1))
    apart = np.abs(found.mode - exact.mode) * exact.shape**0.5
    assert np.quantile(apart, 0.9) < 0.25
    probable = exact.log_marginal > exact.log_marginal.max() - 10
    np.testing.assert_allclose(found.log_marginal[probable], exact.log_marginal[probable], atol=0.5)


def test_topologies_of_weight_zero_are_no_obstacle():
    topologies = enumerate_topologies(5)
    _, target = small_data(5, 60)
    support = build_support(topologies)
    sample = np.zeros(15)
    sample[:2] = 0.5
    found = start.warm_start(support, support.encode(topologies), sample, target, np.random.default_rng(1), False, 6)
    assert np.isfinite(found.weights).all()
    assert found.weights.sum() == pytest.approx(1.0)
    assert np.isfinite(sbn.fit_em(support, support.encode(topologies), found.weights)).all()


def test_no_topology_is_given_up(monkeypatch):
    """However small its estimate, it keeps a share of its weight in the sample."""
    topologies = enumerate_topologies(5)
    _, target = small_data(5, 60)
    support = build_support(topologies)
    sample = np.full(15, 1 / 15)
    lost = start.GammaApproximations(np.full((15, 7), -3.0), np.ones((15, 7)), np.where(np.arange(15) > 0, -80.0, 0.0))
    monkeypatch.setattr(start, "approximate", lambda *_: lost)
    found = start.warm_start(support, support.encode(topologies), sample, target, np.random.default_rng(1))
    assert found.weights.min() == pytest.approx(start.LEAST_SHARE / 15, rel=0.02)

def test_weights_become_posterior_ones_and_lengths_are_near_the_modes():
    topologies = enumerate_topologies(5)
    patterns, target = small_data(5, 60)
    support = build_support(topologies)
    encoded = support.encode(topologies)
    sample = np.full(15, 1 / 15)
    found = start.warm_start(support, encoded, sample, target, np.random.default_rng(1))
    exact = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights, nodes=5) for c in topologies])
    posterior = np.exp(exact - np.logaddexp.reduce(exact))
    assert np.abs(found.weights - posterior).max() < 0.1 < np.abs(sample - posterior).max()
    assert found.weights.sum() == pytest.approx(1.0)
    mean, sd = nearest_normals(start.approximate(topologies, target, np.random.default_rng(1)))
    fitted = np.array([[found.features[row[row >= 0]].sum(0) for row in tree] for tree in encoded.rows])
    best = posterior.argmax()
    assert np.abs(fitted[best, :, 0] + LOG_LENGTH_SHIFT - mean[best]).max() < sd[best].max()
    assert np.abs(fitted[best, :, 1] - np.log(sd[best])).max() < 0.5


def test_weights_of_topologies_not_examined_change_as_the_rarer_half_did():
    topologies = enumerate_topologies(5)
    _, target = small_data(5, 60)
    support = build_support(topologies)
    sample = np.linspace(2, 1, 15)
    sample /= sample.sum()
    found = start.warm_start(support, support.encode(topologies), sample, target, np.random.default_rng(1), False, 4)
    ratio = found.weights / sample
    np.testing.assert_allclose(ratio[4:], ratio[4])
    assert ratio[4] == pytest.approx(found.weights[2:4].sum() / sample[2:4].sum(), rel=0.02)


def test_an_additive_surface_is_found_again():
    topologies = enumerate_topologies(6)
    support = build_support(topologies)
    rows = support.encode(topologies).rows
    true = np.random.default_rng(3).normal(size=(support.n_features, 2))
    values = np.where(rows[..., None] >= 0, true[rows], 0.0).sum(2)
    found = start._regress(rows, values, np.ones(len(topologies)), support)
    fitted = np.where(rows[..., None] >= 0, found[rows], 0.0).sum(2)
    assert np.abs(fitted - values).mean() < 0.1 * np.abs(values - values.mean((0, 1))).mean()

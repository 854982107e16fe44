"""The start of training: modes and curvatures by differences, marginal likelihoods by quadrature, regression by hand."""

import numpy as np
import pytest
from reference import jukes_cantor

from vbpi_mix.phylo import warm_start as start
from vbpi_mix.phylo.alignment import Alignment
from vbpi_mix.phylo.branch_lengths import LOG_LENGTH_SHIFT
from vbpi_mix.phylo.likelihood import pack_patterns
from vbpi_mix.phylo.simulate import simulate_states
from vbpi_mix.phylo.site_patterns import compress
from vbpi_mix.phylo.support import build_support
from vbpi_mix.phylo.target import PhyloTarget
from vbpi_mix.phylo.topology import enumerate_topologies


def small_data(n_taxa, sites):
    states = simulate_states(
        enumerate_topologies(n_taxa)[1], np.full(2 * n_taxa - 3, 0.2), sites, np.random.default_rng(n_taxa)
    )
    patterns = compress(Alignment(tuple(f"t{k}" for k in range(n_taxa)), states))
    return patterns, PhyloTarget(pack_patterns(patterns))


def test_modes_are_flat_and_precisions_are_second_differences():
    topologies = enumerate_topologies(6)[:7]
    _, target = small_data(6, 400)
    found = start.approximate(topologies, target, np.random.default_rng(1))
    _, slope = start._log_joint(topologies, found.mode, target)
    assert np.abs(slope * found.sd).max() < 0.1  # less than a tenth of an sd from the mode
    exact = np.empty_like(found.sd)
    for e in range(9):
        h = np.zeros(9)
        h[e] = 1e-3
        above, here, below = (start._values(topologies, found.mode + k * h, target) for k in (1, 0, -1))
        exact[:, e] = np.minimum(1.0 / np.sqrt((2 * here - above - below) / 1e-6), start.LARGEST_SD)
    # Random signs: what an edge's neighbours add to its curvature averages out, but not altogether.
    error = np.abs(np.log(found.sd / exact))
    assert np.median(error) < 0.15
    assert np.mean(error > 0.5) < 0.1


def test_marginal_likelihoods_are_those_of_quadrature():
    topologies = enumerate_topologies(4)
    patterns, target = small_data(4, 12)
    found = start.approximate(topologies, target, np.random.default_rng(1)).log_marginal
    exact = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in topologies])
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=0.4)


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
    normal = start.approximate(topologies, target, np.random.default_rng(1))
    fitted = np.array([[found.features[row[row >= 0]].sum(0) for row in tree] for tree in encoded.rows])
    best = posterior.argmax()
    assert np.abs(fitted[best, :, 0] + LOG_LENGTH_SHIFT - normal.mode[best]).max() < normal.sd[best].max()
    assert np.abs(fitted[best, :, 1] - np.log(normal.sd[best])).max() < 0.5


def test_weights_of_topologies_not_examined_change_as_the_rarer_half_did():
    topologies = enumerate_topologies(5)
    _, target = small_data(5, 60)
    support = build_support(topologies)
    sample = np.linspace(2, 1, 15)
    sample /= sample.sum()
    found = start.warm_start(support, support.encode(topologies), sample, target, np.random.default_rng(1), False, 4)
    ratio = found.weights / sample
    np.testing.assert_allclose(ratio[4:], ratio[4])
    assert ratio[4] == pytest.approx(found.weights[2:4].sum() / sample[2:4].sum())


def test_an_additive_surface_is_found_again():
    topologies = enumerate_topologies(6)
    support = build_support(topologies)
    rows = support.encode(topologies).rows
    true = np.random.default_rng(3).normal(size=(support.n_features, 2))
    values = np.where(rows[..., None] >= 0, true[rows], 0.0).sum(2)
    found = start._regress(rows, values, np.ones(len(topologies)), support)
    fitted = np.where(rows[..., None] >= 0, found[rows], 0.0).sum(2)
    assert np.abs(fitted - values).mean() < 0.1 * np.abs(values - values.mean((0, 1))).mean()

"""Fits of four and five taxa against the exact posterior: quadrature over branch lengths, sum over topologies."""

import math

import numpy as np
import pytest
import torch
from reference import jukes_cantor
from small_posteriors import sample_of

import vbpi_mix
from vbpi_mix.errors import VbpiMixError
from vbpi_mix.evaluation import draw_log_weights
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies, unique_topologies

# Nats by which weighted evidence may be off beyond four of its own errors; known to be needed, not derived.
UNEXPLAINED = 0.01


def small_alignment(n_taxa, sites):
    rng = np.random.default_rng(n_taxa)
    topology = enumerate_topologies(n_taxa)[1]
    states = simulate_states(topology, np.full(2 * n_taxa - 3, 0.25), sites, rng)
    return Alignment(tuple(f"t{k}" for k in range(n_taxa)), states)


def small_data(n_taxa, sites):
    return compress(small_alignment(n_taxa, sites))


def exact_posterior(n_taxa, sites):
    """All topologies, log p(Y) and the probability of each, by quadrature."""
    patterns, topologies = small_data(n_taxa, sites), enumerate_topologies(n_taxa)
    exact = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in topologies])
    exact -= math.log(len(topologies))
    log_z = np.logaddexp.reduce(exact)
    return topologies, log_z, np.exp(exact - log_z)


def weighted_topologies(found, topologies):
    """Which of the topologies each one drawn is; their probabilities; and the errors of these."""
    _, number = unique_topologies(np.concatenate([topologies, found.answer.children]))
    weighted = found.answer.topologies
    return number[len(topologies) :], weighted.probabilities, weighted.errors


def own_probabilities(run, topologies):
    mixture = run.mixture
    return np.exp(mixture.log_topology_probability(mixture.support.encode(topologies))).mean(axis=1)


# With seed 3, five taxa, one of a topology's 4,105 draws weighs 10,508 times the mean of the others.
@pytest.mark.parametrize(
    ("n_taxa", "sites", "estimator", "components", "sampled", "seed"),
    [(4, 15, "a2a", 1, 1, 1), (4, 15, "s2a", 3, 1, 1), (5, 7, "s2a", 2, 1, 3), (5, 7, "s2s", 2, 2, 1), (5, 7, "s2a", 4, 2, 2)],
)
def test_a_default_fit_has_the_exact_posterior(n_taxa, sites, estimator, components, sampled, seed):
    topologies, log_z, posterior = exact_posterior(n_taxa, sites)
    run = vbpi_mix.fit(
        small_alignment(n_taxa, sites), sample_of(topologies), components=components, sampled=sampled, estimator=estimator,
        seed=seed, threads=1, answer_draws=40_000,
    )  # fmt: skip
    assert np.abs(own_probabilities(run, topologies) - posterior).max() < 0.01
    found = run.importance
    assert found.verdict.weighted
    which, probabilities, errors = weighted_topologies(found, topologies)
    difference = np.abs(probabilities - posterior[which])
    assert (difference < 4 * errors).all()
    assert difference.max() < 0.005
    # The Monte Carlo error of the evidence alone is too small here (up to 4.4 errors off over eight seeds).
    assert found.evidence.value == pytest.approx(log_z, abs=4 * found.evidence.error + UNEXPLAINED)
    assert found.evidence.error < 0.01
    result = run.evaluate(importance_samples=500, repeats=40, seed=3, threads=1)
    for estimate in result.estimates:
        error = estimate.sd / math.sqrt(estimate.repeats)
        # The logarithm of an average of 500 weights is biased low by half its variance, far below the error here.
        assert estimate.mean == pytest.approx(log_z, abs=4 * error + estimate.sd**2)
        assert estimate.sd < 0.1
    assert log_z - 0.2 < result.elbo < log_z


def test_weights_of_log_normal_lengths_are_right_or_said_not_to_be():
    """Lengths near zero have a longer tail than a log-normal: the variance of the weights is infinite, or hardly finite."""
    topologies, _, posterior = exact_posterior(5, 7)
    run = vbpi_mix.fit(
        small_alignment(5, 7), sample_of(topologies), components=2, sampled=1, lengths="lognormal", seed=1, threads=1,
        iterations=4000, answer_draws=40_000,
    )  # fmt: skip
    found = run.importance
    which, probabilities, errors = weighted_topologies(found, topologies)
    assert found.trees.smoothed.pareto_k > 0.5
    assert not found.verdict.weighted or (np.abs(probabilities - posterior[which]) < 4 * errors).all()
    assert np.abs(own_probabilities(run, topologies) - posterior).max() < 0.03


def test_quadrature_twin_is_exact():
    """More nodes than needed change nothing, and one site has a known marginal: 1/4 for each nucleotide pattern sum."""
    patterns = small_data(4, 9)
    children = enumerate_topologies(4)[0]
    few = jukes_cantor.exact_log_marginal(children, patterns.states, patterns.weights)
    many = jukes_cantor.exact_log_marginal(children, patterns.states, patterns.weights, nodes=8)
    assert few == pytest.approx(many, abs=1e-11)
    columns = np.stack(np.meshgrid(*[np.array([1, 2, 4, 8], np.uint8)] * 4, indexing="ij")).reshape(4, -1)
    total = sum(
        math.exp(jukes_cantor.exact_log_marginal(children, columns[:, [k]], np.ones(1))) for k in range(256)
    )
    assert total == pytest.approx(1.0, abs=1e-12)


def test_draw_log_weights_has_all_components_and_samples():
    patterns = small_data(4, 5)
    mixture = PhyloMixture(
        build_support(enumerate_topologies(4)), 3, generator=torch.Generator().manual_seed(1)
    )
    log_w = draw_log_weights(mixture, Posterior(patterns), 1001, torch.Generator().manual_seed(2))
    assert log_w.shape == (3, 1001)
    assert torch.isfinite(log_w).all()


def test_draws_that_are_no_numbers_are_told_in_one_line():
    """Of a mixture that no training leaves: nothing of numpy's, and no answer that is none."""
    mixture = PhyloMixture(
        build_support(enumerate_topologies(4)), 3, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        mixture.load_state_dict({name: _far(value) for name, value in mixture.state_dict().items()})
    with pytest.raises(VbpiMixError, match="are no numbers: its parameters are damaged; fit anew"):
        draw_log_weights(mixture, Posterior(small_data(4, 5)), 10, torch.Generator().manual_seed(2))


def _far(value):
    """Lengths beyond all bounds."""
    return torch.full_like(value, 1e30) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

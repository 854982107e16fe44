"""Fits of four and five taxa against the exact posterior: quadrature over branch lengths, sum over topologies."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference import jukes_cantor

from vbpi_mix.estimators import Estimator
from vbpi_mix.evaluation import draw_log_weights, evaluate
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.importance import importance_pass
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies, unique_topologies
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.trainer import Trainer


def small_alignment(n_taxa, sites):
    rng = np.random.default_rng(n_taxa)
    topology = enumerate_topologies(n_taxa)[1]
    states = simulate_states(topology, np.full(2 * n_taxa - 3, 0.25), sites, rng)
    return Alignment(tuple(f"t{k}" for k in range(n_taxa)), states)


def small_data(n_taxa, sites):
    return compress(small_alignment(n_taxa, sites))


def fitted(n_taxa, patterns, estimator, n_components, sampled):
    mixture = PhyloMixture(
        build_support(enumerate_topologies(n_taxa)), n_components, generator=torch.Generator().manual_seed(1)
    )
    target = Posterior(patterns)
    problem = MixtureProblem(
        "phylo", target, mixture, estimator=Estimator.parse(estimator), sampled=sampled, particles=10, direct=True
    )
    Trainer(problem, TrainingConfig(iterations=2000, seed=2, threads=1)).run()
    return mixture, target


@pytest.mark.parametrize(
    ("n_taxa", "sites", "estimator", "n_components", "sampled"),
    [(4, 15, "a2a", 1, 1), (4, 15, "s2a", 3, 1), (5, 7, "s2a", 2, 1), (5, 7, "s2s", 2, 2)],
)
def test_marginal_likelihood_and_topology_posterior_are_exact(n_taxa, sites, estimator, n_components, sampled):
    patterns = small_data(n_taxa, sites)
    topologies = enumerate_topologies(n_taxa)
    exact = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in topologies])
    exact -= math.log(len(topologies))
    log_z = np.logaddexp.reduce(exact)
    posterior = np.exp(exact - log_z)

    mixture, target = fitted(n_taxa, patterns, estimator, n_components, sampled)
    generator = torch.Generator().manual_seed(3)
    result = evaluate(mixture, target, importance_samples=500, repeats=40, generator=generator)
    for estimate in result.estimates:
        error = estimate.sd / math.sqrt(estimate.repeats)
        # The logarithm of an average of 500 weights is biased low by half its variance, far below the error here.
        assert estimate.mean == pytest.approx(log_z, abs=4 * error + estimate.sd**2)
        assert estimate.sd < 0.2
    assert result.elbo < log_z

    learned = np.exp(mixture.log_topology_probability(mixture.support.encode(topologies))).mean(axis=1)
    # The bound of ten particles is highest a little away from the posterior; weighting takes that out below.
    assert np.abs(learned - posterior).max() < 0.1
    problem = SimpleNamespace(trees=mixture, target=target)
    found = importance_pass(problem, 40_000, 3, {}, {})
    _, number = unique_topologies(np.concatenate([topologies, found.answer.children]))
    weighted = found.answer.topologies
    expected = posterior[number[len(topologies) :]]
    assert (np.abs(weighted.probabilities - expected) < 4 * weighted.errors).all()
    assert np.abs(weighted.probabilities - expected).max() < 0.01


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

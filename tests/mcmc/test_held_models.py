"""The sampler under models held at their parameters: log-likelihoods against plain pruning with matrix exponentials, and the
exact posterior of 5 taxa."""

from __future__ import annotations

import numpy as np
import pytest
from chain_helpers import SingleChain
from held_models import HeldTarget, Model, gtr, of_states, random_states
from reference import pruning
from scipy.stats import qmc

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.sampling.kernels import chains as kernels
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import enumerate_topologies


def target_of(models, n_taxa, n_patterns, rng):
    return HeldTarget(models, [random_states(n_taxa, n_patterns, model.frequencies.size, rng) for model in models])


def nucleotides(rng):
    """GTR with gamma rates and invariant sites; some patterns are constant or may be."""
    target = target_of([gtr(rng, alpha=0.5, invariant=0.3)], 9, 21, rng)
    target.part_patterns[0].states[:, :5] = np.array([1, 2, 4, 5, 15], np.uint8)
    return HeldTarget(target.models, target.part_patterns)


def partitions(rng):
    """Parts of different states, categories, invariant sites and ascertainment."""
    models = [
        gtr(rng),
        of_states(20, rng, alpha=1.3, categories=3, multiplier=0.4),
        of_states(2, rng, alpha=0.7, ascertainment=True),
        of_states(9, rng, invariant=0.1, ascertainment=True),
        of_states(3, rng, multiplier=2.0),
        gtr(rng, alpha=0.9, categories=2, ascertainment=True, invariant=0.2),
    ]
    return target_of(models, 7, 11, rng)


def binary(rng):
    """Standard characters of two states."""
    return target_of([Model([1.0], [0.5, 0.5])], 8, 30, rng)


TARGETS = {"nucleotides": nucleotides, "partitions": partitions, "binary": binary}


@pytest.fixture(scope="module", params=TARGETS)
def target(request):
    return TARGETS[request.param](np.random.default_rng(1))


def test_every_half_edge_sees_the_log_likelihood(target):
    chain = SingleChain(target=target, seed=2)
    wanted = target.log_likelihood_of(*chain.read())
    for h in range(chain.tree.twin.size):
        found = kernels.start_chain(h, chain.data, chain.tree, chain.work)
        assert found == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("regraft_share", [0.0, 0.5])
def test_every_state_has_the_likelihood_of_its_tree(target, regraft_share):
    chain = SingleChain(target=target, seed=3)
    seen = set()
    for _ in range(25):
        chain.step(regraft_share, 3)
        assert chain.log_likelihood == pytest.approx(target.log_likelihood_of(*chain.read()), rel=1e-11)
        seen.add(chain.read()[0].tobytes())
    assert len(seen) > 1
    assert chain.counters[2] > 0


def test_many_taxa_do_not_underflow():
    """200 taxa, whose partials are rescaled; a constant pattern is likely only because of its invariant sites."""
    rng = np.random.default_rng(4)
    target = target_of([gtr(rng, alpha=0.8, invariant=0.1), of_states(2, rng, ascertainment=True)], 200, 9, rng)
    target.part_patterns[0].states[:, 0] = 2
    target = HeldTarget(target.models, target.part_patterns)
    chain = SingleChain(target=target, seed=5)
    assert chain.log_likelihood < -1000
    for _ in range(3):
        assert chain.log_likelihood == pytest.approx(target.log_likelihood_of(*chain.read()), rel=1e-11)
        chain.step(0.3, 20)


def test_what_does_not_change_outweighs_any_small_exponent():
    """800 taxa far apart, all with the same state: only invariant sites explain them, 2^-1000 and more above the rest."""
    model = Model([1.0] * 6, [0.1, 0.2, 0.3, 0.4], invariant=0.25)
    patterns = SitePatterns(np.full((800, 1), 2, np.uint8), np.ones(1))
    chain = SingleChain(target=HeldTarget([model], [patterns]), seed=6)
    chain.tree.length[:] = 9.0
    found = kernels.start_chain(chain.focus, chain.data, chain.tree, chain.work)
    assert found == pytest.approx(np.log(0.25 * 0.2), rel=1e-12)


def exact_posterior(target, power=12, repeats=4):
    """Posterior of all 15 topologies and its standard error, by scrambled Sobol points on the prior of lengths."""
    topologies = enumerate_topologies(5)
    marginals = np.empty((repeats, len(topologies)))
    for repeat in range(repeats):
        points = qmc.Sobol(7, rng=np.random.default_rng(repeat)).random_base2(power)
        lengths = -np.log1p(-points) / 10.0
        for t, children in enumerate(topologies):
            values = sum(
                pruning.log_likelihoods_of_lengths(
                    children, lengths, patterns.states, patterns.weights, model.q, model.frequencies, model.pairs
                )
                for model, patterns in zip(target.models, target.part_patterns, strict=True)
            )
            marginals[repeat, t] = np.logaddexp.reduce(values)
    shares = np.exp(marginals - marginals.max())
    shares /= shares.sum(axis=1, keepdims=True)
    return topologies, shares.mean(axis=0), shares.std(axis=0, ddof=1) / np.sqrt(repeats)


def test_five_taxa_have_their_exact_posterior():
    """HKY with gamma rates and a part of binary characters."""
    models = [Model([1, 5, 1, 1, 5, 1], [0.35, 0.15, 0.2, 0.3], alpha=0.6), Model([1.0], [0.7, 0.3])]
    columns = np.array([[1, 1, 4, 4, 2], [1, 4, 4, 1, 4], [2, 2, 2, 8, 8], [1, 1, 1, 1, 1], [8, 8, 8, 8, 15], [5, 1, 4, 4, 1]])
    characters = np.array([[1, 1, 2, 2, 2], [1, 2, 2, 1, 1], [1, 1, 1, 1, 2], [2, 2, 2, 2, 2]])
    patterns = [
        SitePatterns(np.ascontiguousarray(columns.T, np.uint8), np.array([1.0, 1.0, 1.0, 2.0, 1.0, 1.0])),
        SitePatterns(np.ascontiguousarray(characters.T, np.uint8), np.ones(4)),
    ]
    target = HeldTarget(models, patterns)
    topologies, exact, error = exact_posterior(target)
    assert 0.2 < exact.max() < 0.9
    assert error.max() < 3e-3
    options = McmcOptions(
        generations=150_000, temperatures=2, heating=0.5, regraft_share=0.2, seed=5, runs=4, steps=25, keep=24_000
    )
    sample = sample_trees(target, tuple("abcde"), options).sample
    order = [int(np.flatnonzero((topologies == each).all(axis=(1, 2)))[0]) for each in sample.children]
    frequencies = np.zeros((4, len(topologies)))
    for run, trees in enumerate(np.split(np.arange(sample.tree_weights.size), 4)):
        np.add.at(frequencies[run], np.array(order)[sample.tree_topology[trees]], 4 * sample.tree_weights[trees])
    found = frequencies.mean(axis=0)
    floor = np.sqrt(exact * (1 - exact) / (sample.tree_weights.size / 2))
    spread = np.maximum(frequencies.std(axis=0, ddof=1) / 2, floor)
    assert (np.abs(found - exact) < 5 * np.hypot(spread, error) + 1e-4).all()
    assert 0.5 * np.abs(found - exact).sum() < 0.015

"""Trees that chains start from where there are many taxa, and what then depends on the number of taxa."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from chain_helpers import missing_patterns, target_of

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.likelihood import log_likelihoods, log_likelihoods_and_gradients
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.climb import climbed_trees, joined_trees
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topologies


def simulated(n_taxa, sites, length, seed):
    """Patterns, one a site, and the tree that they arose on."""
    rng = np.random.default_rng(seed)
    (tree,) = random_topologies(n_taxa, 1, rng)
    lengths = rng.exponential(length, 2 * n_taxa - 3)
    return SitePatterns(simulate_states(tree, lengths, sites, rng), np.ones(sites)), tree, lengths


def climb(target, runs=1, seed=1):
    with ThreadPoolExecutor(1) as pool:
        return climbed_trees(target, runs, seed, pool, math.inf)


def best_lengths(children, patterns):
    """Log-likelihoods of topologies with lengths that are the best, by gradient steps on their logarithms."""
    x, step = np.full((len(children), 2 * children.shape[1] + 1), math.log(0.1)), np.full((len(children), 1), 0.3)
    value = np.full(len(children), -np.inf)
    for _ in range(400):
        now, slope = log_likelihoods_and_gradients(children, np.exp(x), patterns)
        step = np.where((now > value)[:, None], step, 0.7 * step)
        value = np.maximum(value, now)
        x = np.clip(x + step * np.sign(slope), math.log(1e-7), 1.0)
    return value


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_best_of_all_topologies_is_climbed(seed):
    patterns, _, _ = simulated(7, 60, 0.3, seed)
    target = target_of(patterns)
    found = climb(target, seed=seed)
    value = log_likelihoods(found.children, found.lengths, target.patterns)[0]
    assert value == pytest.approx(best_lengths(enumerate_topologies(7), target.patterns).max(), abs=0.2)


def test_a_climb_ends_above_the_truth():
    """With 90 taxa neighbour joining of a few sites is far off; the best tree is at least as likely as the true one."""
    patterns, tree, lengths = simulated(90, 400, 0.05, 4)
    target = target_of(patterns)
    joined, found = joined_trees(target, 2, 1), climb(target, runs=2)
    true = log_likelihoods(tree[None], lengths[None], target.patterns)[0]
    at_start = log_likelihoods(joined.children, joined.lengths, target.patterns)
    reached = log_likelihoods(found.children, found.lengths, target.patterns)
    assert (at_start < true - 100).all()
    assert (reached > true).all()
    assert not np.array_equal(joined.children[0], joined.children[1])


def test_a_climb_keeps_the_splits_that_trees_must_have():
    patterns, _, _ = simulated(12, 80, 0.2, 5)
    # Against what the data say.
    prior = TopologyPrior.of(12, [frozenset({1, 7, 11}), frozenset({1, 7}), frozenset({2, 5, 9, 10})])
    target = target_of(patterns, topology_prior=prior)
    joined, found = joined_trees(target, 3, 1), climb(target, runs=3)
    assert prior.allows(joined.children).all()
    assert prior.allows(found.children).all()
    free = climb(target_of(patterns))
    assert not prior.allows(free.children).any()


def test_data_that_say_nothing_have_a_tree_too():
    prior = TopologyPrior.of(8, [frozenset({2, 3, 4})])
    found = climb(target_of(missing_patterns(8), topology_prior=prior))
    assert prior.allows(found.children).all()


def test_what_depends_on_the_number_of_taxa():
    few, many = McmcOptions().for_taxa(64), McmcOptions().for_taxa(256)
    assert (few.temperatures, few.heating, few.regraft_share, few.local_share, few.climb) == (5, 0.15, 0.03, 0.0, False)
    assert (many.temperatures, many.heating, many.climb) == (2, 0.075, True)
    # Regrafts that try every place are a quarter as many, since each tries four times as many.
    assert many.regraft_share * (1 - many.local_share) == pytest.approx(0.03 / 4)
    given = McmcOptions(temperatures=3, heating=0.1, regraft_share=0.5, climb=False).for_taxa(256)
    assert (given.temperatures, given.heating, given.regraft_share, given.local_share, given.climb) == (3, 0.1, 0.5, 0.0, False)


def test_a_sample_of_many_taxa_begins_where_the_trees_are():
    patterns, tree, lengths = simulated(80, 300, 0.05, 6)
    target = target_of(patterns)
    taxa = tuple(f"t{k}" for k in range(80))
    result = sample_trees(target, taxa, McmcOptions(generations=20_000, seed=1, threads=1))
    assert not result.rising
    # The true tree is a draw from the posterior too.
    posterior = log_likelihoods(tree[None], lengths[None], target.patterns)[0] + target.constant
    posterior += target.branch_prior.log_density(np.log(lengths), lengths) - np.log(lengths).sum()
    values = np.array(result.trace[-1][1:])
    np.testing.assert_allclose(values, posterior, atol=60)

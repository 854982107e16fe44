"""The most probable topology and its bound against every topology there is."""

from __future__ import annotations

import numpy as np
import pytest

from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.most_probable import every_topology, most_probable_topology, rooted_trees, topologies_of
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, random_topologies


def case(n_taxa, sampled, components, spread, seed):
    """A support of random topologies, random logits, and all topologies with their probabilities."""
    rng = np.random.default_rng(seed)
    support = build_support(random_topologies(n_taxa, sampled, rng))
    logits = spread * rng.standard_normal((components, support.n_params))
    every = canonicalise(enumerate_topologies(n_taxa))[0]
    probabilities = np.exp(sbn.log_probability(logits, support, support.encode(every))).mean(axis=1)
    return support, logits, every, probabilities


@pytest.mark.parametrize("components", [1, 2, 5])
@pytest.mark.parametrize(("n_taxa", "sampled", "spread"), [(4, 3, 1.0), (6, 8, 1.0), (7, 30, 0.3), (8, 12, 2.0)])
def test_it_is_the_most_probable_of_all(n_taxa, sampled, spread, components):
    for seed in range(5):
        support, logits, every, probabilities = case(n_taxa, sampled, components, spread, seed)
        found = most_probable_topology(support, logits)
        assert found.proven
        assert found.probability == pytest.approx(probabilities.max(), rel=1e-12)
        np.testing.assert_array_equal(found.children, every[np.argmax(probabilities)])


@pytest.mark.parametrize("most", [1, 3, 20])
def test_where_few_trees_are_listed_the_bound_holds(most):
    unproven = 0
    for seed in range(20):
        support, logits, _, probabilities = case(7, 30, 3, 0.3, seed)
        found = most_probable_topology(support, logits, most)
        assert found.probability <= probabilities.max() * (1 + 1e-12) <= found.bound * (1 + 2e-12)
        if found.proven:
            assert found.probability == pytest.approx(probabilities.max(), rel=1e-9)
        unproven += not found.proven
    assert unproven > 0


def test_rooted_trees_are_all_there_are():
    """Their probabilities sum to one, and those of a topology to its own."""
    support, logits, every, probabilities = case(6, 10, 1, 1.0, seed=3)
    listing = rooted_trees(support, logits[0], -np.inf, 1_000_000)
    assert listing.whole
    assert np.exp(listing.log_probabilities).sum() == pytest.approx(1.0, abs=1e-12)
    of_tree = {tree.tobytes(): 0.0 for tree in every}
    for tree, value in zip(topologies_of(support, listing.tripartitions), listing.log_probabilities, strict=True):
        of_tree[tree.tobytes()] += np.exp(value)
    np.testing.assert_allclose(list(of_tree.values()), probabilities, atol=1e-12)


def test_a_listing_holds_those_above_a_threshold_and_no_others():
    support, logits, _, _ = case(7, 20, 1, 1.0, seed=1)
    every = np.sort(rooted_trees(support, logits[0], -np.inf, 1_000_000).log_probabilities)
    least = 0.5 * (every[-40] + every[-41])
    np.testing.assert_allclose(np.sort(rooted_trees(support, logits[0], least, 1000).log_probabilities), every[-40:])
    cut = rooted_trees(support, logits[0], least, 10)
    assert not cut.whole
    assert len(cut.tripartitions) == 10


def test_every_topology_is_listed_unless_they_are_too_many():
    support, logits, every, probabilities = case(6, 10, 3, 1.0, seed=2)
    children, found = every_topology(support, logits, 100_000)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    known = {tree.tobytes(): p for tree, p in zip(every, probabilities, strict=True) if p > 0}
    assert len(children) == len(known)
    np.testing.assert_allclose(found, [known[tree.tobytes()] for tree in children], rtol=1e-12)
    count = len(rooted_trees(support, logits[0], -np.inf, 1_000_000).tripartitions)
    assert every_topology(support, logits, count) is not None
    assert every_topology(support, logits, count - 1) is None

"""Entropy, sizes of credible sets and what taxa cost, against every topology there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.certainty import certainty, credible_size, entropy_drops, exact_certainty, pruned_keys
from vbpi_mix.phylo.report.pooled_certainty import pooled_certainty
from vbpi_mix.phylo.report.weighted import draw_weighted_trees, weighting
from vbpi_mix.phylo.sbn.most_probable import most_probable_topology
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.credible import credible_set
from vbpi_mix.phylo.trees.topology import _grow, canonicalise, enumerate_topologies, random_topologies


def pruned(children, taxon):
    """The splits of a topology without a taxon, each as both its sides; from sets of taxa."""
    n = len(children) + 2
    below = [frozenset([k]) for k in range(n)]
    for a, b in children:
        below.append(below[a] | below[b])
    rest = frozenset(range(n)) - {taxon}
    sides = {frozenset([clade & rest, rest - clade]) for clade in below}
    return frozenset(side for side in sides if min(map(len, side)) > 1)


def entropy(probabilities):
    positive = probabilities[probabilities > 0]
    return -(positive * np.log(positive)).sum()


def drops_by_sets(children, probabilities):
    found = []
    for taxon in range(children.shape[1] + 2):
        mass = {}
        for tree, p in zip(children, probabilities, strict=True):
            key = pruned(tree, taxon)
            mass[key] = mass.get(key, 0.0) + p
        found.append(entropy(probabilities) - entropy(np.array(list(mass.values()))))
    return found


def within_errors(drops, right):
    """Whether falls of the entropy are right to their errors, which are small."""
    assert 0 < drops.errors.max() < 0.02
    assert (np.abs(drops.falls - right) < 4 * drops.errors + 1e-3).all()


def some_topologies(n_taxa):
    """All of few taxa; of many, random ones in threes that differ by the place of the last taxon alone."""
    if n_taxa <= 6:
        return canonicalise(enumerate_topologies(n_taxa))[0]
    rng = np.random.default_rng(1)
    choices = np.repeat(rng.integers(0, 2 * np.arange(3, n_taxa) - 3, (20, n_taxa - 3)), 3, axis=0)
    choices[:, -1] = rng.integers(0, 2 * n_taxa - 5, 60)
    return canonicalise(_grow(n_taxa, choices))[0]


@pytest.mark.parametrize("n_taxa", [4, 5, 6, 9, 70])
def test_pruned_topologies_are_the_same_where_their_splits_are(n_taxa):
    children = some_topologies(n_taxa)
    keys = pruned_keys(children)
    merged = 0
    for taxon in range(n_taxa):
        by_sets = [pruned(tree, taxon) for tree in children]
        found = keys(taxon)
        assert len(set(zip(found.tolist(), by_sets, strict=True))) == len(set(by_sets)) == len(set(found.tolist()))
        merged += len(set(by_sets)) < len({pruned(tree, None) for tree in children})
    assert merged


def test_what_a_taxon_costs_is_the_fall_of_the_entropy():
    rng = np.random.default_rng(2)
    children = canonicalise(enumerate_topologies(6))[0]
    probabilities = rng.dirichlet(np.full(105, 0.2))
    drops = entropy_drops(children, probabilities)
    np.testing.assert_allclose(drops.falls, drops_by_sets(children, probabilities), atol=1e-12)
    assert not drops.errors.any()


def test_a_taxon_that_may_be_anywhere_costs_all():
    """Trees that differ by the place of taxon 3 alone: without it they are one."""
    base = canonicalise(enumerate_topologies(6))[0]
    first = pruned(base[0], 3)
    same = np.array([tree for tree in base if pruned(tree, 3) == first])
    drops = entropy_drops(same, np.ones(len(same))).falls
    assert len(same) == 7
    assert drops[3] == pytest.approx(np.log(7))
    assert np.argmax(drops) == 3


@pytest.fixture(scope="module")
def fitted():
    """A mixture on 6 taxa, its draws with weights that depend on the topology and on lengths, and the exact answer."""
    rng = np.random.default_rng(4)
    support = build_support(random_topologies(6, 25, rng))
    logits = rng.standard_normal((2, support.n_params))
    generator = torch.Generator().manual_seed(1)
    mixture = PhyloMixture(support, 2, generator=generator, logits=logits)
    every = canonicalise(enumerate_topologies(6))[0]
    q = np.exp(mixture.log_topology_probability(support.encode(every))).mean(axis=1)
    factor = {tree.tobytes(): value for tree, value in zip(every, 0.7 * rng.standard_normal(105), strict=True)}

    def log_weights(draws):
        children = canonicalise(draws.topologies.children)[0]
        of_tree = np.array([factor[tree.tobytes()] for tree in children])
        noise = 0.3 * rng.standard_normal(of_tree.size) - 0.045
        return torch.from_numpy((of_tree + noise).reshape(draws.log_q.shape[:2]))

    draw = draw_components(Estimator.A2A, 2, None, generator)
    trees = draw_weighted_trees(mixture, log_weights, draw, 40_000, generator)
    p = q * np.exp([factor[tree.tobytes()] for tree in every])
    return mixture, trees, every, q, p / p.sum()


def test_weighted_figures_are_those_of_the_posterior(fitted):
    mixture, trees, every, _, p = fitted
    found = certainty(mixture, trees, weighting(trees))
    assert 0 < found.entropy_error < 0.02
    assert abs(found.entropy - entropy(p)) < 4 * found.entropy_error
    for size in found.sizes:
        assert abs(size.topologies - credible_set(p, size.share).size) <= 2
    within_errors(found.drops, drops_by_sets(every, p))


def test_own_figures_of_a_small_support_are_exact(fitted):
    mixture, trees, every, q, _ = fitted
    found = certainty(mixture, trees, None)
    assert found.entropy == pytest.approx(entropy(q), abs=1e-10)
    assert found.entropy_error == 0.0
    assert [size.topologies for size in found.sizes] == [credible_set(q, size.share).size for size in found.sizes]
    assert all(size.exact for size in found.sizes)
    np.testing.assert_allclose(found.drops.falls, drops_by_sets(every, q), atol=1e-10)
    assert found.best.proven
    assert found.best.probability == pytest.approx(q.max())


def test_own_figures_from_draws_agree_with_exact_ones(fitted, monkeypatch):
    mixture, trees, _, q, _ = fitted
    monkeypatch.setattr("vbpi_mix.phylo.report.certainty.MOST_ROOTED_TREES", 0)
    found = certainty(mixture, trees, None)
    assert 0 < found.entropy_error < 0.02
    assert abs(found.entropy - entropy(q)) < 4 * found.entropy_error
    for size in found.sizes:
        assert abs(size.topologies - credible_set(q, size.share).size) <= 2


def test_the_size_of_a_set_too_large_to_be_met_is_estimated():
    """Uniform on 20,000 topologies of which 2,000 draws meet some: the 95% set has 19,000."""
    met = np.bincount(np.random.default_rng(1).integers(0, 20_000, 2_000))
    share = met[met > 0] / 2_000
    found = credible_size(share, np.full(share.size, -np.log(20_000)), 0.95)
    assert not found.exact
    assert found.topologies == pytest.approx(19_000, rel=0.002)


def test_one_topology_is_certain():
    children = canonicalise(enumerate_topologies(5))[0][:1]
    support = build_support(children)
    best = most_probable_topology(support, np.zeros((1, support.n_params)))
    found = exact_certainty(best, children, np.ones(1))
    assert found.entropy == 0.0
    assert [size.topologies for size in found.sizes] == [1, 1]
    assert found.rogues(tuple("abcde")) == []


@pytest.fixture(scope="module")
def several():
    """Two fits of one posterior on 6 taxa with other supports, the draws of each, and the posterior in either support."""
    rng = np.random.default_rng(8)
    every = canonicalise(enumerate_topologies(6))[0]
    joint = 0.8 * rng.standard_normal(105)
    at = {tree.tobytes(): value for tree, value in zip(every, joint, strict=True)}
    mixtures, trees, right = [], [], []
    for seed in (1, 2):
        support = build_support(random_topologies(6, 6, rng))
        generator = torch.Generator().manual_seed(seed)
        mixture = PhyloMixture(support, 2, generator=generator, logits=rng.standard_normal((2, support.n_params)))

        def log_q(children, mixture=mixture):
            of_components = mixture.log_topology_probability(mixture.support.encode(children))
            return np.logaddexp.reduce(of_components, axis=1) - np.log(2)

        def log_weights(draws, log_q=log_q):
            children = canonicalise(draws.topologies.children)[0]
            log_p = np.array([at[tree.tobytes()] for tree in children])
            return torch.from_numpy((log_p - log_q(children)).reshape(draws.log_q.shape[:2]))

        draw = draw_components(Estimator.A2A, 2, None, generator)
        mixtures.append(mixture)
        trees.append(draw_weighted_trees(mixture, log_weights, draw, 20_000, generator))
        p = np.exp(joint) * np.isfinite(log_q(every))
        right.append((np.exp(log_q(every)), p / p.sum()))
    q, p = (np.array(each) for each in zip(*right, strict=True))
    # Each has topologies that the other lacks.
    assert ((q[0] > 0) != (q[1] > 0)).sum() > 10
    return mixtures, trees, every, q.mean(axis=0), p.mean(axis=0)


def test_pooled_weighted_figures_are_those_of_the_mean(several):
    mixtures, trees, every, _, p = several
    found = pooled_certainty(mixtures, trees, [weighting(each) for each in trees])
    assert found.best is None
    assert not found.exact
    assert found.entropy == pytest.approx(entropy(p), abs=0.02)
    for size in found.sizes:
        assert abs(size.topologies - credible_set(p, size.share).size) <= 2
    np.testing.assert_allclose(found.drops.falls, drops_by_sets(every, p), atol=0.03)


@pytest.mark.parametrize("most", [0, 50_000])
def test_pooled_own_figures_are_those_of_the_mean(several, monkeypatch, most):
    """Exact, and from draws where there are too many topologies."""
    mixtures, trees, every, q, _ = several
    monkeypatch.setattr("vbpi_mix.phylo.report.pooled_certainty.MOST_ROOTED_TREES", most)
    found = pooled_certainty(mixtures, trees, None)
    assert found.exact == (most > 0)
    assert (found.entropy_error == 0) == found.exact
    assert found.entropy == pytest.approx(entropy(q), abs=1e-10 if found.exact else 0.02)
    np.testing.assert_allclose(found.drops.falls, drops_by_sets(every, q), atol=1e-10 if found.exact else 0.03)
    for size in found.sizes:
        assert abs(size.topologies - credible_set(q, size.share).size) <= (0 if found.exact else 2)


def test_what_a_fit_has_not_met_is_known_from_the_others(several):
    """p(Y, tau) over its own evidence, where its support has the topology, and nothing where not; of own answers q(tau)."""
    from vbpi_mix.phylo.report.pooled_certainty import _fill_in

    mixtures, _, every, _, _ = several
    joint, evidence = np.linspace(-3.0, 2.0, 105), np.array([0.5, -1.0])
    log_q = np.logaddexp.reduce(mixtures[0].log_topology_probability(mixtures[0].support.encode(every)), axis=1) - np.log(2)
    met = np.arange(0, 105, 3)
    unmet = np.setdiff1d(np.arange(105), met)
    for weighted in (True, False):
        log_p = joint - evidence[:, None]
        log_p[0, unmet] = -np.inf
        _fill_in(log_p, [met, np.arange(105)], mixtures, every, evidence if weighted else None)
        expected = np.where(np.isfinite(log_q), joint - evidence[0], -np.inf) if weighted else log_q
        np.testing.assert_allclose(log_p[0, unmet], expected[unmet])
        np.testing.assert_allclose(log_p[0, met], joint[met] - evidence[0])
    assert np.isfinite(log_q[unmet]).any()
    assert np.isinf(log_q[unmet]).any()

"""A support that grows, on posteriors whose topologies can all be weighed."""

import math

import numpy as np
import pytest
from reference import subsplit_networks
from small_posteriors import numbers_of, shares, small_data

from vbpi_mix.phylo import growth
from vbpi_mix.phylo.approximation import GammaApproximations, approximate, refine
from vbpi_mix.phylo.fit import _missing
from vbpi_mix.phylo.sampling.widen import nni_neighbours
from vbpi_mix.phylo.sbn.coverage import in_support
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, unique_topologies

TOPOLOGIES = enumerate_topologies(6)


def weighed(sites, length, seed):
    """A posterior of 6 taxa: the target, approximations of all 105 topologies, and their shares."""
    _, target = small_data(6, sites, length, seed)
    rng = np.random.default_rng(1)
    found = refine(TOPOLOGIES, approximate(TOPOLOGIES, target, rng), target, rng, 20_000)
    return target, found, shares(found.log_marginal)


@pytest.fixture(scope="module")
def six():
    return weighed(60, 0.08, 6)


@pytest.fixture(scope="module")
def diffuse():
    return weighed(30, 0.1, 8)


def grown(target, found, start, **limits):
    children = TOPOLOGIES[start]
    return growth.grow(
        build_support(children), children, found.take(start), target, np.random.default_rng(2), children, **limits
    )


def outside(support):
    return ~in_support(support.encode(TOPOLOGIES))


@pytest.mark.parametrize("known", [1, 2, 4])
def test_a_support_that_lacks_probable_topologies_comes_to_hold_the_mass(six, known):
    target, found, exact = six
    start = np.argsort(-exact)[1 : known + 1]  # not even the most probable one
    lacked = exact[outside(build_support(TOPOLOGIES[start]))].sum()
    support, added = grown(target, found, start)
    missing = exact[outside(support)].sum()
    assert lacked > 0.2
    assert missing < 2e-3
    assert added.missing < 1e-3
    # What is added is new, distinct and canonical, and has its approximation.
    numbers = numbers_of(added.children, TOPOLOGIES)
    assert set(numbers).isdisjoint(start)
    assert len(unique_topologies(added.children)[0]) == len(added.children)
    np.testing.assert_array_equal(canonicalise(added.children)[0], added.children)
    assert not outside(support)[numbers].any()
    assert added.approximations.mode.shape == (len(numbers), 9)
    probable = exact[numbers] > 0.01
    assert probable.any()
    found_there = added.approximations.log_marginal - found.log_marginal[numbers]
    np.testing.assert_allclose(found_there[probable], 0.0, atol=0.5)


def test_a_limit_takes_the_best_and_counts_the_others_as_missing(six):
    target, found, exact = six
    start = np.argsort(-exact)[1:2]
    support, added = grown(target, found, start, at_most=1, add_at_most=1)
    unlimited = grown(target, found, start, at_most=1)[1]
    assert len(added.children) <= growth.ROUNDS
    assert added.children[0].tobytes() in {each.tobytes() for each in unlimited.children}
    missing = exact[outside(support)].sum()
    assert missing > 0.01
    assert 0.1 * missing < added.missing < 10 * missing


@pytest.mark.parametrize("known", [1, 3])
@pytest.mark.parametrize("least", [1e-2, 3e-2])
def test_what_is_said_to_be_missing_is_near_what_is(diffuse, monkeypatch, least, known):
    """With a rule that leaves out so much that something is missing; nothing that was weighed is forgotten."""
    monkeypatch.setattr(growth, "LEAST_PROBABILITY", least)
    target, found, exact = diffuse
    support, added = grown(target, found, np.argsort(-exact)[1 : known + 1])
    missing = exact[outside(support)].sum()
    assert missing > 0.02
    assert added.missing == pytest.approx(missing, rel=0.45)


def test_a_support_of_all_topologies_lacks_nothing(six):
    target, found, _ = six
    support, added = grown(target, found, np.arange(105))
    assert len(added.children) == 0
    assert added.missing == 0.0
    assert support.n_params == build_support(TOPOLOGIES).n_params


def test_rounds_end_and_what_is_not_looked_around_counts(six, monkeypatch):
    """After one round what it added is not explored: it is said to hide as much again."""
    monkeypatch.setattr(growth, "ROUNDS", 1)
    target, found, exact = six
    support, added = grown(target, found, np.argsort(-exact)[1:2])
    assert added.looked_around == 1
    assert exact[outside(support)].sum() > 1e-3
    assert added.missing > 0.1
    neighbours = nni_neighbours(TOPOLOGIES[np.argsort(-exact)[1:2]])[0]
    assert set(numbers_of(added.children, TOPOLOGIES)) <= set(numbers_of(neighbours, TOPOLOGIES))


def split_of_edges(children):
    """The taxa beyond each edge, seen from taxon 0."""
    return [frozenset(clade) for clade in subsplit_networks.clades_below(children)[1:]]


def test_values_are_those_of_the_edge_with_the_same_split():
    topologies = enumerate_topologies(7)[[3, 500, 801]]
    rng = np.random.default_rng(5)
    found = GammaApproximations(rng.normal(size=(3, 11)), rng.random((3, 11)) + 1.0, np.zeros(3))
    neighbours = nni_neighbours(topologies)
    new = np.concatenate([neighbours[2], neighbours[0]])
    origin = np.repeat([2, 0], neighbours.shape[1])
    mode, shape = growth._carried_over(topologies, found, origin, new)
    for g, children in enumerate(new):
        of_origin = {split: e for e, split in enumerate(split_of_edges(topologies[origin[g]]))}
        unknown = 0
        for e, split in enumerate(split_of_edges(children)):
            if split in of_origin:
                assert mode[g, e] == found.mode[origin[g], of_origin[split]]
                assert shape[g, e] == found.shape[origin[g], of_origin[split]]
            else:
                assert (mode[g, e], shape[g, e]) == (growth.NEW_MODE, growth.NEW_SHAPE)
                unknown += 1
        assert unknown == 1  # an interchange changes one split


@pytest.mark.parametrize(
    ("of_neighbours", "new_mass", "said"),
    [(1e-5, 2e-3, 2e-3), (5e-3, 2e-3, 5e-3), (1e-5, math.nan, 1e-5), (1e-5, None, 1e-5), (None, 2e-3, None)],
)
def test_as_much_is_missing_as_the_sampler_would_still_have_found(of_neighbours, new_mass, said):
    made = {} if new_mass is None else {"made": {"new_mass": new_mass}}
    assert _missing(of_neighbours, made) == said

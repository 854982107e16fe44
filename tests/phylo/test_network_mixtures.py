"""Mixtures of networks by expectation maximisation, against one network's own fit and by likelihood."""

import numpy as np
import pytest

from vbpi_mix.phylo.sbn import mixtures, networks
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.newick import parse_newick
from vbpi_mix.phylo.trees.topology import enumerate_topologies

TOPOLOGIES = enumerate_topologies(6)


def mean_log_likelihood(support, logits, encoded, weights):
    log_q = networks.log_probability(logits, support, encoded)
    return float(weights @ (np.logaddexp.reduce(log_q, axis=1) - np.log(logits.shape[0])) / weights.sum())


@pytest.fixture(scope="module")
def sample():
    """Encoded topologies of 6 taxa, and weights that no network has."""
    support = build_support(TOPOLOGIES)
    return support, support.encode(TOPOLOGIES), np.random.default_rng(1).dirichlet(np.full(105, 0.1))


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("given", [False, True])
def test_likelihood_never_falls(sample, components, given, monkeypatch):
    support, encoded, weights = sample
    monkeypatch.setattr(mixtures, "AT_ONCE", 30)
    logits = np.random.default_rng(3).normal(size=(components, support.n_params)) if given else None
    fits = []
    for iterations in range(1, 12):
        found = mixtures.fit_mixture(
            support, encoded, weights, components, np.random.default_rng(2), iterations, tolerance=0.0, start=logits
        )
        fits.append(mean_log_likelihood(support, found, encoded, weights))
    # What pseudo-counts, a millionth of the weight for each PCSP, can cost.
    assert np.diff(fits).min() > -1e-4
    assert fits[-1] - fits[0] > 0.005
    # No distribution is nearer than the sample itself.
    assert fits[-1] <= weights @ np.log(weights)


def test_a_start_goes_on_from_where_it_is(sample, monkeypatch):
    monkeypatch.setattr(mixtures, "TRIES", 1)
    support, encoded, weights = sample
    rng = np.random.default_rng(2)
    before = mixtures.fit_mixture(support, encoded, weights, 3, rng, 5, tolerance=0.0)
    after = mixtures.fit_mixture(support, encoded, weights, 3, rng, 5, tolerance=0.0, start=before)
    at_once = mixtures.fit_mixture(support, encoded, weights, 3, np.random.default_rng(2), 10, tolerance=0.0)
    one, two = (networks.log_probability(logits, support, encoded) for logits in (after, at_once))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_one_component_is_the_fit_of_one_network(sample):
    support, encoded, weights = sample
    own = networks.fit_em(support, encoded, weights, iterations=300, tolerance=1e-9)
    found = mixtures.fit_mixture(support, encoded, weights, 1, np.random.default_rng(1), 300, tolerance=1e-9)
    one, two = (np.exp(networks.log_probability(logits, support, encoded))[:, 0] for logits in (own[None], found))
    np.testing.assert_allclose(one, two, atol=2e-4)


def test_two_groups_of_topologies_are_told_apart():
    """Clades far from each other are resolved in one way together, or both in the other: a network alone forgets which."""
    taxa = tuple(f"t{k}" for k in range(9))
    groups = [
        [f"(t0,(({left},{one}),({other},{right})));" for one, other in (("t4", "t5"), ("t5", "t4"))]
        for left, right in (("((t1,t2),t3)", "((t6,t7),t8)"), ("((t1,t3),t2)", "((t6,t8),t7)"))
    ]
    children = np.stack([parse_newick(newick, taxa)[0] for group in groups for newick in group])
    support = build_support(children)
    encoded, weights = support.encode(children), np.full(4, 0.25)
    found = mixtures.fit_mixture(support, encoded, weights, 2, np.random.default_rng(4))
    probabilities = np.exp(networks.log_probability(found, support, encoded))
    own = probabilities[:2].sum(0), probabilities[2:].sum(0)
    first = int(own[0].argmax())
    np.testing.assert_allclose([own[0][first], own[1][1 - first]], 1.0, atol=1e-3)
    np.testing.assert_allclose([own[0][1 - first], own[1][first]], 0.0, atol=1e-3)
    one = networks.fit_em(support, encoded, weights)[None]
    of_mixture, of_one = (mean_log_likelihood(support, logits, encoded, weights) for logits in (found, one))
    assert of_mixture == pytest.approx(np.log(0.25), abs=1e-3)
    assert of_one < of_mixture - 0.3


def test_topologies_of_weight_zero_only_stay_possible(sample):
    support, encoded, weights = sample
    weights = np.where(np.arange(105) % 5 == 0, weights, 0.0)
    used = np.flatnonzero(weights)
    without = mixtures.fit_mixture(support, encoded.take(used), weights[used], 2, np.random.default_rng(1))
    found = mixtures.fit_mixture(support, encoded, weights, 2, np.random.default_rng(1))
    np.testing.assert_array_equal(found, without)
    log_q = networks.log_probability(found, support, encoded)
    assert np.isfinite(log_q).all()
    assert np.exp(log_q).sum(0) == pytest.approx(1.0, abs=1e-9)


def test_weights_need_not_add_up_to_one(sample):
    support, encoded, weights = sample
    one, two = (
        mixtures.fit_mixture(support, encoded, scale * weights, 2, np.random.default_rng(1)) for scale in (1.0, 1000.0)
    )
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_taken_topologies_are_those_encoded(sample):
    support, encoded, _ = sample
    which = np.array([7, 3, 99])
    taken, expected = encoded.take(which), support.encode(TOPOLOGIES[which])
    assert len(taken) == 3
    for name in ("children", "splits", "tripartitions", "entries", "parameters", "rows"):
        np.testing.assert_array_equal(getattr(taken, name)[:, 1:], getattr(expected, name)[:, 1:], err_msg=name)


def test_rootings_have_the_probabilities_of_rooted_trees(sample):
    """The probability of a rooting is q of the rooted tree over q of the topology; of uniform logits, by enumeration."""
    support, encoded, _ = sample
    log_probabilities, _ = networks.normalise(np.random.default_rng(6).normal(size=(2, support.n_params)), support)
    log_q, rooting = networks.log_q_and_rooting(log_probabilities, encoded)
    np.testing.assert_allclose(rooting[:, :, 1:].sum(2), 1.0, atol=1e-12)
    # The expected counts of all topologies, weighed by their probability, are the probabilities that a draw meets each:
    # of the roots they add up to one, and are those of the network itself.
    for a in range(2):
        counts = np.zeros(support.n_params)
        networks.add_expected_counts(encoded, np.ascontiguousarray(rooting[:, a]), np.exp(log_q[:, a]), counts)
        roots = slice(0, support.n_splits)
        np.testing.assert_allclose(counts[roots], np.exp(log_probabilities[a, roots]), atol=1e-12)
        # And a step of EM from them gives the same network.
        again, _ = networks.normalise(networks.logits_of_counts(counts, support)[None], support)
        met = counts > 1e-9
        np.testing.assert_allclose(again[0, met], log_probabilities[a, met], atol=1e-6)

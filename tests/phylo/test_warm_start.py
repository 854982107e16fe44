"""The start of training, on posteriors of few taxa: shares by quadrature and by long importance sampling."""

import numba
import numpy as np
import pytest
import torch
from small_posteriors import exact_log_marginals, numbers_of, sample_of, shares, small_data

from vbpi_mix.phylo import start
from vbpi_mix.phylo.approximation import GammaApproximations, approximate, refine
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.lognormal import LogNormal
from vbpi_mix.phylo.branches.regression import predict, regress
from vbpi_mix.phylo.branches.tabular import LOG_LENGTH_SHIFT
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, unique_topologies

SIX = enumerate_topologies(6)
GAMMA = make_base("gamma")


def started(sample, target, base=GAMMA, components=2, seed=1, **options):
    return start.warm_start(sample, target, base, components, np.random.default_rng(seed), **options)


def mixture_shares(found, topologies):
    """Probabilities that the networks of a start give."""
    return np.exp(sbn.log_probability(found.logits, found.support, found.support.encode(topologies))).mean(axis=1)


def by_number(found, topologies):
    """The weights of a start, in the order of these topologies."""
    weights = np.zeros(len(topologies))
    weights[numbers_of(found.topologies, topologies)] = found.weights
    return weights


@pytest.fixture(scope="module")
def six():
    """A diffuse posterior of 6 taxa, and the shares of its 105 topologies by 4,000 draws of each and more of the probable."""
    _, target = small_data(6, 40, length=0.1)
    rng = np.random.default_rng(1)
    found = approximate(SIX, target, rng)
    for _ in range(3):
        found = refine(SIX, found, target, rng, 100_000)
    return target, shares(found.log_marginal)


@pytest.mark.parametrize("n_taxa", [4, 5])
def test_shares_are_those_of_quadrature(n_taxa):
    patterns, target = small_data(n_taxa, 18 if n_taxa == 4 else 9)
    exact = shares(exact_log_marginals(patterns))
    topologies = enumerate_topologies(n_taxa)
    found = started(sample_of(topologies), target)
    assert np.abs(by_number(found, topologies) - exact).max() < 0.01
    assert np.abs(mixture_shares(found, topologies) - exact).max() < 0.03
    assert (found.added, found.missing) == (0, 0.0)
    assert found.logits.shape == (2, found.support.n_params)
    assert found.features.shape == (found.support.n_features, 2)


@pytest.mark.parametrize("seed", [1, 2])
def test_from_a_sample_that_lacks_what_is_probable_the_shares_are_still_right(six, seed):
    """Topologies of the sample, neighbours, and what networks draw together are the whole posterior."""
    target, exact = six
    known = np.argsort(-exact)[[1, 4, 9]]
    found = started(sample_of(SIX[known], [5, 2, 1]), target, seed=seed)
    weights = by_number(found, SIX)
    assert exact[weights == 0].sum() < 0.01
    assert np.abs(weights - exact).max() < 0.01
    assert np.abs(mixture_shares(found, SIX) - exact).max() < 0.03
    assert found.added == len(found.topologies) - 3 > 10
    np.testing.assert_array_equal(found.topologies[:3], SIX[known])
    assert len(unique_topologies(found.topologies)[0]) == len(found.topologies)
    np.testing.assert_array_equal(canonicalise(found.topologies)[0], found.topologies)
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("base", ["gamma", "lognormal"])
def test_shares_of_adaptive_draws_are_right_too(six, monkeypatch, base):
    """Six of 105 topologies are approximated; those of the others come from draws of the mixture. The log-normal's weights
    have a heavy tail.
    """
    target, exact = six
    calls = []
    adapt = start.adapt
    monkeypatch.setattr(start, "adapt", lambda *given: calls.append(1) or adapt(*given))
    monkeypatch.setattr(start, "ADAPTIVE_DRAWS", 40_000)
    monkeypatch.setattr(start, "FEWEST_TOPOLOGIES", 1)
    found = started(sample_of(SIX), target, make_base(base), growing=False, max_topologies=6)
    assert len(calls) == start.ADAPTIVE_ROUNDS
    assert found.missing is None
    weights = by_number(found, SIX)
    assert exact[np.arange(105) > 5].sum() > 0.3  # most of the posterior is not approximated
    assert np.abs(weights - exact).max() < (0.015 if base == "gamma" else 0.1)
    assert np.abs(mixture_shares(found, SIX) - exact).max() < (0.03 if base == "gamma" else 0.1)


def test_adaptive_shares_err_by_chance_only(six):
    """The mean over many seeds of one round's estimate, from networks that are far from the posterior, within its error."""
    target, exact = six
    support = build_support(SIX)
    approximated = np.arange(0, 105, 20)
    rng = np.random.default_rng(4)
    pilots = approximate(SIX, target, rng)
    rows = support.encode(SIX).rows
    features = regress(rows, GAMMA.features_of(pilots), np.ones(105), support)
    log_marginal = refine(SIX, pilots, target, rng, 100_000).take(approximated)
    table = start.Table(SIX, np.zeros(105), approximated, log_marginal)
    mixture = PhyloMixture(support, 2, generator=torch.Generator().manual_seed(1), base=GAMMA, features=features)
    found = []
    for seed in range(6):
        topologies, weights, _ = start.adapt(table, mixture, target, np.random.default_rng(seed), 50_000)
        np.testing.assert_array_equal(topologies, SIX)
        found.append(weights)
    found = np.array(found)
    error = np.maximum(found.std(0) / np.sqrt(len(found)), 1e-5)
    assert error.max() < 0.01
    away = np.abs(found.mean(0) - exact)
    assert (away < 6 * error + 0.01 * exact).mean() > 0.95
    assert away.max() < 0.02


def test_a_start_is_the_same_for_a_seed_whatever_the_threads(six, monkeypatch):
    target, _ = six
    monkeypatch.setattr(start, "ADAPTIVE_DRAWS", 4_000)
    monkeypatch.setattr(start, "FEWEST_TOPOLOGIES", 1)
    sample = sample_of(SIX[::7])
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append([started(sample, target, max_topologies=most) for most in (4, 100)])
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        for name in ("features", "topologies", "weights", "logits"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert (one.added, one.missing) == (two.added, two.missing)


def test_a_fixed_support_is_that_of_the_sample(six):
    target, exact = six
    children = SIX[np.argsort(-exact)[[0, 2, 5, 30]]]
    found = started(sample_of(children), target, growing=False)
    expected = build_support(children)
    for name in ("split_bits", "legs", "port_child"):
        np.testing.assert_array_equal(getattr(found.support, name), getattr(expected, name))
    assert found.missing is None
    # What the networks draw beyond the sample has its share too.
    known = numbers_of(found.topologies, SIX)
    assert found.added == len(known) - 4
    np.testing.assert_allclose(found.weights, exact[known] / exact[known].sum(), atol=0.01)


@pytest.mark.parametrize("base", ["gamma", "lognormal"])
def test_with_splits_only_pairs_have_no_features(six, base):
    target, _ = six
    found = started(sample_of(SIX[::5]), target, make_base(base), split_only=True)
    splits = found.support.n_splits
    assert np.abs(found.features[:splits]).min() > 0
    assert np.abs(found.features[splits:]).max() == 0


@pytest.mark.parametrize("growing", [True, False])
@pytest.mark.parametrize("n_taxa", [4, 6])
def test_a_sample_of_one_topology_is_enough(n_taxa, growing):
    _, target = small_data(n_taxa, 200)
    topologies = enumerate_topologies(n_taxa)
    found = started(sample_of(topologies[1:2]), target, components=3, growing=growing)
    assert np.isfinite(found.logits).all()
    assert np.isfinite(found.features).all()
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-12)
    if not growing:
        assert found.weights.tolist() == [1.0]
        np.testing.assert_allclose(mixture_shares(found, topologies[1:2]), [1.0], atol=1e-12)


def test_topologies_of_weight_zero_are_no_obstacle(six):
    target, _ = six
    weights = np.zeros(105)
    weights[:2] = 0.5
    found = started(sample_of(SIX, weights), target, growing=False, max_topologies=6)
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.logits).all()


def test_of_many_taxa_and_a_diffuse_sample_the_frequencies_count(six, monkeypatch):
    target, exact = six
    weights = np.random.default_rng(3).dirichlet(np.full(105, 2.0))
    monkeypatch.setattr(start, "FEWEST_TOPOLOGIES", 20)
    computed = started(sample_of(SIX, weights), target, max_topologies=20)
    assert np.abs(by_number(computed, SIX) - exact).max() < 0.02 < np.abs(weights - exact).max()
    monkeypatch.setattr(start, "TAXA_OF_NOISE", 5)
    counted = started(sample_of(SIX, weights), target, max_topologies=20)
    np.testing.assert_allclose(by_number(counted, SIX), weights, atol=1e-12)
    # Where all topologies that matter can be approximated they are.
    every = started(sample_of(SIX, weights), target, max_topologies=105)
    assert np.abs(by_number(every, SIX) - exact).max() < 0.02


def approximations(shares):
    """Of some topologies of 6 taxa, whose marginal likelihoods are these."""
    count = len(shares)
    return GammaApproximations(np.zeros((count, 9)), np.ones((count, 9)), np.log(shares))


def test_shares_are_of_approximations_and_of_predictions_where_there_is_none():
    known = start.Table(SIX[:3], np.log([0.9, 0.9, 0.2]), np.array([0, 1]), approximations([0.6, 0.4]))
    np.testing.assert_allclose(known.weights(), np.array([0.6, 0.4, 0.2]) / 1.2, rtol=1e-12)
    more = known.with_more(SIX[50:51], approximations([1.0]))
    np.testing.assert_allclose(more.weights(), np.array([0.6, 0.4, 0.2, 1.0]) / 2.2, rtol=1e-12)
    np.testing.assert_array_equal(more.approximated, [0, 1, 3])


def test_what_is_not_approximated_is_predicted_to_a_nat(monkeypatch):
    """From 40 pilots of 105 topologies; 20 more are approximated, those that are worth most whatever the sample says."""
    _, target = small_data(6, 400)
    support = build_support(SIX)
    exact = approximate(SIX, target, np.random.default_rng(1))
    monkeypatch.setattr(start, "PILOTS", 40)
    monkeypatch.setattr(start, "CONCENTRATED", 0.0)
    found, _ = start._examine(sample_of(SIX), support, target, np.random.default_rng(1), False, 60, 1.0)
    assert set(range(40)) < set(found.approximated)
    assert found.approximated.size == 60
    probable = exact.log_marginal > exact.log_marginal.max() - 10
    error = found.predicted[probable] - exact.log_marginal[probable]
    assert np.abs(error).max() < 1.5
    own = exact.log_marginal[found.approximated]
    near = own > exact.log_marginal.max() - 10
    np.testing.assert_allclose(found.found.log_marginal[near], own[near], atol=0.5)
    assert set(np.argsort(-exact.log_marginal)[:10]) <= set(found.approximated)


def test_what_networks_draw_is_unknown_distinct_and_the_most_frequent_first():
    """Topologies of 7 taxa at random: parts of several of them make others."""
    topologies = enumerate_topologies(7)
    sample = topologies[np.random.default_rng(5).permutation(945)[:200]]
    support, weights = build_support(sample), np.full(200, 1 / 200)
    encoded = support.encode(sample)
    new, share = start._drawn_but_unknown(support, encoded, weights, np.random.default_rng(1))
    numbers, known = numbers_of(new, topologies), numbers_of(sample, topologies)
    assert set(numbers).isdisjoint(known)
    assert len(set(numbers)) == len(numbers) > 5
    # The same fit has the same probabilities.
    logits = sbn.fit_em(support, encoded, weights, iterations=start.DRAFT_ITERATIONS)
    probability = np.exp(sbn.log_probability(logits[None], support, support.encode(topologies)))[:, 0]
    assert share == pytest.approx(1.0 - probability[known].sum(), abs=0.03)
    frequent = probability[numbers]
    assert frequent[:2].min() > 10 * frequent[2:].max()


def nearest_normals(approximation):
    """Mean and sd of log-lengths [T, E]."""
    wanted = LogNormal().features_of(approximation)
    return wanted[..., 0] + LOG_LENGTH_SHIFT, np.exp(wanted[..., 1])


def test_the_nearest_normal_has_the_least_divergence():
    approximation = GammaApproximations(np.array([[-2.0]]), np.array([[3.0]]), np.zeros(1))
    best_mean, best_sd = (float(values[0, 0]) for values in nearest_normals(approximation))

    def divergence(mean, sd):
        """But for a constant: -log sd - E log density of the gamma's logarithm."""
        return -np.log(sd) - 3.0 * mean + 3.0 * np.exp(mean + 0.5 * sd**2 + 2.0)

    least = divergence(best_mean, best_sd)
    for mean, sd in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.01, 0.01)):
        assert divergence(best_mean + mean, best_sd + sd) > least


@pytest.mark.parametrize("base", ["gamma", "lognormal"])
def test_features_add_up_to_what_is_nearest_to_the_approximations(base):
    """Of the most probable topology of 5 taxa, to a part of the width of the posterior."""
    _, target = small_data(5, 60)
    topologies = enumerate_topologies(5)
    density = make_base(base)
    found = started(sample_of(topologies), target, density)
    near = approximate(topologies, target, np.random.default_rng(1))
    best = near.log_marginal.argmax()
    sums = predict(found.features, found.support.encode(topologies).rows)
    apart = np.abs(sums - density.features_of(near))[best]
    assert (apart[:, 0] < near.shape[best] ** -0.5).all()
    assert apart[:, 1].max() < (0.5 if base == "lognormal" else 1.0)


def test_an_additive_surface_is_found_again():
    support = build_support(SIX)
    rows = support.encode(SIX).rows
    true = np.random.default_rng(3).normal(size=(support.n_features, 2))
    values = np.where(rows[..., None] >= 0, true[rows], 0.0).sum(2)
    found = regress(rows, values, np.ones(len(SIX)), support)
    fitted = predict(found, rows)
    np.testing.assert_allclose(fitted, np.where(rows[..., None] >= 0, found[rows], 0.0).sum(2), rtol=0, atol=1e-15)
    assert np.abs(fitted - values).mean() < 0.1 * np.abs(values - values.mean((0, 1))).mean()


def test_regression_by_hand():
    """One kind of edge seen twice: the split's row takes what shrinkage leaves of the distance from the mean of its kind."""
    support = build_support(SIX[:1])
    rows = np.full((1, 9, 3), -1, np.int32)
    rows[0, :, 0] = np.arange(9)
    values = np.arange(9.0)[None, :, None]
    found = regress(rows, values, np.ones(1), support)[:9, 0]
    for pendant in (True, False):
        kind = support.pendant_features[:9] == pendant
        mean = values[0, kind, 0].mean()
        np.testing.assert_allclose(found[kind], mean + (values[0, kind, 0] - mean) / 1.5, atol=1e-12)

"""Answers of weighted draws: against sums written out draw by draw, known truths, and exact posteriors."""

import math
from dataclasses import replace

import dendropy
import numpy as np
import pytest
import torch
from reference import jukes_cantor
from test_fit_exact import small_data

from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights
from vbpi_mix.phylo.assess.comparison import of_sample
from vbpi_mix.phylo.assess.weighted import compare_weighted, total_variation
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.report.answer import weighted_answer
from vbpi_mix.phylo.report.consensus import majority_rule
from vbpi_mix.phylo.report.weighted import (
    Strata,
    WeightedTrees,
    Weighting,
    draw_weighted_trees,
    evidence,
    split_estimates,
    topology_estimates,
    weighting,
)
from vbpi_mix.phylo.sbn.splits import split_frequencies
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import clade_bitsets, enumerate_topologies, random_topologies, unique_topologies
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.trainer import Trainer

EITHER = pytest.mark.parametrize("strata", list(Strata))


def toy(rng, p, q, draws, spread):
    """Draws of components q float64 [A, U] weighted to p [U]; within a topology weights are log-normal with mean 1."""
    children = enumerate_topologies(5)[: p.size]
    support = build_support(children)
    component = np.repeat(np.arange(q.shape[0]), draws // q.shape[0])
    topology = np.concatenate([rng.choice(p.size, draws // q.shape[0], p=each) for each in q])
    met, number = np.unique(topology, return_inverse=True)
    mixed = q.mean(axis=0)
    noise = rng.normal(-(spread**2) / 2, spread, topology.size)
    lengths = 0.1 * rng.exponential(size=(topology.size, 7))
    trees = WeightedTrees(
        children=children[met],
        log_q=np.log(mixed[met]),
        splits=support.encode(children[met]).splits[:, 1:],
        topology=number,
        component=component,
        lengths=lengths,
        log_weights=np.log(p / mixed)[topology] + noise - 7000,
        split_bits=support.split_bits,
    )
    return trees, met


def two_components(rng, size):
    return rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size), size=2)


def written_out(shares, stratum, numerator, denominator):
    """sum w f / sum w g and its standard error, residual by residual."""
    answer = (shares * numerator).sum() / (shares * denominator).sum()
    residual = shares * (numerator - answer * denominator) / (shares * denominator).sum()
    variance = sum(
        (stratum == h).sum() * np.var(residual[stratum == h], ddof=1) for h in np.unique(stratum)
    )
    return answer, math.sqrt(variance)


@EITHER
def test_errors_are_those_of_residuals_written_out(strata):
    rng = np.random.default_rng(1)
    trees, _ = toy(rng, *two_components(rng, 15), 2000, 0.8)
    by = weighting(trees, strata)
    topologies, splits = topology_estimates(trees, by), split_estimates(trees, by)
    for u in range(trees.log_q.size):
        expected = written_out(by.shares, by.stratum, (trees.topology == u).astype(float), np.ones(len(trees)))
        assert (topologies.probabilities[u], topologies.errors[u]) == pytest.approx(expected, rel=1e-9)
    for s in range(trees.split_bits.shape[0]):
        has = (trees.splits[trees.topology] == s).astype(float)
        length = (has * trees.lengths).sum(axis=1)
        of_split = (splits.frequencies[s], splits.frequency_errors[s])
        expected = written_out(by.shares, by.stratum, has.sum(axis=1), np.ones(len(trees)))
        assert of_split == pytest.approx(expected, rel=1e-9, abs=1e-9)
        of_length = (splits.lengths[s], splits.length_errors[s])
        assert of_length == pytest.approx(written_out(by.shares, by.stratum, length, has.sum(axis=1)), rel=1e-9)


def test_strata_by_hand():
    """Topologies expected 10 times are strata; q(stratum) over its share of draws scales the weights."""
    children = enumerate_topologies(4)
    support = build_support(children)
    trees = WeightedTrees(
        children=children,
        log_q=np.log([0.7, 0.2, 0.05]),
        splits=support.encode(children).splits[:, 1:],
        topology=np.repeat([0, 1, 2], [60, 30, 10]),
        component=np.repeat([0, 1], 50),
        lengths=np.ones((100, 5)),
        log_weights=np.full(100, -50.0),
        split_bits=support.split_bits,
    )
    plain = topology_estimates(trees, weighting(trees, Strata.COMPONENTS))
    np.testing.assert_allclose(plain.probabilities, [0.6, 0.3, 0.1])
    by = weighting(trees, Strata.TOPOLOGIES)
    # The third is expected 5 times only: with what was not drawn it is the rest, of probability 0.1.
    found = topology_estimates(trees, by)
    np.testing.assert_allclose(found.probabilities, [0.7, 0.2, 0.1])
    np.testing.assert_allclose(found.errors, 0, atol=1e-8)
    assert evidence(by).value == pytest.approx(-50)
    assert by.unmet == 0
    fewer = replace(trees, topology=np.repeat([0, 1], [60, 40]))
    assert weighting(fewer, Strata.TOPOLOGIES).unmet == pytest.approx(0.1)


def test_a_draw_that_is_alone_in_its_stratum_stands_for_its_variance():
    """Of shares 0.5, 0.3 and 0.2, the last alone: 2 ((0.5 - 0.4)^2 + (0.3 - 0.4)^2) and 0.2^2."""
    by = Weighting(np.array([0.5, 0.3, 0.2]), np.array([0, 0, 1]), -7.0, 0.0)
    assert (evidence(by).value, evidence(by).error) == pytest.approx((-7.0, math.sqrt(2 * 0.02 + 0.04)))


def errors_of(strata, spread, truth, q, repeats=150, draws=1000):
    """Root mean square error over topologies, and mean reported variance over mean square error."""
    rng = np.random.default_rng(5)
    squares, reported, evidences = [], [], []
    for _ in range(repeats):
        trees, met = toy(rng, truth, q, draws, spread)
        by = weighting(trees, strata)
        estimates = topology_estimates(trees, by)
        found, variance = np.zeros(truth.size), np.zeros(truth.size)
        found[met], variance[met] = estimates.probabilities, estimates.errors**2
        squares.append((found - truth) ** 2)
        reported.append(variance)
        of_evidence = evidence(by)
        evidences.append((of_evidence.value + 7000) / of_evidence.error)
    return math.sqrt(np.mean(squares)), np.mean(reported) / np.mean(squares), np.std(evidences)


@EITHER
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_reported_errors_are_those_made(strata, spread):
    truth, q = two_components(np.random.default_rng(2), 15)
    _, ratio, of_evidence = errors_of(strata, spread, truth, 0.5 * q + 0.5 * truth)
    assert ratio == pytest.approx(1, abs=0.15)
    assert of_evidence == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.2])
def test_topologies_as_strata_take_out_the_noise_of_how_often_each_was_drawn(spread):
    """Var(w)/E(w^2) = 1 - exp(-spread^2) of the variance is left if q has the right topologies."""
    truth, _ = two_components(np.random.default_rng(3), 15)
    q = np.tile(truth, (2, 1))
    plain, stratified = (errors_of(strata, spread, truth, q)[0] for strata in Strata)
    assert stratified < plain
    assert stratified / plain == pytest.approx(math.sqrt(1 - math.exp(-(spread**2))), rel=0.12)


@EITHER
def test_answers_do_not_depend_on_the_order_of_draws_or_the_scale_of_weights(strata):
    rng = np.random.default_rng(4)
    trees, _ = toy(rng, *two_components(rng, 15), 2000, 1.0)
    order = rng.permutation(2000)
    other = replace(
        trees,
        topology=trees.topology[order],
        component=trees.component[order],
        lengths=trees.lengths[order],
        log_weights=trees.log_weights[order] + 5000,
    )
    by, by_other = weighting(trees, strata), weighting(other, strata)
    assert evidence(by_other).value == pytest.approx(evidence(by).value + 5000)
    for name in ("frequencies", "frequency_errors", "lengths", "length_errors"):
        one, two = (getattr(split_estimates(t, b), name) for t, b in ((trees, by), (other, by_other)))
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-9)


def test_splits_that_were_not_drawn_have_no_length():
    children = enumerate_topologies(4)
    support = build_support(children)
    trees = WeightedTrees(
        children[:1], np.zeros(1), support.encode(children[:1]).splits[:, 1:], np.zeros(40, int),
        np.repeat([0, 1], 20), np.full((40, 5), 0.1), np.zeros(40), support.split_bits,
    )  # fmt: skip
    found = split_estimates(trees, weighting(trees))
    assert np.isnan(found.lengths).sum() == np.isnan(found.length_errors).sum() == 2
    assert (found.frequencies[np.isnan(found.lengths)] == 0).all()
    np.testing.assert_allclose(found.lengths[~np.isnan(found.lengths)], 0.1)
    answer = weighted_answer(trees, weighting(trees))
    assert len(answer.frequencies()) == 1
    tree = dendropy.Tree.get(data=answer.consensus(("a", "b", "c", "d")).newick(), schema="newick")
    assert [round(edge.length, 8) for edge in tree.preorder_edge_iter() if edge.length is not None] == [0.1] * 5


def test_what_has_no_weight_is_left_out_of_an_answer_and_shares_have_eight_digits():
    """Two draws that weigh 1 to 2, and one of no weight, whose topology and split are not listed."""
    children = enumerate_topologies(4)
    support = build_support(children)
    trees = WeightedTrees(
        children, np.log(np.full(3, 1 / 3)), support.encode(children).splits[:, 1:], np.arange(3), np.zeros(3, int),
        np.full((3, 5), 0.1), np.array([0.0, math.log(2), -np.inf]), support.split_bits,
    )  # fmt: skip
    answer = weighted_answer(trees, Weighting(np.array([1, 2, 0]) / 3, np.zeros(3, int), 0.0, 0.0))
    np.testing.assert_array_equal(answer.children, children[[1, 0]])
    assert answer.topologies.probabilities.tolist() == [2 / 3, 1 / 3]
    rows = [line.split(",") for line in answer.splits_csv(("a", "b", "c", "d")).splitlines()[1:]]
    assert [row[2] for row in rows] == ["0.66666667", "0.33333333", "1", "1", "1", "1"]


def test_internal_splits_of_more_taxa_than_a_word_has_bits():
    children = random_topologies(70, 1, np.random.default_rng(2))
    support = build_support(children)
    trees = WeightedTrees(
        children, np.zeros(1), support.encode(children).splits[:, 1:], np.zeros(2, int), np.zeros(2, int),
        np.full((2, 137), 0.1), np.zeros(2), support.split_bits,
    )  # fmt: skip
    answer = weighted_answer(trees, Weighting(np.full(2, 0.5), np.zeros(2, int), 0.0, 0.0))
    assert answer.internal.size == answer.resolved == 67
    assert len(answer.splits_csv(tuple(f"t{k}" for k in range(70))).splitlines()) == 1 + 67 + 70


def sample_of(children, weights):
    sample = TreeSample(tuple("abcde"), children, weights, np.arange(weights.size), weights, None, ())
    return of_sample(sample, "sample")


def test_consensus_of_given_splits_by_hand():
    """((b, c), d, e) as seen from a; {d, e} is in half of the trees only, which is no majority."""
    masks = [0b00010, 0b00100, 0b01000, 0b10000, 0b00110, 0b11000, 0b11110]
    bits = np.array(masks, np.uint64)[:, None]
    frequencies = np.array([1, 1, 1, 1, 0.75, 0.5, 1])
    found = majority_rule(bits, frequencies, 0.125 * np.arange(1, 8), tuple("abcde")).newick()
    assert found == "(a:0.875,d:0.375,e:0.5,(b:0.125,c:0.25)0.75:0.625);"


def test_comparison_with_a_sample():
    rng = np.random.default_rng(6)
    trees, _ = toy(rng, *two_components(rng, 15), 2000, 0.5)
    by = weighting(trees)
    p, splits = topology_estimates(trees, by).probabilities, weighted_answer(trees, by).frequencies()
    expected = split_frequencies(trees.children, p)
    np.testing.assert_array_equal(splits.bits, expected.bits)
    np.testing.assert_allclose(splits.frequencies, expected.frequencies)
    own = compare_weighted(splits, trees.children, p, sample_of(trees.children, p))
    assert own.as_dict() == pytest.approx({"asdsf_weighted": 0, "total_variation_weighted": 0}, abs=1e-12)
    alone = sample_of(trees.children[:1], np.ones(1))
    assert compare_weighted(splits, trees.children, p, alone).total_variation == pytest.approx(1 - p[0])


def test_total_variation_by_hand():
    assert total_variation(np.array([0.5, 0.5]), np.array([0.25, 0.25])) == pytest.approx(0.5)
    assert total_variation(np.array([0.9, 0.1]), np.array([0.1, 0.9])) == pytest.approx(0.8)


# Against exact posteriors


def weights_under(target):
    return lambda d: log_importance_weights(target.log_likelihood(d), target.log_prior(d), d.log_q)


@pytest.fixture(scope="module")
def five_taxa():
    """A rough fit of five taxa, its draws, and the exact log p(Y, tau)."""
    patterns = small_data(5, 7)
    topologies = enumerate_topologies(5)
    mixture = PhyloMixture(build_support(topologies), 2, generator=torch.Generator().manual_seed(1))
    target = Posterior(patterns)
    problem = MixtureProblem("phylo", target, mixture, estimator=Estimator.S2A, sampled=1, particles=10)
    Trainer(problem, TrainingConfig(iterations=150, seed=2, threads=1)).run()
    generator = torch.Generator().manual_seed(3)
    draw = draw_components(Estimator.A2A, 2, None, generator)
    trees = draw_weighted_trees(mixture, weights_under(target), draw, 40_001, generator)

    def exact(rate=10.0):
        each = [jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights, rate=rate) for c in topologies]
        return np.array(each) - math.log(len(topologies))

    return topologies, trees, exact


@EITHER
def test_weighted_answers_are_exact_within_their_errors(five_taxa, strata):
    topologies, trees, exact = five_taxa
    log_joint = exact()
    log_z = np.logaddexp.reduce(log_joint)
    posterior = np.exp(log_joint - log_z)
    assert len(trees) == 40_002
    assert trees.smoothed.reliable
    by = weighting(trees, strata)

    found = evidence(by)
    assert found.value == pytest.approx(log_z, abs=4 * found.error)
    assert found.error < 0.03

    estimates = topology_estimates(trees, by)
    _, index = unique_topologies(np.concatenate([topologies, trees.children]))
    number = index[len(topologies) :]
    assert sorted(number) == list(range(15))
    assert (np.abs(estimates.probabilities - posterior[number]) < 4 * estimates.errors).all()
    assert estimates.errors.max() < 0.01

    splits = split_estimates(trees, by)
    expected = split_frequencies(topologies, posterior)
    of_split = {bits.tobytes(): s for s, bits in enumerate(trees.split_bits)}
    rows = [of_split[bits.tobytes()] for bits in expected.bits]
    assert (np.abs(splits.frequencies[rows] - expected.frequencies) < 4 * splits.frequency_errors[rows]).all()
    assert splits.frequency_errors.max() < 0.01
    # Mean tree length is E/rate - d log p(Y) / d rate: all E lengths are exponential of the same rate.
    slope = (np.logaddexp.reduce(exact(10.01)) - np.logaddexp.reduce(exact(9.99))) / 0.02
    length = float(splits.frequencies @ splits.lengths)
    assert length == pytest.approx(7 / 10 - slope, abs=4 * float(np.sqrt((splits.length_errors**2).sum())))
    assert splits.length_errors.max() < 0.01


def test_edges_keep_their_lengths():
    """Canonical trees with the lengths put in their order have the likelihoods of the trees as they were drawn."""
    patterns, support = small_data(5, 7), build_support(enumerate_topologies(5))
    mixture = PhyloMixture(support, 3, generator=torch.Generator().manual_seed(4))
    target = Posterior(patterns)
    draw = draw_components(Estimator.A2A, 3, None, torch.Generator())
    trees = draw_weighted_trees(mixture, weights_under(target), draw, 300, torch.Generator().manual_seed(5))
    with torch.no_grad():
        drawn = mixture.sample(draw, 100, torch.Generator().manual_seed(5))
    canonical = log_likelihoods(np.ascontiguousarray(trees.children[trees.topology]), trees.lengths, target.patterns)
    np.testing.assert_allclose(canonical, target.log_likelihood(drawn).numpy().ravel(), rtol=1e-12)
    np.testing.assert_array_equal(trees.component, np.repeat([0, 1, 2], 100))
    own = clade_bitsets(trees.children)[:, 1:]
    np.testing.assert_array_equal(trees.split_bits[trees.splits], own)

"""The answer that a fit ends with: against exact posteriors, its files, its verdict, and a run that is loaded again."""

import csv
import json
import math
from types import SimpleNamespace

import dendropy
import numpy as np
import pytest
import torch
import yaml
from reference import jukes_cantor
from test_fit_exact import small_alignment

import vbpi_mix
from vbpi_mix.pareto import effective_sample_size
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.importance import count_draws, importance_pass
from vbpi_mix.phylo.sbn.splits import split_frequencies, unite
from vbpi_mix.phylo.trees.sample import TreeSample, read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, unique_topologies

ALIGNMENT = small_alignment(5, 7)
TOPOLOGIES = enumerate_topologies(5)
TRAINED = {"iterations": 600, "init": "flat", "learning_rate": 0.003, "answer_draws": 40_001}


def every_topology():
    weights = np.full(15, 1 / 15)
    return TreeSample(ALIGNMENT.taxa, TOPOLOGIES, weights, np.arange(15), weights, None, ())


def fit(place, alignment=ALIGNMENT, **choices):
    return vbpi_mix.fit(
        alignment, every_topology(), components=2, sampled=1, seed=2, threads=1, out=place, force=True, **choices
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("answer") / "five.vbpi", **TRAINED)


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory):
    """Many sites and nothing learned: branch lengths at random, networks flat."""
    place = tmp_path_factory.mktemp("answer") / "cold.vbpi"
    return fit(place, small_alignment(5, 1000), iterations=1, init="flat", learning_rate=1e-12)


@pytest.fixture(scope="module")
def posterior():
    """Exact log p(Y), and probabilities of the 15 topologies."""
    patterns = compress(ALIGNMENT)
    log_joint = np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights) for c in TOPOLOGIES])
    log_joint -= math.log(15)
    log_z = np.logaddexp.reduce(log_joint)
    return log_z, np.exp(log_joint - log_z)


def expected_of(children, posterior):
    _, number = unique_topologies(np.concatenate([TOPOLOGIES, children]))
    return posterior[number[15:]]


def split_rows(run):
    with (run.path / "splits.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_answer_is_the_exact_posterior_within_its_errors(fitted, posterior):
    log_z, p = posterior
    answer = fitted.answer()
    assert (answer.source, answer.draws) == ("weighted", 40_002)
    estimates, expected = answer.topologies, expected_of(answer.children, p)
    assert expected.size == 15
    assert (np.abs(estimates.probabilities - expected) < 4 * estimates.errors).all()
    assert np.abs(estimates.probabilities - expected).max() < 0.01
    assert [each.probability for each in fitted.topologies()] == estimates.probabilities.tolist()
    (evidence,) = fitted.summary["marginal_log_likelihood"]
    assert (evidence["form"], evidence["draws"]) == ("weighted", 40_002)
    assert evidence["mean"] == pytest.approx(log_z, abs=4 * evidence["error"])
    exact = split_frequencies(TOPOLOGIES, p)
    found = unite(exact, answer.frequencies())
    by_members = {each.members: each for each in fitted.split_frequencies()}
    assert len(by_members) == 10
    for members, expected in zip(found.members(ALIGNMENT.taxa), found.frequencies[0], strict=True):
        assert by_members[members].frequency == pytest.approx(expected, abs=4 * by_members[members].error)


def test_the_fits_own_answer_is_exact_under_the_mixture(fitted):
    own = fitted.answer(weighted=False)
    q = np.exp(fitted.mixture.log_topology_probability(fitted.mixture.support.encode(TOPOLOGIES))).mean(axis=1)
    np.testing.assert_allclose(own.topologies.probabilities, expected_of(own.children, q))
    assert (own.topologies.errors == 0).all()
    table = unite(split_frequencies(TOPOLOGIES, q), own.frequencies())
    np.testing.assert_allclose(*table.frequencies, rtol=1e-12)
    # Mean lengths of the 10,000 draws are those of as many others, within their errors.
    others = {s.members: s for s in fitted.split_frequencies(weighted=False)}
    draws = [dendropy.Tree.get(data=tree.newick, schema="newick") for tree in fitted.sample_trees(2000, seed=9)]
    for members in list(others)[:2]:
        lengths = [length for tree in draws for length in length_of(tree, members)]
        error = np.std(lengths) / math.sqrt(len(lengths))
        assert others[members].length == pytest.approx(np.mean(lengths), abs=4 * math.hypot(error, others[members].length_error))


def length_of(tree, members):
    """The length of the edge with that split, in a list; empty if the tree has not got it."""
    taxa = {leaf.taxon.label for leaf in tree.leaf_node_iter()}
    for node in tree.preorder_node_iter():
        below = {leaf.taxon.label for leaf in node.leaf_iter()}
        if below in (set(members), taxa - set(members)):
            return [node.edge.length]
    return []


def test_files_hold_the_answer(fitted):
    answer, taxa = fitted.answer(), ALIGNMENT.taxa
    listed = read_tree_sample([fitted.path / "topologies.trprobs"], taxa)
    np.testing.assert_allclose(np.sort(listed.weights), np.sort(answer.topologies.probabilities))
    assert "weighted by importance" in (fitted.path / "topologies.trprobs").read_text().splitlines()[1]
    assert (fitted.path / "consensus.nwk").read_text() == f"{fitted.consensus().newick()}\n"
    rows = split_rows(fitted)
    assert len(rows) == 10 + 5
    assert {row["source"] for row in rows} == {"weighted"}
    for row, split in zip(rows, fitted.split_frequencies(), strict=False):
        assert tuple(row["members"].split(" | ")) == split.members
        numbers = [float(row[name]) for name in ("probability", "error", "length", "length_error")]
        expected = [split.frequency, split.error, split.length, split.length_error]
        assert numbers == pytest.approx(expected, rel=5e-3, abs=1e-12)
    assert [row["members"] for row in rows[10:]] == [*taxa[1:], taxa[0]]
    assert all(float(row["probability"]) == 1 for row in rows[10:])


def test_summary_says_what_the_weights_are_worth(fitted):
    summary, trees = fitted.summary, fitted.importance.trees
    assert (summary["verdict"], summary["answer"], summary["reasons"]) == ("trust", "weighted", [])
    assert summary["answer_draws"] == 40_002
    assert summary["effective_sample_size"] == pytest.approx(effective_sample_size(trees.smoothed.log_weights))
    assert summary["pareto_k"] == trees.smoothed.pareto_k
    shares = np.exp(trees.smoothed.log_weights - trees.smoothed.log_weights.max())
    shares /= shares.sum()
    entropy = -math.fsum(share * math.log(share) for share in shares.tolist() if share > 0)
    assert summary["normalised_perplexity"] == pytest.approx(math.exp(entropy) / 40_002, rel=1e-9)
    config = yaml.safe_load((fitted.path / "config.yaml").read_text())
    assert config["answer"] == {"draws": 40_001, "outgroup": None}


def test_a_run_answers_from_its_folder(fitted):
    again = vbpi_mix.load(fitted.path)
    assert again.topologies() == fitted.topologies()
    assert again.split_frequencies() == fitted.split_frequencies()
    assert again.consensus() == fitted.consensus()


def test_draws_are_those_of_the_seed_and_not_those_of_training(fitted, tmp_path):
    other = fit(tmp_path / "again.vbpi", **TRAINED)
    for name in ("consensus.nwk", "splits.csv", "topologies.trprobs"):
        assert (other.path / name).read_text() == (fitted.path / name).read_text(), name


def test_an_evaluation_stands_beside_the_answer(tmp_path):
    run = fit(tmp_path / "run.vbpi", iterations=100, answer_draws=2000)
    before = run.summary
    run.evaluate(importance_samples=50, repeats=2, threads=1)
    after = run.summary
    assert [each["form"] for each in after["marginal_log_likelihood"]] == ["published", "pooled", "weighted"]
    assert after["marginal_log_likelihood"][2:] == before["marginal_log_likelihood"]
    assert set(after["evaluation"]) == {"effective_sample_size", "normalised_perplexity", "pareto_k", "seconds"}
    for name in ("effective_sample_size", "pareto_k", "verdict"):
        assert after[name] == before[name]
    more = run.resume(iterations=200, threads=1)
    assert more.summary.keys() == before.keys()
    assert [each["form"] for each in more.summary["marginal_log_likelihood"]] == ["weighted"]
    assert f"{more.consensus().newick()}\n" == (more.path / "consensus.nwk").read_text()


def test_a_hopeless_fit_is_not_to_be_trusted_and_gives_its_own(hopeless):
    summary = hopeless.summary
    assert (summary["verdict"], summary["answer"]) == ("do not trust", "fit")
    assert summary["pareto_k"] > 0.7
    assert "whose own answer is given" in summary["reasons"][0]
    for run in (hopeless, vbpi_mix.load(hopeless.path)):
        assert run.answer().source == "fit"
        assert run.topologies() == run.topologies(weighted=False)
    assert {row["source"] for row in split_rows(hopeless)} == {"fit"}
    assert "not weighted" in (hopeless.path / "topologies.trprobs").read_text().splitlines()[1]
    assert json.loads((hopeless.path / "summary.json").read_text())["marginal_log_likelihood"][0]["form"] == "weighted"


def test_the_verdict_knows_of_the_support_and_of_the_sample(fitted):
    def verdict(summary, made):
        return importance_pass(fitted.problem, 20_000, 2, summary, {"trees": {"made": made}}).verdict.as_dict()

    assert verdict({"mass_missing": None}, {"agreed": True, "rising": False})["verdict"] == "trust"
    found = verdict({"mass_missing": 0.02}, {"agreed": True})
    assert found["verdict"] == "trust with care"
    assert "2.0% of the posterior" in found["reasons"][0]
    assert "before they agreed" in verdict({}, {"agreed": False})["reasons"][0]
    assert verdict({}, {"agreed": True, "rising": True})["verdict"] == "do not trust"


def test_weights_that_are_all_zero_are_reported(fitted):
    def nothing(draws):
        return torch.full(draws.log_lengths.shape[:2], -math.inf, dtype=torch.float64)

    target = SimpleNamespace(log_likelihood=nothing, log_prior=fitted.target.log_prior)
    problem = SimpleNamespace(trees=fitted.mixture, target=target, posterior=fitted.target)
    found = importance_pass(problem, 1000, 1, {}, {})
    assert not found.usable
    entries = found.entries()
    assert entries["marginal_log_likelihood"] == [{"form": "weighted", "mean": None, "error": None, "draws": 1000}]
    assert (entries["verdict"], entries["answer"], entries["pareto_k"]) == ("do not trust", "fit", None)


def test_a_model_with_parameters_has_more_draws_if_training_had():
    assert count_draws(270_000, 48_000, parameters=True) == 30_000
    assert count_draws(270_000, 400, parameters=True) == 10_000
    assert count_draws(26_000, 480_000, parameters=True) == 100_000


@pytest.mark.parametrize(
    ("taxa", "patterns", "trained", "draws"),
    [
        (27, 934, 480_000, 100_000),  # DS1
        (8, 320, 10**6, 100_000),
        (54, 1868, 480_000, 25_000),
        (27, 934, 48_000, 48_000),
        (27, 934, 400, 10_000),
        (500, 5000, 10**6, 10_000),
    ],
)
def test_how_many_draws(taxa, patterns, trained, draws):
    assert count_draws(taxa * patterns, trained) == pytest.approx(draws, rel=0.05)


def test_a_comparison_has_both_figures(fitted, posterior, tmp_path):
    from vbpi_mix.phylo.trees.nexus import trprobs

    (tmp_path / "exact.trprobs").write_text(trprobs(TOPOLOGIES, posterior[1], ALIGNMENT.taxa, "exact"))
    found = vbpi_mix.compare(fitted, tmp_path / "exact.trprobs", draws=1000).as_dict()
    assert found["weighted_reliable"]
    assert found["asdsf_weighted"] < min(0.005, found["asdsf"])
    assert found["total_variation_weighted"] < 0.02

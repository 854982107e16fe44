"""Fits under other priors than the default: what they learn, what they keep, and how they are taken up again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from small_posteriors import exact_log_marginals, shares, small_data

import vbpi_mix
from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import GammaDirichletLengths
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sbn.coverage import in_support
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick
from vbpi_mix.training.reports import Note

QUICK = {"iterations": 100, "threads": 1, "answer_draws": 20_000}


def expanded(patterns):
    """The alignment of patterns with whole weights."""
    states = np.repeat(patterns.states, patterns.weights.astype(int), axis=1)
    return Alignment(tuple(f"t{k}" for k in range(states.shape[0])), states)


@pytest.fixture(scope="module")
def five():
    """Five taxa: an alignment, all topologies, and their exact log marginal likelihoods."""
    patterns, _ = small_data(5, 7)
    return expanded(patterns), enumerate_topologies(5), exact_log_marginals(patterns)


def evidence_of(run):
    return next(each for each in run.summary["marginal_log_likelihood"] if each["form"] == "weighted")


@pytest.mark.parametrize(("constraint", "groups"), [("(t1,t3)", [{1, 3}]), ("t0,t2;t1,t3", [{0, 2}, {1, 3}])])
def test_a_constrained_posterior_is_exact(five, constraint, groups):
    alignment, topologies, log_marginals = five
    prior = TopologyPrior.of(5, [frozenset(group) for group in groups])
    allowed = prior.allows(topologies)
    run = vbpi_mix.fit(alignment, trees_seconds=2.0, constraint=constraint, **QUICK)
    found = evidence_of(run)
    exact = np.logaddexp.reduce(log_marginals[allowed]) - math.log(allowed.sum())
    assert found["mean"] == pytest.approx(exact, abs=4 * found["error"])
    assert found["error"] < 0.05
    assert not in_support(run.problem.support.encode(topologies[~allowed])).any()
    answer = run.answer()
    number = {each.tobytes(): k for k, each in enumerate(topologies[allowed])}
    exact_shares = shares(log_marginals[allowed])
    for each, probability, error in zip(answer.children, answer.topologies.probabilities, answer.topologies.errors, strict=True):
        assert probability == pytest.approx(exact_shares[number[each.tobytes()]], abs=max(4 * error, 1e-9))


def test_what_a_fit_to_a_single_tree_can_find_is_said(five):
    alignment, topologies, _ = five
    one = np.ones(1)
    sample = TreeSample(alignment.taxa, topologies[[7]], one, np.zeros(1, dtype=int), one, None, ())
    for choices, words in (({"support": "fixed"}, "no other topology"), ({}, "no topologies but those near it")):
        notes = []
        run = vbpi_mix.fit(alignment, sample, progress=notes.append, **QUICK, **choices)
        (text,) = [note.text for note in notes if isinstance(note, Note) and "single tree" in note.text]
        assert text == f"the tree sample is a single tree: the fit can find {words}"
        assert (run.answer().children.shape[0] == 1) == bool(choices)


def test_a_fixed_topology_learns_lengths_only(five):
    alignment, topologies, log_marginals = five
    tree, notes = to_newick(topologies[7], alignment.taxa), []
    run = vbpi_mix.fit(alignment, fix_topology=tree, progress=notes.append, **QUICK)
    np.testing.assert_array_equal(run.answer().children, topologies[[7]])
    found = evidence_of(run)
    assert found["mean"] == pytest.approx(log_marginals[7], abs=4 * found["error"])
    texts = [note.text for note in notes if isinstance(note, Note)]
    assert "priors: the topology is fixed" in texts
    assert not any("single tree" in text for text in texts)
    with pytest.raises(ConfigError, match="no sample is needed"):
        vbpi_mix.fit(alignment, fix_topology=tree, trees_from="mrbayes", **QUICK)


def test_compound_lengths_have_their_evidence(five):
    """Against an average of the likelihood over draws from the prior, of each topology."""
    alignment, topologies, _ = five
    prior = GammaDirichletLengths(2.0, 3.0, 1.5, 0.5)
    patterns, _ = small_data(5, 7)
    target, rng = Posterior(patterns, branch_prior=prior), np.random.default_rng(5)
    values = []
    for children in topologies:
        lengths = prior.draw((40_000, 7), rng)
        values.append(log_likelihoods(np.repeat(children[None], len(lengths), 0), lengths, target.patterns))
    weights = np.exp(np.array(values))
    each, error = weights.mean(1), weights.std(1) / math.sqrt(weights.shape[1])
    run = vbpi_mix.fit(alignment, trees_seconds=2.0, prior_lengths="gammadir:2,3,1.5,0.5", **QUICK)
    found = evidence_of(run)
    relative = math.sqrt((error**2).sum()) / each.sum()
    assert found["mean"] == pytest.approx(math.log(each.mean()), abs=4 * math.hypot(found["error"], relative))
    assert found["error"] < 0.05


def test_a_run_keeps_its_priors(tmp_path):
    choices = {"constraint": "(t02,t03);(t06,t07)", "prior_lengths": "gammadir:1,0.1,1,1"}
    run = vbpi_mix.fit(
        "examples/eight.nex", "examples/eight.nwk", iterations=40, threads=1, out=tmp_path / "run", **choices
    )
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["priors"] == {
        "lengths": "gammadir:1,0.1,1,1", "constraint": "(t02,t03);(t06,t07)", "fix_topology": None
    }  # fmt: skip
    loaded = vbpi_mix.load(tmp_path / "run")
    assert loaded.target.branch_prior == GammaDirichletLengths()
    assert loaded.target.topology_prior.splits == (frozenset({1, 2}), frozenset({5, 6}))
    assert loaded.target.constant == run.target.constant
    first, second = (each.evaluate(100, 2, seed=3, threads=1).pooled.mean for each in (run, loaded))
    assert first == second
    resumed = loaded.resume(iterations=60, threads=1)
    assert resumed.target.topology_prior == run.target.topology_prior
    assert resumed.summary["iterations"] == 60


def test_the_default_priors_are_recorded_too(tmp_path):
    run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1, out=tmp_path / "run")
    assert run.config["priors"] == {"lengths": "exp:10", "constraint": "", "fix_topology": None}
    assert vbpi_mix.load(tmp_path / "run").target.topology_prior.free


def test_given_trees_that_break_a_constraint_are_dropped(five, tmp_path):
    alignment, topologies, _ = five
    file, notes = tmp_path / "all.nwk", []
    file.write_text("".join(f"{to_newick(each, alignment.taxa)}\n" for each in topologies))
    run = vbpi_mix.fit(
        alignment, file, constraint="(t1,t3)", widen="nni", support="fixed", progress=notes.append, **QUICK
    )
    texts = [note.text for note in notes if isinstance(note, Note)]
    assert "12 of 15 trees dropped, which break a constraint" in texts
    assert in_support(run.problem.support.encode(topologies)).sum() == 3
    file.write_text("(t0,t4,(t3,(t1,t2)));\n" * 15)
    with pytest.raises(TreeError, match="none of the 15 trees"):
        vbpi_mix.fit(alignment, file, constraint="(t1,t3)", **QUICK)

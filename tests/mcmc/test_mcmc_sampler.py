"""The sampler as a whole: what a seed fixes, how it ends, what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from chain_helpers import random_patterns, target_of
from reference import jukes_cantor, subsplit_networks

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.sampling import sampler
from vbpi_mix.phylo.sampling.chains import Chains, Kept
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import canonicalise

TAXA = tuple("abcdefgh")


@pytest.fixture(scope="module")
def target():
    return target_of(random_patterns(8, 20, np.random.default_rng(1)))


def sample(target, progress=None, **options):
    return sample_trees(target, TAXA, McmcOptions(**{"seed": 3, "keep": 800, "steps": 10, **options}), progress)


def assert_same(first, second):
    assert first.generations == second.generations
    for name in ("children", "weights", "tree_topology", "tree_weights", "lengths"):
        np.testing.assert_array_equal(getattr(first.sample, name), getattr(second.sample, name))


def test_a_seed_gives_the_same_trees_on_any_number_of_threads(target):
    first = sample(target, generations=20_000, runs=3, threads=1)
    assert_same(first, sample(target, generations=20_000, runs=3, threads=2))
    other = sample(target, generations=20_000, runs=3, seed=4)
    assert not np.array_equal(first.sample.tree_weights, other.sample.tree_weights)


def test_setting_windows_leaves_seconds_for_trees(target, monkeypatch):
    rounds, advance = [], Chains.advance

    def counted(self, count, kept, pool, keep=True):
        rounds.append(keep)
        return advance(self, count, kept, pool, keep)

    monkeypatch.setattr(Chains, "advance", counted)
    monkeypatch.setattr(sampler, "TUNING_WALKS", 10**7)
    result = sample(target, seconds=0.4, asdsf=None)
    assert result.sample.tree_topology.size >= 8
    assert 0 < rounds.count(False) < 10**6
    assert rounds[-1]


def test_a_budget_of_seconds_can_be_repeated_by_its_generations(target):
    first = sample(target, seconds=0.4, asdsf=None)
    assert first.seconds >= 0.4
    assert not first.agreed
    assert_same(first, sample(target, generations=first.generations))


def test_the_sample_is_a_tree_sample(target):
    result = sample(target, generations=30_000)
    trees = result.sample
    assert trees.taxa == TAXA
    canonical, _ = canonicalise(trees.children)
    np.testing.assert_array_equal(canonical, trees.children)
    assert trees.weights.sum() == pytest.approx(1)
    assert (np.diff(trees.weights) <= 0).all()
    mass = np.bincount(trees.tree_topology, trees.tree_weights, len(trees.weights))
    np.testing.assert_allclose(mass, trees.weights)
    assert trees.lengths.shape == (len(trees.tree_topology), 13)
    assert (trees.lengths > 0).all()
    assert set(result.acceptance) == {"lengths", "arrangements", "regrafts", "exchanges"}
    assert result.acceptance["lengths"] == pytest.approx(0.4, abs=0.1)
    assert result.asdsf == pytest.approx(slow_asdsf(trees), rel=1e-9)
    assert result.agreement == pytest.approx(slow_agreement(trees), rel=1e-9)


def of_runs(trees):
    """Topologies and weights of each of two runs, whose trees come one run after the other."""
    half = trees.tree_topology.size // 2
    for run in (slice(None, half), slice(half, None)):
        weights = trees.tree_weights[run]
        yield trees.children[trees.tree_topology[run]], weights / weights.sum()


def slow_asdsf(trees):
    """Of splits that are in a tenth of a run: the mean of the standard deviations of their frequencies, which divide by one."""
    frequencies = []
    of_topology = {tree.tobytes(): subsplit_networks.clades_below(tree)[8:-1] for tree in trees.children}
    for children, weights in of_runs(trees):
        found = {}
        for tree, weight in zip(children, weights, strict=True):
            for clade in of_topology[tree.tobytes()]:
                found[clade] = found.get(clade, 0.0) + weight
        frequencies.append(found)
    one, two = frequencies
    counted = [clade for clade in one.keys() | two.keys() if max(one.get(clade, 0), two.get(clade, 0)) >= 0.1]
    return sum(abs(one.get(clade, 0) - two.get(clade, 0)) / 2**0.5 for clade in counted) / len(counted)


def slow_agreement(trees):
    """The share of each run whose every rootsplit and PCSP is met in the other, on average."""
    (one, weights_of_one), (two, weights_of_two) = of_runs(trees)
    of_topology = {tree.tobytes(): elements(tree) for tree in trees.children}
    parts = [[of_topology[tree.tobytes()] for tree in children] for children in (one, two)]
    known = [set().union(*of_run) for of_run in parts]
    shares = [
        sum(w for w, part in zip(weights, of_run, strict=True) if part <= other)
        for of_run, weights, other in ((parts[0], weights_of_one, known[1]), (parts[1], weights_of_two, known[0]))
    ]
    return sum(shares) / 2


def elements(tree):
    found = set()
    for rootsplit, pcsps in subsplit_networks.rootings(tree):
        found |= {rootsplit, *pcsps}
    return found


def test_kept_trees_belong_to_their_likelihoods_and_thin_out(target):
    chains = Chains(target, 2, 2, 0.2, 0.1, 3, seed=1)
    kept = Kept(chains, 16)

    class Pool:
        map = staticmethod(map)

    for _ in range(99):
        kept.make_room()
        chains.advance(kept.every, kept, Pool())
        assert kept.count <= 16
    assert kept.every == 2 ** math.ceil(math.log2(chains.generations / 3 / 16))
    for run in range(2):
        children, lengths = kept.trees.children[run, 1, : kept.count], kept.trees.lengths[run, 1, : kept.count]
        values = log_likelihoods(children, lengths, target.patterns)
        np.testing.assert_allclose(values, kept.trees.log_likelihood[run, 1, : kept.count], rtol=1e-11)


def test_a_tiny_run_keeps_trees_with_their_likelihoods():
    """Every kernel of the sampler once, small enough to run as plain Python, against a sum over internal states."""
    patterns = random_patterns(5, 6, np.random.default_rng(4))
    chains = Chains(target_of(patterns), 2, 2, 0.2, 0.5, 2, seed=1)
    kept = Kept(chains, 16)

    class Pool:
        map = staticmethod(map)

    chains.advance(6, kept, Pool())
    assert kept.count == 6
    assert chains.state.exchanges[:, 0].tolist() == [6, 6]
    assert (chains.state.counters.sum(axis=(0, 1))[[0, 2, 4]] > 0).all()
    topologies = set()
    for run, level, k in np.ndindex(2, 2, 6):
        children, lengths = kept.trees.children[run, level, k], kept.trees.lengths[run, level, k]
        expected = jukes_cantor.log_likelihood_by_summation(children, lengths, patterns.states, patterns.weights)
        assert kept.trees.log_likelihood[run, level, k] == pytest.approx(expected, abs=1e-9)
        topologies.add(children.tobytes())
    assert len(topologies) > 4


def test_it_ends_when_the_runs_agree(target):
    result = sample(target, seconds=60, asdsf=0.05, agreement=0.5, keep=4000)
    assert result.agreed
    assert result.seconds < 60
    assert result.asdsf <= 0.05


def test_for_a_fit_it_ends_when_nothing_new_is_found(target):
    result = sample(target, seconds=60, until="coverage", new_mass=0.5, asdsf=1e-9, keep=4000)
    assert result.agreed
    assert not result.rising
    assert result.seconds < 60
    assert result.convergence.new_mass <= 0.5
    assert result.asdsf > 1e-9
    again = {"generations": result.generations, "keep": 4000}
    assert_same(result, sample(target, until="coverage", **again))
    cut = sample(target, **again).sample.tree_weights.size
    assert cut < result.sample.tree_weights.size <= cut / 0.74


def test_runs_that_climb_do_not_agree(target, monkeypatch):
    climbing = sampler.Convergence(asdsf=0.0, agreement=1.0, weight_error=0.0, new_mass=0.0, rising=True)
    monkeypatch.setattr(sampler, "_assess", lambda kept, target: climbing)
    for until in sampler.PURPOSES:
        result = sample(target, seconds=0.3, until=until)
        assert result.rising
        assert not result.agreed
        assert result.seconds >= 0.3


def test_little_new_mass_ends_a_short_run_only_if_its_weights_are_known():
    """Chains that have not left where they were find nothing new, whatever else there is."""
    unknown = sampler.Convergence(asdsf=0.1, agreement=0.98, weight_error=0.1, new_mass=0.001)
    options = sampler.McmcOptions(until="coverage")
    assert not sampler._agrees(unknown, options, 20_000)
    assert sampler._agrees(unknown, options, 50_000)
    assert sampler._agrees(replace(unknown, weight_error=0.05), options, 20_000)
    assert not sampler._agrees(replace(unknown, new_mass=0.003), options, 50_000)


def test_weights_that_are_not_known_do_not_agree(target):
    assert not sample(target, generations=20_000, asdsf=0.5, agreement=0.1, weight_error=1e-6).agreed
    assert sample(target, generations=20_000, asdsf=0.5, agreement=0.1, weight_error=0.5).agreed


def test_a_single_run_has_nothing_to_agree_with(target):
    result = sample(target, generations=5_000, runs=1, temperatures=1)
    assert math.isnan(result.asdsf)
    assert math.isnan(result.agreement)
    assert not result.agreed


def test_progress_is_reported_to_the_end(target):
    reports = []
    result = sample(target, reports.append, generations=10_000)
    assert [report.finished for report in reports[-2:]] == [False, True]
    assert reports[-1].generations == result.generations
    assert reports[0].generations == 0
    assert all(0 < report.share_done <= 1 for report in reports[1:])
    assert reports[-1].asdsf == result.asdsf


def test_an_interruption_ends_it(target):
    def interrupt(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(target, interrupt, seconds=60)


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": None},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"generations": 0},
        {"asdsf": 0.0},
        {"until": "dawn"},
        {"weight_error": 0.0},
        {"agreement": 1.5},
        {"new_mass": 0.0},
        {"runs": 0},
        {"temperatures": 0},
        {"steps": 0},
        {"keep": 3},
        {"heating": -1.0},
        {"regraft_share": 1.5},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        McmcOptions(**options)

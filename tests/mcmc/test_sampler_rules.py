"""The sampler's rules one by one, on numbers that are written down: when runs agree, what is burn-in, what taxa change."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from chain_helpers import missing_patterns, target_of

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.sampling import sampler
from vbpi_mix.phylo.sampling.chains import Kept
from vbpi_mix.phylo.sampling.convergence import Convergence
from vbpi_mix.phylo.sampling.sampler import McmcOptions
from vbpi_mix.phylo.trees.topology import enumerate_topologies

WELL = Convergence(asdsf=0.01, agreement=0.98, weight_error=0.02, new_mass=0.002)


def test_runs_agree_at_the_least_that_is_asked_for_and_not_below():
    options = McmcOptions()
    assert sampler._agrees(WELL, options, 1)
    for worse in ({"asdsf": 0.011}, {"agreement": 0.979}, {"weight_error": 0.021}, {"rising": True}, {"asdsf": float("nan")}):
        assert not sampler._agrees(replace(WELL, **worse), options, 10**6), worse
    assert sampler._agrees(replace(WELL, new_mass=0.9), options, 1)
    assert not sampler._agrees(WELL, McmcOptions(asdsf=None), 10**6)


def test_for_coverage_nothing_new_is_enough_once_weights_are_known_or_time_has_passed():
    options = McmcOptions(until="coverage")
    unknown = replace(WELL, asdsf=1.0, agreement=0.0, weight_error=0.07)
    assert sampler._agrees(unknown, options, 1)
    assert not sampler._agrees(replace(unknown, weight_error=0.071), options, 49_999)
    assert sampler._agrees(replace(unknown, weight_error=0.071), options, 50_000)
    assert not sampler._agrees(replace(unknown, new_mass=0.0021), options, 50_000)
    assert not sampler._agrees(replace(unknown, rising=True), options, 50_000)


def test_what_is_usual():
    usual = McmcOptions()
    assert (usual.seconds, usual.generations, usual.until) == (60.0, None, "weights")
    assert (usual.runs, usual.steps, usual.keep) == (2, 25, 30_000)
    assert (usual.asdsf, usual.agreement, usual.weight_error, usual.new_mass) == (0.01, 0.98, 0.02, 0.002)


@pytest.mark.parametrize(
    ("edge", "beyond"),
    [
        ({"generations": 1}, {"generations": 0}),
        ({"asdsf": 0.999}, {"asdsf": 1.0}),
        ({"agreement": 1.0}, {"agreement": 1.01}),
        ({"agreement": 0.0}, {"agreement": -0.01}),
        ({"new_mass": 0.999}, {"new_mass": 1.0}),
        ({"temperatures": 3, "keep": 48}, {"temperatures": 3, "keep": 47}),
        ({"keep": 80}, {"keep": 79}),
        ({"runs": 1}, {"runs": 0}),
        ({"steps": 1}, {"steps": 0}),
        ({"heating": 0.0}, {"heating": -0.01}),
        ({"regraft_share": 1.0}, {"regraft_share": 1.01}),
        ({"local_share": 1.0}, {"local_share": 1.01}),
        ({"local_share": 0.0}, {"local_share": -0.01}),
    ],
)
def test_options_are_taken_up_to_their_edges(edge, beyond):
    McmcOptions(**edge)
    with pytest.raises(ConfigError):
        McmcOptions(**beyond)


def test_checks_become_rarer_and_within_seconds_wait_five_times_as_long_as_they_took(monkeypatch):
    rounds = []
    monkeypatch.setattr(sampler, "_assess", lambda kept, target: rounds.append(kept.count * kept.every) or WELL)
    options = McmcOptions(generations=5000, steps=2, runs=1, temperatures=1)
    sampler.sample_trees(target_of(missing_patterns(5)), tuple("abcde"), options)
    tuned = -(-sampler.TUNING_WALKS * 14 // 2)
    assert rounds == [400, 561, 786, 1101, 1542, 2159, 2500 - tuned]
    assert sampler._next_check(10.0, 12.0, 60.0) == 22.0
    assert sampler._next_check(10.0, 12.0, np.inf) == 0.0


@pytest.mark.parametrize(("budget", "until"), [({"seconds": 50.0}, 1020.0), ({"seconds": 50.0, "generations": 10}, np.inf)])
def test_the_search_for_trees_to_start_from_has_two_fifths_of_the_seconds(monkeypatch, budget, until):
    deadlines = []

    def searched(target, runs, seed, pool, deadline):
        deadlines.append(deadline)
        raise KeyboardInterrupt

    monkeypatch.setattr(sampler, "climbed_trees", searched)
    monkeypatch.setattr(sampler.time, "perf_counter", lambda: 1000.0)
    reports = []
    with pytest.raises(KeyboardInterrupt):
        sampler.sample_trees(target_of(missing_patterns(5)), tuple("abcde"), McmcOptions(climb=True, **budget), reports.append)
    assert deadlines == [until]
    (first,) = reports
    assert (first.generations, first.seconds, first.share_done, first.finished) == (0, 0.0, 0.0, False)


@pytest.fixture
def kept():
    """Eleven trees of two runs at two temperatures, each of another length, topology and likelihood."""
    made = Kept.__new__(Kept)
    cells = np.arange(2 * 2 * 12).reshape(2, 2, 12)
    made.trees = SimpleNamespace(
        children=enumerate_topologies(6)[cells], lengths=np.repeat((cells + 1.0)[..., None] / 100, 9, axis=-1),
        log_likelihood=np.where(np.arange(12) < 2, -50.0, -10.0 - 0.25 * (cells % 3)),
    )  # fmt: skip
    made.beta, made.count, made.every = np.array([1.0, 0.5]), 11, 1
    return made


FLAT = SimpleNamespace(
    branch_prior=SimpleNamespace(log_density=lambda logs, lengths: logs.sum(axis=-1)), constant=0.0
)


def test_a_quarter_is_burn_in_and_for_coverage_less_if_the_chains_arrived_before(kept):
    assert sampler._first_entry(kept, FLAT, McmcOptions()) == 2
    # The prior is flat in lengths: from entry 2 on the likelihoods are about the median.
    assert sampler._first_entry(kept, FLAT, McmcOptions(until="coverage")) == 2
    kept.trees.log_likelihood[:, 0, :] = -10.0
    assert sampler._first_entry(kept, FLAT, McmcOptions(until="coverage")) == 0
    assert sampler._first_entry(kept, FLAT, McmcOptions()) == 2
    kept.trees.log_likelihood[1, 0, 0] = -20.0
    assert sampler._first_entry(kept, FLAT, McmcOptions(until="coverage")) == 1


def test_the_sample_has_the_trees_after_the_burn_in_by_weight(kept):
    """The warm chain's trees weigh likelihood^(1/2), and a chain as much as the effective number of its trees."""
    found = sampler._tree_sample(kept, 2, tuple("abcdef"), McmcOptions(seed=5))
    assert found.sources == ("mcmc seed 5",)
    expected = {}
    for run in range(2):
        of_run = {}
        for level, beta in enumerate((1.0, 0.5)):
            w = np.exp((1 - beta) * kept.trees.log_likelihood[run, level, 2:11])
            size = w.sum() ** 2 / (w**2).sum()
            for k, share in zip(range(2, 11), w / w.sum(), strict=True):
                of_run[kept.trees.children[run, level, k].tobytes()] = size * share
        total = sum(of_run.values())
        expected |= {tree: share / total / 2 for tree, share in of_run.items()}
    weights = {tree.tobytes(): w for tree, w in zip(found.children, found.weights, strict=True)}
    assert weights == pytest.approx(expected, rel=1e-12)
    assert found.weights.tolist() == sorted(found.weights, reverse=True)
    assert [found.children[k].tobytes() for k in found.tree_topology] == [
        kept.trees.children[run, level, k].tobytes() for run in range(2) for level in range(2) for k in range(2, 11)
    ]
    assert found.tree_weights.tolist() == pytest.approx(found.weights[found.tree_topology].tolist(), rel=1e-12)
    chains = [24 * run + 12 * level for run in range(2) for level in range(2)]
    assert found.lengths[:, 0].tolist() == [(chain + k + 1) / 100 for chain in chains for k in range(2, 11)]


def test_the_log_posterior_is_that_of_the_lengths_themselves(kept):
    prior = SimpleNamespace(log_density=lambda logs, lengths: -3.0 * lengths.sum(axis=-1) + logs.sum(axis=-1))
    found = sampler._log_posterior(kept, SimpleNamespace(branch_prior=prior, constant=0.5), 4)
    assert found.shape == (2, 7)
    for run, k in np.ndindex(2, 7):
        lengths = (24 * run + 4 + k + 1) / 100
        expected = kept.trees.log_likelihood[run, 0, 4 + k] - 27 * lengths + 0.5
        assert found[run, k] == pytest.approx(expected, rel=1e-12)


def test_a_prior_that_is_not_flat_in_lengths_counts_with_their_density(kept):
    """Gamma of shape 3 for each length: b^2 e^(-10 b), but for a constant; of logarithms it has one b more."""
    prior = SimpleNamespace(log_density=lambda logs, lengths: (3 * logs - 10 * lengths).sum(axis=-1))
    found = sampler._log_posterior(kept, SimpleNamespace(branch_prior=prior, constant=-1.5), 4)
    lengths = kept.trees.lengths[:, 0, 4:11]
    expected = kept.trees.log_likelihood[:, 0, 4:11] + np.log(lengths**2 * np.exp(-10 * lengths)).sum(axis=-1) - 1.5
    np.testing.assert_allclose(found, expected)


def test_windows_grow_with_acceptance_by_steps_that_shrink():
    """Of 5 taxa 40 walks of 14 steps are three rounds of 200, of which what was counted does not count later."""
    state = SimpleNamespace(window=np.array([1.5, 19.0, 0.002]), counters=np.zeros((1, 3, 6)), exchanges=np.full((1, 2), 5))
    rates, rounds = np.array([0.5, 0.9, 0.0]), []

    def advance(count, kept, pool, keep):
        assert (count, keep, state.counters.sum()) == (1, False, 0)
        state.counters += 1
        rounds.append(count)

    chains = SimpleNamespace(n_taxa=5, steps=200, state=state, advance=advance, length_acceptance=lambda: rates)
    sampler._tune(chains, None, None, np.inf)
    assert len(rounds) == 3
    grown = 1.5 * np.exp(2 * 0.1 * (1 + 1 / np.sqrt(2) + 1 / np.sqrt(3)))
    np.testing.assert_allclose(state.window, [grown, 20.0, 0.001])
    assert state.counters.sum() == state.exchanges.sum() == 0
    sampler._tune(chains, None, None, -np.inf)
    assert len(rounds) == 4


def test_what_ends_the_runs():
    by_time, by_number = McmcOptions(seconds=10.0), McmcOptions(generations=100, seconds=10.0)
    assert not sampler._is_over(10**6, 100.0, 7, by_time)
    assert [sampler._is_over(1, seconds, 8, by_time) for seconds in (9.9, 10.0)] == [False, True]
    assert [sampler._is_over(n, 100.0, 8, by_number) for n in (99, 100)] == [False, True]
    assert sampler._share_done(50, 100.0, by_number) == 0.5
    assert sampler._share_done(50, 2.5, by_time) == 0.25
    assert sampler._share_done(50, 2.5, replace(by_number, generations=200)) == 0.25


@pytest.mark.parametrize(
    ("taxa", "temperatures", "heating", "regraft", "local", "climb"),
    [
        (8, 5, 0.15, 0.03, 0.0, False),
        (64, 5, 0.15, 0.03, 0.0, False),
        (256, 2, 0.075, 0.2075, 0.2 / 0.2075, True),
        (100, 4, 0.12, 0.2192, 0.2 / 0.2192, True),
        (4096, 2, 0.15 / 8, 0.2 + 0.03 / 64, 0.2 / (0.2 + 0.03 / 64), True),
    ],
)
def test_what_depends_on_the_number_of_taxa(taxa, temperatures, heating, regraft, local, climb):
    found = McmcOptions().for_taxa(taxa)
    assert (found.temperatures, found.climb) == (temperatures, climb)
    assert [found.heating, found.regraft_share, found.local_share] == pytest.approx([heating, regraft, local], rel=1e-12)
    given = McmcOptions(temperatures=3, heating=0.5, regraft_share=0.4, climb=False).for_taxa(taxa)
    assert (given.temperatures, given.heating, given.regraft_share, given.local_share, given.climb) == (3, 0.5, 0.4, 0.0, False)
    assert given.for_taxa(taxa) == given


def test_there_is_room_for_the_trees_asked_for_within_the_memory_allowed():
    options = McmcOptions(runs=2, temperatures=4, keep=1_000)
    assert sampler._room(options, 50) == 250
    assert sampler._room(replace(options, keep=64), 50) == 16
    # 600 MB over two hundred runs of trees of 24 bytes a taxon, and 1.92 million nodes.
    assert sampler._room(replace(options, keep=10**9, runs=200), 64) == 1_953 // 4
    assert sampler._room(replace(options, keep=10**9), 1_000) == 1_920 // 4

"""A tree sample by Markov chain Monte Carlo: several independent runs on the target that fits use.

Each run holds chains of several temperatures (Geyer 1991; Altekar et al. 2004, "Parallel Metropolis coupled
Markov chain Monte Carlo for Bayesian phylogenetic inference"); the coldest samples the posterior, and trees
of the warmer ones count with the weight likelihood^(1 - beta), which makes them samples of the posterior too.
Runs start from independent random trees and are compared (convergence.py); with many taxa, where chains would be long
under way from there, from trees that were searched (climb.py). The moves, and why they keep the
target: kernels/moves.py; choices and measurements: docs/tree-samples.md.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sampling.chains import Chains, Kept, StartTrees
from vbpi_mix.phylo.sampling.climb import climbed_trees
from vbpi_mix.phylo.sampling.convergence import BATCHES, Convergence, arrival, assess
from vbpi_mix.phylo.sampling.memory import check_chains
from vbpi_mix.phylo.sampling.saved import Reached, SavedSampling, digest_of
from vbpi_mix.phylo.sampling.shared_chains import SharedChains, make_chains
from vbpi_mix.phylo.trees.sample import TreeSample, by_weight
from vbpi_mix.phylo.trees.topology import random_topologies, unique_topologies

# Walks around the tree that are given to setting the sizes of steps; their trees are not kept.
TUNING_WALKS = 40
# Of a budget of seconds, at most this share, however slow the model is: windows near enough beat no trees.
MOST_TUNING = 0.5
# Share of the kept trees, from the front, that is cut as burn-in; for coverage, at most.
BURN_IN = 0.25
# What a sample is for: its weights, or only to hold what has weight, as a fit weighs topologies anew.
PURPOSES = ("weights", "coverage")
_FIRST_CHECK = 400
_CHECK_GROWTH = 1.4
# A check looks at so many nodes of trees at most, and within a budget of seconds comes no sooner than so many times as long
# after the last as that took.
_CHECKED_NODES, _BETWEEN_CHECKS = 4_000_000, 5.0
# Taxa from which on chains start from searched trees, of a budget of seconds at most so much for the search; and the work of a
# generation is held: regrafts that try every place become rarer and local ones take their part. Steps between temperatures
# become smaller with the square root of the taxa, as the spread of the log-likelihood grows, so that exchanges are still made.
_MANY_TAXA, _MOST_CLIMBING = 64, 0.4
_TEMPERATURES, _HEATING, _REGRAFT_SHARE = 5, 0.15, 0.03
# Of generations, those with a local regraft, and the probability that a node is open in it.
_LOCAL_SHARE, _PASSING = 0.2, 0.7
# Bytes of kept trees, of all runs together, at most; more than `keep` trees there are never.
_KEPT_BYTES = 600_000_000
# And above 64 taxa no more of a run than have so many nodes: what follows would grow with taxa times trees, and neighbours in a
# chain of hundreds of taxa are nearly the same tree.
_KEPT_NODES = 64 * 30_000
_WANTED_ACCEPTANCE = 0.4
# In the first generations little new mass may only mean that no chain has left where it was: for coverage they end only if
# no weight is off by more than this.
_EARLY, _EARLY_WEIGHT_ERROR = 50_000, 0.07


@dataclass(frozen=True)
class McmcOptions:
    """How long, how many, from which seed.

    seconds: wall-clock budget, None for none. generations: of each chain; given, exactly these are made
    (rounded up to whole rounds) and nothing else ends the runs. Else they end when their log posterior does not rise
    and, `until` "weights", the ASDSF and the weight error are at most `asdsf` and `weight_error` and the agreement is at
    least `agreement` (an asdsf of None never ends them); `until` "coverage", the new mass is at most `new_mass`, and the
    weight error 0.07 in the first 50,000 generations, whatever the weights after. What these are: convergence.py. runs:
    independent runs. temperatures: chains of each; chain k has the likelihood to the power 1 / (1 + heating k).
    regraft_share: of the generations that try a regraft; local_share: of regrafts that are local. climb: whether chains
    start from searched trees. steps: generations between exchanges, at which trees are kept. keep: trees kept of each
    run, at most. What is None depends on the number of taxa (`for_taxa`).
    """

    seconds: float | None = 60.0
    generations: int | None = None
    until: str = "weights"
    asdsf: float | None = 0.01
    agreement: float = 0.98
    weight_error: float = 0.02
    new_mass: float = 0.002
    runs: int = 2
    temperatures: int | None = None
    heating: float | None = None
    regraft_share: float | None = None
    local_share: float | None = None
    climb: bool | None = None
    steps: int = 25
    keep: int = 30_000
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for what makes no sense."""
        if self.seconds is None and self.generations is None:
            raise ConfigError("neither seconds nor generations are given; one of them must end the sampler")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds={self.seconds}: the time to sample must be above 0")
        if self.generations is not None and self.generations < 1:
            raise ConfigError(f"generations={self.generations}: at least 1 is needed")
        if self.asdsf is not None and not 0 < self.asdsf < 1:
            raise ConfigError(f"asdsf={self.asdsf}: the ASDSF to reach lies between 0 and 1")
        if self.until not in PURPOSES:
            raise ConfigError(f"until={self.until}: choose one of {', '.join(PURPOSES)}")
        if not self.weight_error > 0 or not 0 <= self.agreement <= 1 or not 0 < self.new_mass < 1:
            raise ConfigError(
                f"weight_error={self.weight_error}, agreement={self.agreement}, new_mass={self.new_mass}: the error is "
                "above 0, the shares lie between 0 and 1"
            )
        temperatures = _TEMPERATURES if self.temperatures is None else self.temperatures
        if self.runs < 1 or temperatures < 1 or self.steps < 1 or self.keep < 16 * temperatures:
            raise ConfigError(
                f"runs={self.runs}, temperatures={temperatures}, steps={self.steps}, keep={self.keep}: "
                "at least one of each, and 16 trees kept of every chain"
            )
        if not (self.heating or 0.0) >= 0 or not 0 <= (self.regraft_share or 0.0) <= 1 or not 0 <= (self.local_share or 0.0) <= 1:
            raise ConfigError(
                f"heating={self.heating}, regraft_share={self.regraft_share}, local_share={self.local_share}: heating is at "
                "least 0, the shares at least 0 and at most 1"
            )

    def for_taxa(self, n_taxa: int) -> McmcOptions:
        """The same with every choice made that depends on the number of taxa."""
        held = min(1.0, _MANY_TAXA / n_taxa)
        wide, local = _REGRAFT_SHARE * held, _LOCAL_SHARE if held < 1.0 else 0.0
        usual: dict[str, Any] = {
            "temperatures": max(2, round(_TEMPERATURES * held**0.5)),
            "heating": _HEATING * held**0.5,
            "regraft_share": wide + local,
            "local_share": local / (wide + local),
            "climb": held < 1.0,
        }
        if self.regraft_share is not None:
            usual["local_share"] = 0.0
        return replace(self, **{name: value for name, value in usual.items() if getattr(self, name) is None})


@dataclass(frozen=True)
class McmcReport:
    """Where a sampler is: generations of each chain, seconds, the last ASDSF and agreement (NaN before the
    first).

    The first one, of 0 generations, comes before the kernels are compiled. share_done: of the generations or
    the seconds that are allowed, whichever is further. log_posterior: but for log p(Y), of the trees of the coldest
    chains at the last check, the lowest of the runs; NaN before the first.
    """

    generations: int
    seconds: float
    asdsf: float
    agreement: float
    share_done: float
    finished: bool = False
    log_posterior: float = float("nan")


@dataclass(frozen=True, eq=False)
class McmcResult:
    """The sample of all runs without their burn-in, and how it came about.

    convergence: of the runs at the end. agreed: whether they reached what was asked. acceptance: share of proposals
    accepted by the coldest chains, and of exchanges. trace: at each check, seconds and the log posterior of each run, but
    for log p(Y).
    """

    sample: TreeSample
    generations: int
    seconds: float
    convergence: Convergence
    agreed: bool
    acceptance: dict[str, float]
    trace: tuple[tuple[float, ...], ...] = ()

    @property
    def asdsf(self) -> float:
        """Of the runs; NaN for a single one."""
        return self.convergence.asdsf

    @property
    def agreement(self) -> float:
        """Of the runs; NaN for a single one."""
        return self.convergence.agreement

    @property
    def rising(self) -> bool:
        """Whether the log posterior of a run was still rising when it ended."""
        return self.convergence.rising


def check_sampling(target: Posterior, runs: int) -> None:
    """ConfigError, with the estimate, if the chains of so many runs are more than the memory: before any other work."""
    options = McmcOptions(runs=runs).for_taxa(target.n_taxa)
    assert options.temperatures is not None
    check_chains(runs * options.temperatures, target)


def sample_trees(
    target: Posterior,
    taxa: tuple[str, ...],
    options: McmcOptions | None = None,
    progress: Callable[[McmcReport], None] | None = None,
    saved: SavedSampling | None = None,
) -> McmcResult:
    """Run the chains and return their trees, with branch lengths.

    taxa: names in the order of the target's patterns. With `generations` the result depends on the options
    alone; with a budget of seconds it depends on how far the machine comes, and repeating it with the
    generations of the result gives it again, unless setting the windows took more than its share of the
    seconds. The budget starts when the kernels are compiled. saved: where the sampler leaves its state now and then, and goes on
    from if it is there, as if it had not stopped; the processes of a job (shared_chains.py) do neither. An interruption
    (KeyboardInterrupt) leaves nothing else behind.
    """
    options = (options or McmcOptions()).for_taxa(target.n_taxa)
    threads = min(options.runs, options.threads or numba.get_num_threads())
    with ThreadPoolExecutor(threads) as pool:
        return _sample(target, tuple(taxa), options, progress or (lambda report: None), pool, saved)


def _sample(
    target: Posterior,
    taxa: tuple[str, ...],
    options: McmcOptions,
    progress: Callable[[McmcReport], None],
    pool: Executor,
    saved: SavedSampling | None,
) -> McmcResult:
    progress(McmcReport(0, 0.0, float("nan"), float("nan"), 0.0))
    chains = _chains(target, options, None)
    kept = Kept(chains, _room(options, target.n_taxa))
    _compile(chains, kept, pool)
    saved = None if isinstance(chains, SharedChains) else saved
    name = digest_of(dataclasses.asdict(replace(options, threads=None)))
    reached = saved.restore(name, chains, kept) if saved is not None and saved.is_there else None
    start = time.perf_counter() - (0.0 if reached is None else reached.seconds)
    # Given the generations, nothing depends on the clock.
    budget = math.inf if options.generations is not None or options.seconds is None else options.seconds
    if reached is None:
        reached = Reached(0, 0.0, _FIRST_CHECK)
        chains, kept = _begun(target, options, pool, start, budget)
    check_after = 0.0
    while not reached.over:
        kept.make_room()
        chains.advance(kept.every, kept, pool)
        reached.rounds += kept.every
        reached.seconds = time.perf_counter() - start
        ended = _is_over(chains.generations, reached.seconds, kept.count, options)
        if ended or (reached.rounds >= reached.check_at and reached.seconds >= check_after):
            reached.known = _assess(kept, target)
            reached.trace.append((reached.seconds, *_log_posterior(kept, target, kept.count - 1)[:, 0].tolist()))
            reached.check_at = int(max(reached.check_at, reached.rounds) * _CHECK_GROWTH) + 1
            check_after = _next_check(reached.seconds, time.perf_counter() - start, budget)
        agreed = _agrees(reached.known, options, chains.generations)
        reached.over = ended or (agreed and options.generations is None)
        if saved is not None:
            saved.save_if_due(name, chains, kept, reached)
        if not reached.over:
            progress(_report(chains, reached, _share_done(chains.generations, reached.seconds, options)))
    sample = _tree_sample(kept, _first_entry(kept, target, options), taxa, options)
    reached.seconds = time.perf_counter() - start
    progress(replace(_report(chains, reached, 1.0), finished=True, log_posterior=float("nan")))
    agreed = _agrees(reached.known, options, chains.generations)
    return McmcResult(
        sample, chains.generations, reached.seconds, reached.known, agreed, chains.acceptance(), tuple(reached.trace)
    )


def _next_check(begun: float, now: float, budget: float) -> float:
    """Seconds before which no check comes, after one that has begun and ended; none where the clock decides nothing."""
    return now + _BETWEEN_CHECKS * (now - begun) if math.isfinite(budget) else 0.0


def _begun(
    target: Posterior, options: McmcOptions, pool: Executor, start: float, budget: float
) -> tuple[Chains, Kept]:
    """Chains with their windows set, of which nothing is kept yet."""
    found = None
    if options.climb:
        found = climbed_trees(target, options.runs, options.seed, pool, start + _MOST_CLIMBING * budget)
    chains = _chains(target, options, found)
    kept = Kept(chains, _room(options, target.n_taxa))
    _tune(chains, kept, pool, start + MOST_TUNING * budget)
    return chains, kept


def _report(chains: Chains, reached: Reached, share: float) -> McmcReport:
    lowest = min(reached.trace[-1][1:]) if reached.trace else float("nan")
    known = reached.known
    return McmcReport(chains.generations, reached.seconds, known.asdsf, known.agreement, share, log_posterior=lowest)


def _chains(target: Posterior, options: McmcOptions, starts: StartTrees | None) -> Chains:
    assert options.temperatures is not None
    assert options.heating is not None
    assert options.regraft_share is not None
    chains = make_chains(
        target, options.runs, options.temperatures, options.heating, options.regraft_share, options.steps, options.seed, starts
    )
    chains.local_share, chains.passing = options.local_share or 0.0, _PASSING
    return chains


def _room(options: McmcOptions, n_taxa: int) -> int:
    """Kept trees of a chain."""
    assert options.temperatures is not None
    bytes_of_tree = 24 * n_taxa
    keep = min(options.keep, _KEPT_NODES // n_taxa, _KEPT_BYTES // (options.runs * bytes_of_tree))
    return max(16, keep // options.temperatures)


def _compile(chains: Chains, kept: Kept, pool: Executor) -> None:
    """Have everything compiled that the sampler calls, so that no time is lost in the budget."""
    chains.advance(0, kept, pool)
    some = unique_topologies(random_topologies(chains.n_taxa, 2 * BATCHES, np.random.default_rng(0)))
    runs = some[0][some[1]].reshape(2, BATCHES, -1, 2)
    assess(runs, np.ones((2, BATCHES)), np.arange(BATCHES), np.zeros((2, 4)))


def _tune(chains: Chains, kept: Kept, pool: Executor, deadline: float) -> None:
    """Set the windows of length proposals so that a fixed share is accepted; part of the generations. deadline: on the clock
    of time.perf_counter, when windows must be good enough.
    """
    rounds = -(-TUNING_WALKS * (4 * chains.n_taxa - 6) // chains.steps)
    for k in range(rounds):
        chains.advance(1, kept, pool, keep=False)
        accepted = chains.length_acceptance()
        gain = 2.0 / (1.0 + k) ** 0.5
        window = chains.state.window
        window *= np.exp(gain * (accepted - _WANTED_ACCEPTANCE))
        np.clip(window, 1e-3, 20.0, out=window)
        chains.state.counters[:] = 0
        if time.perf_counter() > deadline:
            break
    chains.state.exchanges[:] = 0


def _is_over(generations: int, seconds: float, count: int, options: McmcOptions) -> bool:
    if count < 8:
        return False
    if options.generations is not None:
        return generations >= options.generations
    return options.seconds is not None and seconds >= options.seconds


def _share_done(generations: int, seconds: float, options: McmcOptions) -> float:
    if options.generations is not None:
        return generations / options.generations
    return seconds / options.seconds if options.seconds is not None else 0.0


def _assess(kept: Kept, target: Posterior) -> Convergence:
    """Of the runs without their burn-in; of some of their trees, evenly, if there are very many."""
    first = int(BURN_IN * kept.count)
    children, weights, _ = kept.of_runs(first)
    step = -(-children.size // (2 * _CHECKED_NODES))
    chosen = np.arange(weights.shape[1]).reshape(kept.beta.size, -1)[:, ::step].ravel()
    children, weights = children[:, chosen], weights[:, chosen]
    of_chain = weights.shape[1] // kept.beta.size
    batch = np.tile(np.arange(of_chain) * BATCHES // of_chain, kept.beta.size)
    return assess(children, weights, batch, _log_posterior(kept, target, first))


def _log_posterior(kept: Kept, target: Posterior, first: int = 0) -> np.ndarray:
    """Of the trees of the coldest chain of each run, from entry `first` on, but for log p(Y); float64 [runs, count - first]."""
    lengths = kept.trees.lengths[:, 0, first : kept.count]
    logs = np.log(lengths)
    # The prior's density is that of the logarithms, which edges of almost no length would make noisy.
    prior = target.branch_prior.log_density(logs, lengths) - logs.sum(axis=-1)
    log_posterior: np.ndarray = kept.trees.log_likelihood[:, 0, first : kept.count] + prior + target.constant
    return log_posterior


def _agrees(known: Convergence, options: McmcOptions, generations: int) -> bool:
    if known.rising:
        return False
    if options.until == "coverage":
        known_well = generations >= _EARLY or known.weight_error <= _EARLY_WEIGHT_ERROR
        return known_well and known.new_mass <= options.new_mass
    if options.asdsf is None:
        return False
    weights = known.asdsf <= options.asdsf and known.weight_error <= options.weight_error
    return weights and known.agreement >= options.agreement


def _first_entry(kept: Kept, target: Posterior, options: McmcOptions) -> int:
    """Where the burn-in ends. For coverage no tree is cut that came after the chains had arrived: it may be the only one
    that holds something of weight."""
    quarter = int(BURN_IN * kept.count)
    if options.until == "coverage":
        return min(quarter, arrival(_log_posterior(kept, target)))
    return quarter


def _tree_sample(kept: Kept, first: int, taxa: tuple[str, ...], options: McmcOptions) -> TreeSample:
    """All runs as one sample, without burn-in; each weighs the same."""
    children, weights, lengths = kept.of_runs(first)
    flat = children.reshape(-1, *children.shape[2:])
    topologies, index = unique_topologies(flat)
    tree_weights = weights.ravel() / weights.sum()
    topologies, mass, index = by_weight(topologies, np.bincount(index, tree_weights, topologies.shape[0]), index)
    return TreeSample(
        taxa=taxa,
        children=topologies,
        weights=mass,
        tree_topology=index,
        tree_weights=tree_weights,
        lengths=lengths.reshape(flat.shape[0], -1),
        sources=(f"mcmc seed {options.seed}",),
    )

"""Good trees for chains to start from: neighbour joining, then uphill.

Each run gets a tree of its own: by neighbour joining of differences at sites drawn with replacement, so that runs begin
apart. Then a chain of the sampler climbs from it. With the likelihood to a very high power a chain takes what is better
and refuses what is worse, and a regraft goes to the best place, so that the moves that sample also search: walks set the
lengths and exchange neighbours, passes of regrafts take off every subtree once and put it where it is best, first nearby
and then anywhere.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.chains import Chains, Kept, StartTrees
from vbpi_mix.phylo.sampling.shared_chains import make_chains
from vbpi_mix.phylo.trees.neighbour_joining import neighbour_joining, pairwise_differences
from vbpi_mix.phylo.trees.topology import canonicalise

# Power of the likelihood: a loss of a hundredth of a nat is hardly ever taken.
_POWER = 1000.0
# Walks between passes of regrafts, at most; they end when ten of them gain less than this, in nats.
_WALKS, _WALKS_AT_ONCE, _GAIN = 60, 10, 1.0
# Passes of regrafts at most; with which probability nodes are open in the first of them.
_PASSES, _PASSING = 12, (0.5, 0.7, 0.8, 0.9)
# Share of length proposals that is to be taken: about as good as any, where only what is better is taken.
_WANTED_ACCEPTANCE = 0.3
# Length of every edge to begin with, and what a split that all trees must have adds to the distance across it.
_FIRST_LENGTH, _ACROSS = 0.05, 4.0


def climbed_trees(target: Posterior, runs: int, seed: int, pool: Executor, deadline: float) -> StartTrees:
    """A tree for each run. deadline: on the clock of time.perf_counter, when they must be good enough."""
    chains = make_chains(target, runs, 1, 0.0, 0.0, 4 * target.n_taxa - 6, seed, joined_trees(target, runs, seed))
    climb = _Climb(chains, Kept(chains, 2), pool, deadline)
    chains.state.beta[:] = _POWER
    climb.walk()
    for k in range(0 if target.topology_prior.fixed else _PASSES):
        before = chains.state.log_likelihood.copy()
        climb.regraft(_PASSING[k] if k < len(_PASSING) else 1.0)
        climb.walk()
        gained = (chains.state.log_likelihood - before).max()
        if climb.late or (gained < _GAIN and k >= len(_PASSING)):
            break
    return chains.trees_now()


def joined_trees(target: Posterior, runs: int, seed: int) -> StartTrees:
    """By neighbour joining of sites drawn with replacement, that all have the splits of the prior of topologies."""
    n = target.n_taxa
    children = np.empty((runs, n - 2, 2), np.int32)
    prior = target.topology_prior
    for k, stream in enumerate(np.random.SeedSequence(seed).spawn(runs)):
        rng = np.random.default_rng(stream)
        drawn = [(part.states, rng.multinomial(round(part.weights.sum()), part.weights / part.weights.sum()).astype(float))
                 for part in target.site_patterns]  # fmt: skip
        distances = pairwise_differences(drawn) + _across(prior)
        tree = canonicalise(neighbour_joining(distances)[None])[0]
        # Distances from a matrix of nothing but missing data may be joined against a split.
        children[k] = tree[0] if prior.allows(tree)[0] else prior.draw(1, rng)[0]
    return StartTrees(children, np.full((runs, 2 * n - 3), _FIRST_LENGTH))


def _across(prior: TopologyPrior) -> np.ndarray:
    """What splits add to the distances [n, n] of taxa on both sides: as an edge of such a length would."""
    added = np.zeros((prior.n_taxa, prior.n_taxa))
    for side in prior.splits:
        inside = np.zeros(prior.n_taxa, bool)
        inside[list(side)] = True
        added += _ACROSS * (inside[:, None] != inside[None, :])
    return added


@dataclass(frozen=True, eq=False)
class _Climb:
    """One chain of each run, going up. A round of the chains is a walk around the tree."""

    chains: Chains
    kept: Kept
    pool: Executor
    deadline: float

    @property
    def late(self) -> bool:
        return time.perf_counter() > self.deadline

    def walk(self) -> None:
        """Lengths and arrangements, until hardly anything is gained."""
        self.chains.regraft_share = 0.0
        state, window = self.chains.state, self.chains.state.window
        for _ in range(_WALKS // _WALKS_AT_ONCE):
            before = state.log_likelihood.copy()
            for _ in range(_WALKS_AT_ONCE):
                self._advance()
                window *= np.exp(self.chains.length_acceptance() - _WANTED_ACCEPTANCE)
                np.clip(window, 1e-3, 20.0, out=window)
            if (state.log_likelihood - before).max() < _GAIN or self.late:
                break

    def regraft(self, passing: float) -> None:
        """Every subtree to its best place."""
        self.chains.regraft_share, self.chains.local_share, self.chains.passing = 1.0, float(passing < 1.0), passing
        self._advance()

    def _advance(self) -> None:
        self.chains.state.counters[:] = 0
        self.chains.advance(1, self.kept, self.pool, keep=False)

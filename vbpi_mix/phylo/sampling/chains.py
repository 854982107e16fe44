"""The memory of the chains of a sampler, and the trees that are kept of them (layout: kernels/chains.py)."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sampling.kernels import chains as kernels
from vbpi_mix.phylo.sampling.kernels.model_layout import HeldTree, HeldWork
from vbpi_mix.phylo.sampling.kernels.moves import COUNTERS, MODULUS_2
from vbpi_mix.phylo.sampling.kernels.partials import Tree, Work
from vbpi_mix.phylo.sampling.memory import check_chains, held_memory, jukes_cantor_memory, pack_held

_FIRST_WINDOW = 1.5


@dataclass(frozen=True, eq=False)
class StartTrees:
    """Trees of R runs: children int32 [R, n-2, 2], canonical, lengths float64 [R, E]."""

    children: np.ndarray
    lengths: np.ndarray


class Chains:
    """`runs` times `temperatures` chains, those of a run started from its tree, or from random ones of the prior."""

    def __init__(
        self,
        target: Posterior,
        runs: int,
        temperatures: int,
        heating: float,
        regraft_share: float,
        steps: int,
        seed: int,
        starts: StartTrees | None = None,
    ) -> None:
        self.kernels = kernels
        self.prior, self.topology_prior = target.branch_prior, target.topology_prior
        self.n_taxa = target.n_taxa
        # There is only one place for every subtree of a fixed topology.
        self.regraft_share = 0.0 if self.topology_prior.fixed else regraft_share
        self.local_share, self.passing = 0.0, 1.0
        self.steps, self.generations = steps, 0
        # Those that `advance` advances.
        self.own_runs = range(runs)
        count = runs * temperatures
        self._allot(target, count)
        streams = np.random.SeedSequence(seed).spawn(count + runs + 1)
        self.state = kernels.Ladder(
            focus=np.zeros(count, np.int64),
            log_likelihood=np.empty(count),
            rng=np.stack([_generator_state(stream) for stream in streams[:-1]]),
            chain_at=np.arange(count).reshape(runs, temperatures),
            beta=1.0 / (1.0 + heating * np.arange(temperatures)),
            window=np.full(temperatures, _FIRST_WINDOW),
            counters=np.zeros((runs, temperatures, COUNTERS), np.int64),
            exchanges=np.zeros((runs, 2), np.int64),
        )
        self._start(np.random.default_rng(streams[-1]), starts)

    def _allot(self, target: Posterior, count: int) -> None:
        """Patterns as the kernels of the target's model take them, and memory for `count` chains."""
        check_chains(count, target)
        # JC69 has kernels of its own; every other model comes as parts with their parameters held.
        parts = target.held_parts
        self.patterns: Any
        self.trees: Tree | HeldTree
        self.work: Work | HeldWork
        if parts:
            self.patterns = pack_held(parts)
            self.trees, self.work = held_memory(count, self.patterns)
        elif target.model.name == "JC69":
            self.patterns = target.patterns
            self.trees, self.work = jukes_cantor_memory(count, self.patterns)
        else:
            raise ConfigError(
                f"the built-in sampler does not know the model {target.model.name}: give tree files or take the trees from"
                " another program"
            )

    def _start(self, rng: np.random.Generator, starts: StartTrees | None) -> None:
        n, count = self.n_taxa, self.trees.twin.shape[0]
        if starts is None:
            topologies = self.topology_prior.draw(count, rng)
            lengths = self.prior.draw((count, 2 * n - 3), rng)
        else:
            of_run = np.repeat(np.arange(starts.lengths.shape[0]), self.state.beta.size)
            topologies, lengths = starts.children[of_run], starts.lengths[of_run]
        carriers = self.topology_prior.carriers(topologies)
        for c in range(count):
            tree, _ = self.views(c)
            self.kernels.hang(topologies[c], lengths[c], tree)
            self._bar(np.flatnonzero(carriers[c]), tree)
            self.state.focus[c] = rng.integers(4 * n - 6)
        self.state.log_likelihood[:] = self.compute_partials()

    def compute_partials(self) -> np.ndarray:
        """Those of all trees, as they are hung, towards their focus; the log-likelihoods [C]."""
        return np.array(
            [self.kernels.start_chain(h, self.patterns, *self.views(c)) for c, h in enumerate(self.state.focus)]
        )

    def _bar(self, nodes: np.ndarray, tree: Tree | HeldTree) -> None:
        """Bar the edges above internal nodes of a tree that was just hung."""
        lower = 3 * (nodes - self.n_taxa)
        tree.barred[lower] = tree.barred[tree.twin[lower]] = 1

    def trees_now(self) -> StartTrees:
        """Where the coldest chain of each run is."""
        n, runs = self.n_taxa, self.state.chain_at.shape[0]
        now = StartTrees(np.empty((runs, n - 2, 2), np.int32), np.empty((runs, 2 * n - 3)))
        for r, c in enumerate(self.state.chain_at[:, 0]):
            tree, work = self.views(c)
            self.kernels.unhang(n, tree.twin, tree.length, work.stack, now.children[r], now.lengths[r])
        return now

    def views(self, c: int) -> tuple[Any, Any]:
        """The arrays of one chain: its tree and its work."""
        trees, work = self.trees, self.work
        return type(trees)(*(array[c] for array in trees)), type(work)(*(array[c] for array in work))

    def advance(self, rounds: int, kept: Kept, pool: Executor, keep: bool = True) -> None:
        """`rounds` times `steps` generations of every chain, and as many exchanges in every run.

        The threads of `pool` do a run each. Where `keep`, the trees are kept whose turn it is; `rounds` must
        not go beyond what there is room for.
        """
        every = kept.every if keep else rounds + 1
        plan = kernels.Plan(rounds, every, kept.count, self.steps, self.regraft_share, self.local_share, self.passing)
        shared = plan, self.patterns, self.prior.kernel, self.trees, self.work, self.state, kept.trees
        list(pool.map(lambda run: self.kernels.advance(run, *shared), self.own_runs))
        self.generations += rounds * self.steps
        if keep:
            kept.count += rounds // every

    def length_acceptance(self) -> np.ndarray:
        """Share of length proposals accepted, by temperature."""
        counts = self.state.counters.sum(axis=0)
        return counts[:, 1] / np.maximum(1, counts[:, 0])

    def acceptance(self) -> dict[str, float]:
        """Share of proposals of each kind that the coldest chains accepted, and of exchanges that were
        made."""
        counts = self.state.counters[:, 0].sum(axis=0)
        pairs = dict(zip(("lengths", "arrangements", "regrafts"), counts.reshape(3, 2), strict=True))
        pairs["exchanges"] = self.state.exchanges.sum(axis=0)
        return {name: float(made / max(1, tried)) for name, (tried, made) in pairs.items()}


class Kept:
    """Trees of every chain, one after every `every` rounds: topology, lengths and log-likelihood.

    There is room for `room` trees of a chain. When it is full, every second one goes, and `every` doubles.
    """

    def __init__(self, chains: Chains, room: int) -> None:
        runs, temperatures = chains.state.chain_at.shape
        n, room = chains.n_taxa, room - room % 2
        self.trees = kernels.KeptTrees(
            children=np.empty((runs, temperatures, room, n - 2, 2), np.int32),
            lengths=np.empty((runs, temperatures, room, 2 * n - 3)),
            log_likelihood=np.empty((runs, temperatures, room)),
        )
        self.beta = chains.state.beta
        self.count, self.every = 0, 1

    def make_room(self) -> None:
        """Drop every second tree if there is no room for another."""
        if self.count < self.trees.children.shape[2]:
            return
        half = self.count // 2
        for array in self.trees:
            array[:, :, :half] = array[:, :, 1 : self.count : 2]
        self.count, self.every = half, 2 * self.every

    def of_runs(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trees of each run from entry `first` on: children [runs, N, n-2, 2], weights [runs, N], lengths [runs,
        N, E].

        The trees of temperature k have weights proportional to likelihood^(1 - beta_k); temperatures are
        weighted by the effective numbers of their trees, and the weights of a run sum to 1.
        """
        part = slice(first, self.count)
        log_weights = (1.0 - self.beta)[:, None] * self.trees.log_likelihood[:, :, part]
        weights = np.exp(log_weights - log_weights.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        weights /= (weights**2).sum(axis=2, keepdims=True)
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        runs, n_kept = weights.shape[0], weights[0].size
        children = self.trees.children[:, :, part].reshape(runs, n_kept, *self.trees.children.shape[3:])
        lengths = self.trees.lengths[:, :, part].reshape(runs, n_kept, -1)
        return children, weights.reshape(runs, n_kept), lengths


def _generator_state(stream: np.random.SeedSequence) -> np.ndarray:
    """A state of MRG32k3a: six numbers, above 0 and below the smaller modulus."""
    return (stream.generate_state(6, np.uint64) % np.uint64(MODULUS_2 - 1) + np.uint64(1)).astype(np.int64)

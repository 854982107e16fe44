"""Many chains side by side: generations, exchanges of temperatures, and the trees that are kept.

Layout (C = runs * temperatures chains; half-edges, partials: head of partials.py): Tree and Work as there, with C in
front of every array; Ladder and Kept below.

A *generation* of a chain is one step of its walk, with new lengths and arrangements at the edge it comes to
and, with probability `regraft_share`, a regraft. A *round* is `step` generations of every chain, then one
exchange tried in every run, between neighbouring temperatures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import allocates, inner_kernel, kernel
from vbpi_mix.phylo.sampling.kernels.choice import tree_of, work_of
from vbpi_mix.phylo.sampling.kernels.half_edges import link, node_of
from vbpi_mix.phylo.sampling.kernels.moves import (
    Chain,
    edge_moves,
    focus_log_likelihood,
    orient,
    regraft,
    uniform,
    walk,
)
from vbpi_mix.phylo.trees.kernels.topology import number_canonically


class Ladder(NamedTuple):
    """State of the chains beside their trees.

    focus int64 [C]; log_likelihood float64 [C]; rng int64 [C + runs, 6], of the chains and then of the exchanges; chain_at
    int64 [runs, temperatures]: which chain has temperature k in run r, 0 the coldest; beta, window float64 [temperatures];
    counters int64 [runs, temperatures, COUNTERS]; exchanges int64 [runs, 2]: tried, made.
    """

    focus: np.ndarray
    log_likelihood: np.ndarray
    rng: np.ndarray
    chain_at: np.ndarray
    beta: np.ndarray
    window: np.ndarray
    counters: np.ndarray
    exchanges: np.ndarray


class KeptTrees(NamedTuple):
    """children int32 [runs, temperatures, N, n-2, 2], lengths float64 [runs, temperatures, N, E], log_likelihood float64
    [runs, temperatures, N].
    """

    children: np.ndarray
    lengths: np.ndarray
    log_likelihood: np.ndarray


class Plan(NamedTuple):
    """`rounds` rounds of `steps` generations; trees are kept after every `every` rounds, from entry `slot` on. Shares: Chain."""

    rounds: int
    every: int
    slot: int
    steps: int
    regraft_share: float
    local_share: float
    passing: float


@kernel
def hang(children, lengths, tree):
    """Half-edges of a tree from children int32 [n-2, 2] and lengths float64 [E]."""
    internal = children.shape[0]
    taxa = internal + 2
    for k in range(internal):
        for side in range(2):
            child = children[k, side]
            lower = 3 * (child - taxa) if child >= taxa else 3 * internal + child
            link(lower, 3 * k + 1 + side, lengths[child - 1], tree)
    link(3 * internal - 3, 3 * internal, lengths[2 * taxa - 4], tree)


@kernel
@allocates
def unhang(taxa, twin, length, stack, children, lengths):
    """Canonical children int32 [n-2, 2] and lengths float64 [E] of half-edges."""
    internal = taxa - 2
    first = np.empty(2 * taxa - 2, np.int32)
    second = np.empty(2 * taxa - 2, np.int32)
    relabel = np.empty(2 * taxa - 2, np.int32)
    above = np.empty(2 * taxa - 2)
    stack[0] = twin[3 * internal]
    filled = 1
    top = node_of(stack[0], taxa)
    above[top] = length[3 * internal]
    while filled > 0:
        filled -= 1
        node, port = stack[filled] // 3, stack[filled] % 3
        low = 3 * node + (port + 1) % 3
        high = 3 * node + (port + 2) % 3
        first[taxa + node] = node_of(twin[low], taxa)
        second[taxa + node] = node_of(twin[high], taxa)
        for h in (low, high):
            above[node_of(twin[h], taxa)] = length[h]
            if twin[h] < 3 * internal:
                stack[filled] = twin[h]
                filled += 1
    number_canonically(first, second, top, taxa, children, relabel)
    for node in range(1, 2 * taxa - 2):
        lengths[relabel[node] - 1] = above[node]


@kernel
def run_chain(h, log_likelihood, steps, chain, data, tree, work):
    """`steps` generations of one chain; returns its focus and log-likelihood."""
    for _ in range(steps):
        h = walk(h, data, tree, work)
        log_likelihood = edge_moves(h, log_likelihood, chain, data, tree, work)
        if uniform(chain.rng) < chain.regraft_share:
            log_likelihood = regraft(h, log_likelihood, chain, data, tree, work)
    return h, log_likelihood


@kernel
def start_chain(h, data, tree, work):
    """Partials and log-likelihood of a chain whose half-edges are set; the focus is h."""
    orient(h, data, tree, work)
    return focus_log_likelihood(h, data, tree, work)


@inner_kernel
def exchange(chain_at, beta, log_likelihood, rng, exchanges):
    """Metropolis exchange of the chains of two neighbouring temperatures, chosen evenly, in one run."""
    pairs = beta.shape[0] - 1
    if pairs == 0:
        return
    k = int(pairs * uniform(rng))
    a, b = chain_at[k], chain_at[k + 1]
    exchanges[0] += 1
    if np.log(uniform(rng)) < (beta[k] - beta[k + 1]) * (log_likelihood[b] - log_likelihood[a]):
        chain_at[k], chain_at[k + 1] = b, a
        exchanges[1] += 1


@kernel
def advance(r, plan, data, prior, trees, work, ladder, kept):
    """The rounds of `plan` for run r, which touch nothing of another run, so that threads may do a run each."""
    runs, temperatures = ladder.chain_at.shape
    for done in range(1, plan.rounds + 1):
        for k in range(temperatures):
            c = ladder.chain_at[r, k]
            chain = Chain(
                ladder.beta[k], ladder.window[k], plan.regraft_share, plan.local_share, plan.passing, prior,
                ladder.rng[c], ladder.counters[r, k],
            )  # fmt: skip
            tree, own = tree_of(trees, c), work_of(work, c)
            ladder.focus[c], ladder.log_likelihood[c] = run_chain(
                ladder.focus[c], ladder.log_likelihood[c], plan.steps, chain, data, tree, own
            )
            if done % plan.every == 0:
                at = plan.slot + done // plan.every - 1
                unhang(data.n_taxa, tree.twin, tree.length, own.stack, kept.children[r, k, at], kept.lengths[r, k, at])
                kept.log_likelihood[r, k, at] = ladder.log_likelihood[c]
        of_run = ladder.rng[runs * temperatures + r]
        exchange(ladder.chain_at[r], ladder.beta, ladder.log_likelihood, of_run, ladder.exchanges[r])

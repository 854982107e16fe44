"""Many chains side by side: generations, exchanges of temperatures, and the trees that are kept.

Layout (C = runs * temperatures chains; half-edges, partials: head of kernels/mcmc_partials.py)
    twin int64 [C, H], length float64 [C, H], partial float64 [C, 4 (n-2) P], log_scale float64 [C, 2n-2]
    focus int64 [C], log_likelihood float64 [C], rng int64 [C + runs, 6], of the chains and then of the
    exchanges chain_at int64 [runs, temperatures]: which chain has temperature k in run r; 0 is the one that
    is kept beta, window float64 [temperatures]; counters int64 [runs, temperatures, COUNTERS]; exchanges
    int64 [runs, 2]: tried, made kept_children int32 [runs, temperatures, N, n-2, 2], kept_lengths float64
    [runs, temperatures, N, E], kept_log_likelihood float64 [runs, temperatures, N]

A *generation* of a chain is one step of its walk, with new lengths and arrangements at the edge it comes to
and, with probability `regraft_share`, a regraft. A *round* is `step` generations of every chain, then one
exchange tried in every run, between neighbouring temperatures.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel
from vbpi_mix.phylo.sampling.kernels.moves import (
    Work,
    edge_moves,
    focus_log_likelihood,
    link,
    orient,
    regraft,
    uniform,
    walk,
)
from vbpi_mix.phylo.sampling.kernels.partials import Data, Tree, node_of
from vbpi_mix.phylo.trees.kernels.topology import number_canonically


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
def run_chain(h, log_likelihood, beta, rate, window, regraft_share, steps, rng, counters, data, tree, work):
    """`steps` generations of one chain; returns its focus and log-likelihood."""
    for _ in range(steps):
        h = walk(h, data, tree)
        log_likelihood = edge_moves(
            h, log_likelihood, beta, rate, window, rng, counters, data, tree, work.rows
        )
        if uniform(rng) < regraft_share:
            log_likelihood = regraft(h, log_likelihood, beta, rng, counters, data, tree, work)
    return h, log_likelihood


@kernel
def start_chain(h, data, tree, work):
    """Partials and log-likelihood of a chain whose half-edges are set; the focus is h."""
    orient(h, data, tree, work.stack)
    return focus_log_likelihood(h, data, tree, work.rows)


@kernel
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
def advance(
    r, rounds, every, slot, steps, rate, regraft_share, n, counts, codes, weights, twin, length, partial,
    log_scale, focus, log_likelihood, rng, chain_at, beta, window, counters, exchanges, rows, down,
    down_scale, stem, stack, up, places, positions, values, log_weights, kept_children, kept_lengths,
    kept_log_likelihood,
):  # fmt: skip
    """`rounds` rounds of run r, which touch nothing of another run, so that threads may do a run each.

    Trees are kept after every `every` rounds, from entry `slot` on.
    """
    runs, temperatures = chain_at.shape
    data = Data(n, counts, codes, weights)
    for done in range(1, rounds + 1):
        for k in range(temperatures):
            c = chain_at[r, k]
            tree = Tree(twin[c], length[c], partial[c], log_scale[c])
            work = Work(
                rows[c], down[c], down_scale[c], stem[c], stack[c], up[c], places[c], positions[c], values[c],
                log_weights[c],
            )  # fmt: skip
            focus[c], log_likelihood[c] = run_chain(
                focus[c], log_likelihood[c], beta[k], rate, window[k], regraft_share, steps, rng[c],
                counters[r, k], data, tree, work,
            )  # fmt: skip
            if done % every == 0:
                at = slot + done // every - 1
                unhang(n, twin[c], length[c], stack[c], kept_children[r, k, at], kept_lengths[r, k, at])
                kept_log_likelihood[r, k, at] = log_likelihood[c]
        exchange(chain_at[r], beta, log_likelihood, rng[runs * temperatures + r], exchanges[r])

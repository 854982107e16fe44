"""The moves of a chain at its focus edge. Layouts: head of partials.py.

The state of a chain is a tree, an order of the three half-edges around each of its nodes, and a half-edge,
the focus. Its distribution is prior times likelihood^beta over trees, times a uniform one over orders and
half-edges. Each move keeps it:

walk      turn to the next half-edge in the walk around the tree that takes the next port of every node: a
          permutation of the half-edges.
edge      t' = t exp(window (u - 1/2)) for the focus edge, alone or with one of the two other arrangements of
          the four subtrees around it, accepted as by Metropolis and Hastings; the ratio of the proposals is
          t'/t.
regraft   take off the subtree behind the focus with its stem. Given these and the rest, the place where the
          stem was joined has a density proportional to likelihood^beta dx, x the position along all edges of
          the rest, because uniform topologies and exponential lengths weigh every place the same. Another prior of
          lengths has a ratio for an edge in two parts (the tree stays as long as it is), by which the place is
          weighed too. With a
          uniform position u_e on each edge e (on its own edge: where it is), an edge is drawn with
          probability proportional to length_e likelihood(e, u_e)^beta. This is a Gibbs step: it is never
          rejected. Where it is *local*, every inner node of the rest is open with a fixed probability, whatever the
          place, and only edges are tried that are reached without passing a closed node. Given which nodes are closed
          it is the same Gibbs step among fewer places, most of them near the old one, for much less work.

Edges that have a split which every topology must have are *barred*. Other arrangements around one would lose its split,
and so would a subtree that is joined beyond one; all else keeps it. So the former are not tried, and the latter are no
places for a regraft, which changes nothing in the above: a barred edge stays one, and from each of the places that are
left one comes to all others. The parts of the tree between barred edges are rearranged each for itself, and each
reaches all of its arrangements. Where an edge is cut in two by a subtree, the part that keeps the split is the one that lies
away from where the subtree came from.

Random numbers: the combined multiple recursive generator MRG32k3a of L'Ecuyer (1999), "Good parameters and
implementations for combined multiple recursive random number generators", in int64 [6], which it cannot
overflow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inner_kernel, kernel
from vbpi_mix.phylo.models.kernels.priors import LengthPrior, log_ratio, log_split_ratio
from vbpi_mix.phylo.sampling.kernels.choice import (
    collect,
    edge_log_likelihood,
    fill_rows,
    graft_log_likelihood,
    send,
)
from vbpi_mix.phylo.sampling.kernels.half_edges import (
    ALONE,
    DESCENT,
    FOCUS,
    STEM,
    Graft,
    link,
    mark,
    next_port,
    node_of,
)

MODULUS_1, MODULUS_2 = 4294967087, 4294944443
# Of a chain: proposals and acceptances of new lengths, of new arrangements, and of new places.
COUNTERS = 6


class Chain(NamedTuple):
    """How one chain moves: its power of the likelihood beta, window of length proposals, share of generations that try a
    regraft, and of regrafts that are local, with the probability that nodes are open in these; prior of lengths
    (models/kernels/priors.py), generator int64 [6], counters int64 [COUNTERS].
    """

    beta: float
    window: float
    regraft_share: float
    local_share: float
    passing: float
    prior: LengthPrior
    rng: np.ndarray
    counters: np.ndarray


@kernel
def uniform(state):
    """The next number in (0, 1) of MRG32k3a; state int64 [6]."""
    first = (1403580 * state[1] - 810728 * state[0]) % MODULUS_1
    second = (527612 * state[5] - 1370589 * state[3]) % MODULUS_2
    state[0], state[1], state[2] = state[1], state[2], first
    state[3], state[4], state[5] = state[4], state[5], second
    difference = first - second
    if difference <= 0:
        difference += MODULUS_1
    return difference / (MODULUS_1 + 1.0)


@kernel
def _keep_message(h, data, tree, work):
    """The message of the node at h across h's edge, for the focus."""
    send(h, np.int64(FOCUS), tree.length[h], h, data, tree, work)


@kernel
def _total_length(tree):
    """The sum of the lengths of all edges."""
    total = 0.0
    for h in range(tree.length.shape[0]):
        total += tree.length[h]
    return 0.5 * total


@inner_kernel
def orient(h, data, tree, work):
    """Partials of all nodes, seen from the edge of half-edge h."""
    internal = 3 * (data.n_taxa - 2)
    stack = work.stack
    stack[0], stack[1] = h, tree.twin[h]
    filled, done = 2, 0
    # Parents stand before their children, so the reverse order is a postorder.
    while done < filled:
        port = stack[done]
        done += 1
        if port < internal:
            for _ in range(2):
                port = next_port(port)
                stack[filled] = tree.twin[port]
                filled += 1
    for k in range(filled - 1, -1, -1):
        if stack[k] < internal:
            collect(stack[k], data, tree)
        if k > 1:
            _keep_message(stack[k], data, tree, work)


@inner_kernel
def focus_log_likelihood(h, data, tree, work):
    """Log-likelihood of the tree, from the partials at both ends of the focus edge."""
    scale = fill_rows(h, np.int64(ALONE), data, tree, work)
    return edge_log_likelihood(np.int64(0), tree.length[h], data, work) + scale


@inner_kernel
def walk(h, data, tree, work):
    """The half-edge after h in the walk around the tree, which becomes the focus."""
    ahead = tree.twin[h]
    if ahead < 3 * (data.n_taxa - 2):
        ahead = next_port(ahead)
        _keep_message(h, data, tree, work)
        collect(ahead, data, tree)
    return ahead


@kernel
def _rearrange(h, arrangement, data, tree):
    """Exchange the second subtree at h's node with the first (1) or second (2) at the other end."""
    hb = next_port(next_port(h))
    hc = next_port(tree.twin[h])
    if arrangement == 2:
        hc = next_port(hc)
    b, c, t_b, t_c = tree.twin[hb], tree.twin[hc], tree.length[hb], tree.length[hc]
    barred_b, barred_c = tree.barred[b], tree.barred[c]
    link(hb, c, t_c, tree)
    link(hc, b, t_b, tree)
    mark(hb, c, barred_c, tree)
    mark(hc, b, barred_b, tree)
    collect(h, data, tree)
    collect(tree.twin[h], data, tree)


@inner_kernel
def edge_moves(h, log_likelihood, chain, data, tree, work):
    """New lengths of the focus edge, and new arrangements around it; returns the log-likelihood."""
    rng, counters = chain.rng, chain.counters
    u, v = node_of(h, data.n_taxa), node_of(tree.twin[h], data.n_taxa)
    inner = u >= data.n_taxa and v >= data.n_taxa
    t, arrangement, edges = tree.length[h], np.int64(0), tree.length.shape[0] // 2
    scale = fill_rows(h, arrangement, data, tree, work)
    # Without the focus: its length changes.
    rest = _total_length(tree) - t if chain.prior.compound else 0.0
    for attempt in range(3):
        kind, proposed = 0, arrangement
        if attempt == 1:
            if not inner or tree.barred[h]:
                continue
            kind, proposed = 2, (arrangement + 1 + int(2.0 * uniform(rng))) % 3
            fill_rows(h, proposed, data, tree, work)
        step = chain.window * (uniform(rng) - 0.5)
        new_t = t * np.exp(step)
        value = edge_log_likelihood(proposed, new_t, data, work) + scale
        counters[kind] += 1
        prior_ratio = log_ratio(chain.prior, not inner, rest + t, edges, t, new_t)
        if np.log(uniform(rng)) < chain.beta * (value - log_likelihood) + prior_ratio + step:
            counters[kind + 1] += 1
            t, arrangement, log_likelihood = new_t, proposed, value
    tree.length[h] = tree.length[tree.twin[h]] = t
    if arrangement > 0:
        _rearrange(h, arrangement, data, tree)
    return log_likelihood


@kernel
def _passes(passing, rng):
    """Whether a regraft goes on beyond the next node."""
    return passing >= 1.0 or uniform(rng) < passing


@kernel
def _list_grafts(first, second, merged, stem_scale, passing, chain, data, tree, work):
    """Every edge of the rest of the tree, a position on it and its log-likelihood, from entry 1 of the lists.

    first, second: the half-edges, away from the focus, of the two edges that become one of length `merged`. Beyond barred
    edges there are no places. passing: the probability that a node is open. Returns the number of entries.
    """
    internal = 3 * (data.n_taxa - 2)
    filled, found = 0, 1
    for near, far in ((first, second), (second, first)):
        node = node_of(near, data.n_taxa)
        work.up[node] = near
        if near < internal and not tree.barred[near] and _passes(passing, chain.rng):
            send(far, np.int64(DESCENT), merged, node, data, tree, work)
            work.stack[filled] = near
            filled += 1
    while filled > 0:
        filled -= 1
        above = work.stack[filled]
        t_y = merged if above in (first, second) else tree.length[above]
        for turns in range(1, 3):
            port = next_port(above)
            sister = next_port(port)
            if turns == 2:
                port, sister = sister, port
            below, t, position = tree.twin[port], tree.length[port], uniform(chain.rng)
            graft = Graft(port, sister, t_y, position * t, (1.0 - position) * t)
            work.values[found] = stem_scale + graft_log_likelihood(graft, data, tree, work)
            work.up[node_of(below, data.n_taxa)] = below
            work.places[found] = below
            work.positions[found] = position
            prior_ratio = log_split_ratio(chain.prior, graft.t_lower, graft.t_upper, below >= internal, np.bool_(False))
            work.log_weights[found] = np.log(t) + chain.beta * work.values[found] + prior_ratio
            found += 1
            if below < internal and not tree.barred[below] and _passes(passing, chain.rng):
                work.stack[filled] = below
                filled += 1
    return found


@kernel
def _draw_index(log_weights, count, rng):
    """An index with probability proportional to exp(log_weights); they are overwritten."""
    largest, total = log_weights[0], 0.0
    for k in range(1, count):
        largest = max(largest, log_weights[k])
    for k in range(count):
        total += np.exp(log_weights[k] - largest)
        log_weights[k] = total
    wanted = uniform(rng) * total
    for k in range(count - 1):
        if wanted < log_weights[k]:
            return k
    return count - 1


@kernel
def _turn_path(upper, first, second, data, tree, work):
    """Turn the nodes between the place that was left and half-edge `upper` towards the latter."""
    filled = 1
    work.stack[0] = upper
    while True:
        above = work.up[node_of(work.stack[filled - 1], data.n_taxa)]
        if above in (first, second):
            break
        work.stack[filled] = tree.twin[above]
        filled += 1
    _keep_message(tree.twin[above], data, tree, work)
    for k in range(filled - 1, -1, -1):
        collect(work.stack[k], data, tree)
        _keep_message(work.stack[k], data, tree, work)


@inner_kernel
def regraft(h, log_likelihood, chain, data, tree, work):
    """Take off the subtree at h's node and join it again anywhere; returns the log-likelihood."""
    if tree.twin[h] >= 3 * (data.n_taxa - 2):
        return log_likelihood
    port_1 = next_port(tree.twin[h])
    port_2 = next_port(port_1)
    first, second = tree.twin[port_1], tree.twin[port_2]
    merged = tree.length[port_1] + tree.length[port_2]
    stem_scale = send(h, np.int64(STEM), tree.length[h], h, data, tree, work)
    passing = chain.passing if chain.local_share > 0.0 and uniform(chain.rng) < chain.local_share else 1.0
    found = _list_grafts(first, second, merged, stem_scale, passing, chain, data, tree, work)
    t_1, t_2, internal = tree.length[port_1], tree.length[port_2], 3 * (data.n_taxa - 2)
    prior_ratio = log_split_ratio(chain.prior, t_1, t_2, first >= internal, second >= internal)
    work.log_weights[0] = np.log(merged) + chain.beta * log_likelihood + prior_ratio
    chain.counters[4] += 1
    chosen = _draw_index(work.log_weights, found, chain.rng)
    if chosen == 0:
        return log_likelihood
    chain.counters[5] += 1
    lower = work.places[chosen]
    upper, t = tree.twin[lower], tree.length[lower]
    # The two parts are not both barred, or there would be no other place.
    merged_barred, barred = np.uint8(tree.barred[first] | tree.barred[second]), tree.barred[lower]
    if uniform(chain.rng) < 0.5:
        port_1, port_2 = port_2, port_1
    link(first, second, merged, tree)
    link(port_1, upper, work.positions[chosen] * t, tree)
    link(port_2, lower, (1.0 - work.positions[chosen]) * t, tree)
    mark(first, second, merged_barred, tree)
    mark(port_1, upper, np.uint8(0), tree)
    mark(port_2, lower, barred, tree)
    _turn_path(upper, first, second, data, tree, work)
    _keep_message(lower, data, tree, work)
    collect(tree.twin[h], data, tree)
    return work.values[chosen]

"""Messages of one tree towards one edge, under any time-reversible model held at its parameters, for a Markov chain that walks
over the edges: several parts of the data, each with its own states, categories of rates and invariant sites. JC69 has
partials.py; choice.py says what each function is for, model_layout.py has the arrays.

Every node but the two at the focus keeps its *message*: P(r t) times its partial, of each category, at the other end of
the edge towards the focus. The partial of a node is the product of the messages that it gets, so that a step of the walk
costs one matrix product, and what is tried at the focus needs no transition matrix at all: in the eigenbasis of Q the
likelihood of a pattern is a sum over categories and eigenvalues of

    exp(values_k r_c t) w_c (V' D u)_k (V^-1 l)_k,

with u and l the partials of both ends and D the frequencies. These terms but for the exponentials are the *rows* of an edge.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel
from vbpi_mix.kernels.simd import LANES, LOG_TWO, splat, vload, vlog, vsum, where_positive
from vbpi_mix.phylo.sampling.kernels import any_states, four_states
from vbpi_mix.phylo.sampling.kernels.half_edges import DESCENT, STEM, next_port, node_of
from vbpi_mix.phylo.sampling.kernels.model_blocks import sum_of_products, transition_matrices
from vbpi_mix.phylo.sampling.kernels.model_layout import (
    HeldTree,
    HeldWork,
    Place,
    constant_share,
    down_slot,
    end_of,
    part_of,
    stem_slot,
    with_invariant,
)

_send_four, _rows_four, _graft_four = four_states.send_part, four_states.rows_part, four_states.graft_part
_send_any, _rows_any, _graft_any = any_states.send_part, any_states.rows_part, any_states.graft_part


@kernel
def tree_of(trees, c):
    """The tree of chain c, in place."""
    return HeldTree(
        trees.twin[c], trees.length[c], trees.message[c], trees.exponent[c], trees.matrix[c], trees.matrix_length[c],
        trees.scratch[c], trees.barred[c],
    )  # fmt: skip


@kernel
def work_of(work, c):
    """The memory of chain c, in place."""
    return HeldWork(
        work.rows[c], work.row_exponent[c], work.decay[c], work.stack[c], work.up[c], work.places[c], work.positions[c],
        work.values[c], work.log_weights[c],
    )  # fmt: skip


@kernel
def _fill_matrices(t, data, tree, at):
    """P(r t) of each category of each part, at a place in tree.matrix."""
    for g in range(data.parts.shape[0]):
        part = part_of(data, g)
        transition_matrices(
            t, data.speeds, part.speeds_at, data.vectors, data.inverse, part.square_at, part.states, part.categories,
            tree.matrix, at + part.squares_at,
        )  # fmt: skip


@kernel
def _matrices_of_edge(h, data, tree):
    """Where the matrices of h's edge stand in tree.matrix; computed if its length is not the one they are of."""
    edge = min(h, tree.twin[h])
    if tree.matrix_length[edge] != tree.length[h]:
        _fill_matrices(tree.length[h], data, tree, edge * data.squares)
        tree.matrix_length[edge] = tree.length[h]
    return edge * data.squares


@kernel
def collect(h, data, tree):
    """Nothing: the partial of a node is the product of messages."""


@kernel
def send(h, purpose, t, node, data, tree, work):
    """The message of the node at h, over its edge or one of length t: to its own slot, the stem's or that above `node`."""
    n, at, end = data.n_taxa, tree.length.shape[0] * data.squares, end_of(h, data, tree)
    slot = end.node
    if purpose == DESCENT:
        slot = down_slot(node, n)
        _fill_matrices(t, data, tree, at)
    else:
        at = _matrices_of_edge(h, data, tree)
        if purpose == STEM:
            slot = stem_slot(n)
    for g in range(data.parts.shape[0]):
        part = part_of(data, g)
        if part.states == 4:
            _send_four(part, end, at, slot, data, tree)
        else:
            _send_any(part, end, at, slot, data, tree)
    return 0.0


@kernel
def _exchange(h, arrangement, tree):
    """Exchange what stands beyond the second port at h's node and the first (1) or second (2) at the other end, and no more."""
    b, c = next_port(next_port(h)), next_port(tree.twin[h])
    if arrangement == 2:
        c = next_port(c)
    tree.twin[b], tree.twin[c] = tree.twin[c], tree.twin[b]


@kernel
def fill_rows(h, arrangement, data, tree, work):
    """Rows of the edge of h, from the messages that its ends get; returns the log of their factor."""
    if arrangement > 0:
        _exchange(h, arrangement, tree)
    near, far = end_of(h, data, tree), end_of(tree.twin[h], data, tree)
    rows_at = data.width if arrangement > 0 else 0
    total = splat(0.0)
    for g in range(data.parts.shape[0]):
        part = part_of(data, g)
        if part.states == 4:
            total = total + _rows_four(part, near, far, rows_at, data, tree, work)
        else:
            total = total + _rows_any(part, near, far, rows_at, data, tree, work)
    if arrangement > 0:
        _exchange(h, arrangement, tree)
    return LOG_TWO * vsum(total)


@kernel
def _log_recorded(g, constants, data):
    """Sites of part g times the log of the share of patterns that are recorded, if only variable ones are."""
    return data.sites[g] * np.log(max(1e-300, 1.0 - vsum(constants)))


@kernel
def edge_log_likelihood(arrangement, t, data, work):
    """Log-likelihood, but for the factor of the rows, with length t at the focus."""
    slot_at = data.width if arrangement > 0 else 0
    for k in range(data.speeds.shape[0]):
        work.decay[k] = np.exp(data.speeds[k] * t)
    total, recorded = splat(0.0), 0.0
    for g in range(data.parts.shape[0]):
        part = part_of(data, g)
        count, constants = part.categories * part.states, splat(0.0)
        for j in range(part.blocks):
            place = (part.first + j) * LANES
            at = slot_at + part.at + j * count * LANES
            likelihood = sum_of_products(work.decay, part.speeds_at, work.rows, at, count)
            exponent = vload(work.row_exponent, place)
            likelihood = with_invariant(likelihood, exponent, place, part, data.invariant)
            weights = vload(data.weights, place)
            total = total + weights * where_positive(weights, vlog(likelihood))
            constants = constants + constant_share(likelihood, exponent, place, j, part, data.constant)
        if part.constant_from < part.blocks:
            recorded += _log_recorded(g, constants, data)
    return vsum(total) - recorded


@kernel
def graft_log_likelihood(graft, data, tree, work):
    """Log-likelihood with the stem joined at a place, given what the node above it gets from above.

    What the node below gets from there, over the whole edge, goes to its own slot if it is internal.
    """
    n, below = data.n_taxa, tree.twin[graft.port]
    end, upper_at = end_of(below, data, tree), tree.length.shape[0] * data.squares
    above, beside = down_slot(node_of(graft.port, n), n), node_of(tree.twin[graft.sister], n)
    edge_at, down, lower_at = 0, 0, upper_at + data.squares
    if not end.taxon:
        edge_at, down = _matrices_of_edge(below, data, tree), down_slot(end.node, n)
    spot = Place(above, beside, end, down, stem_slot(n), edge_at, upper_at, lower_at)
    _fill_matrices(graft.t_upper, data, tree, upper_at)
    _fill_matrices(graft.t_lower, data, tree, lower_at)
    total, recorded = splat(0.0), 0.0
    for g in range(data.parts.shape[0]):
        part = part_of(data, g)
        if part.states == 4:
            value, constants = _graft_four(part, spot, data, tree)
        else:
            value, constants = _graft_any(part, spot, data, tree)
        total = total + value
        if part.constant_from < part.blocks:
            recorded += _log_recorded(g, constants, data)
    return vsum(total) - recorded

"""Partial likelihoods of one tree as seen from one edge, under JC69, for a Markov chain that walks over the
edges. Other models have the same functions in model_partials.py; choice.py says which a chain calls, and what each is for.

The chain stands on an edge, its *focus*. Every internal node keeps one partial, that of the subtree on the
side away from the focus. A step to a neighbouring edge turns one node round, so it costs one partial,
whatever the size of the tree; and a change at the focus is evaluated from the partials around it, with
nothing stored before it is accepted.

Layout (nodes and half-edges: head of half_edges.py)
    partial      float64 [(n-2) * 4 * P], of each internal node P/8 vectors of 8 patterns for each of 4
                 states; P counts the padding
    log_scale    float64 [2n-2] sum over patterns of weight times the logarithm of what the partial was
                 divided by, over the whole subtree; 0 at taxa
    rows         float64 [4 * P], for the focus edge: likelihoods are exp(-4t/3) rows[0] + (1 - exp(-4t/3))
                 rows[1 + k] for arrangement k of the four subtrees around it

The patterns are PackedPatterns (models/kernels/jukes_cantor.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inline_kernel, kernel
from vbpi_mix.kernels.simd import (
    LANES,
    LOG_TWO,
    binary_exponent,
    inverse_power_of_two,
    splat,
    vload,
    vlog,
    vmax,
    vstore,
    vsum,
    where_bit,
)
from vbpi_mix.phylo.models.kernels.jukes_cantor import BLOCK, VECTORS
from vbpi_mix.phylo.models.kernels.transitions import off_diagonal
from vbpi_mix.phylo.sampling.kernels.half_edges import ALONE, FOCUS, STEM, next_port, node_of


class Tree(NamedTuple):
    """A tree and its partials (head of this file)."""

    twin: np.ndarray
    length: np.ndarray
    partial: np.ndarray
    log_scale: np.ndarray
    barred: np.ndarray


class Work(NamedTuple):
    """Memory of one chain that no move leaves anything in.

    rows: head of this file; down: partials as in `partial`, of what lies above a node; down_scale float64 [2n-2]; stem
    float64 [4 * P]; stack, up int64 [H]; of the places for a graft: places int64 (half-edge at the lower end of the
    edge), positions, values, log_weights float64, all [2n].
    """

    rows: np.ndarray
    down: np.ndarray
    down_scale: np.ndarray
    stem: np.ndarray
    stack: np.ndarray
    up: np.ndarray
    places: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    log_weights: np.ndarray


_A, _C, _G, _T = (np.uint8(x) for x in (1, 2, 4, 8))
_STATES = 4
_NODE_VECTOR = _STATES * LANES


@kernel
def tree_of(trees, c):
    """The tree of chain c, in place."""
    return Tree(trees.twin[c], trees.length[c], trees.partial[c], trees.log_scale[c], trees.barred[c])


@kernel
def work_of(work, c):
    """The memory of chain c, in place."""
    return Work(
        work.rows[c], work.down[c], work.down_scale[c], work.stem[c], work.stack[c], work.up[c], work.places[c],
        work.positions[c], work.values[c], work.log_weights[c],
    )  # fmt: skip


@kernel
def _transition(t):
    """e and f of P(t) = e I + f J, by one exponential: here likelihoods are compared, not differentiated."""
    f = off_diagonal(t)
    return 1.0 - 4.0 * f, f


@inline_kernel
def _place(v, j, data):
    """Where vector j of the partial of an internal node begins."""
    return (v - data.n_taxa) * _STATES * data.weights.shape[0] + j * _NODE_VECTOR


@kernel
def _partial(v, j, data, partial):
    """Vector j of the partial of a node: one vector for each state."""
    if v < data.n_taxa:
        code = vload(data.codes, ((j // VECTORS) * data.n_taxa + v) * BLOCK + (j % VECTORS) * LANES)
        one, zero = splat(1.0), splat(0.0)
        x0, x1 = where_bit(code, _A, one, zero), where_bit(code, _C, one, zero)
        x2, x3 = where_bit(code, _G, one, zero), where_bit(code, _T, one, zero)
    else:
        at = _place(v, j, data)
        x0, x1 = vload(partial, at), vload(partial, at + LANES)
        x2, x3 = vload(partial, at + 2 * LANES), vload(partial, at + 3 * LANES)
    return x0, x1, x2, x3


@kernel
def _message(v, j, data, partial, e, shared):
    """P(t) applied to vector j of the partial of a node."""
    if v < data.n_taxa:
        at = ((j // VECTORS) * data.n_taxa + v) * BLOCK + (j % VECTORS) * LANES
        no = shared * vload(data.counts, at)
        yes = no + e
        code = vload(data.codes, at)
        m0, m1 = where_bit(code, _A, yes, no), where_bit(code, _C, yes, no)
        m2, m3 = where_bit(code, _G, yes, no), where_bit(code, _T, yes, no)
    else:
        at = _place(v, j, data)
        x0, x1 = vload(partial, at), vload(partial, at + LANES)
        x2, x3 = vload(partial, at + 2 * LANES), vload(partial, at + 3 * LANES)
        no = shared * ((x0 + x1) + (x2 + x3))
        m0, m1, m2, m3 = no + e * x0, no + e * x1, no + e * x2, no + e * x3
    return m0, m1, m2, m3


@inline_kernel
def _store(target, at, x0, x1, x2, x3):
    vstore(target, at, x0)
    vstore(target, at + LANES, x1)
    vstore(target, at + 2 * LANES, x2)
    vstore(target, at + 3 * LANES, x3)


@kernel
def collect(h, data, tree):
    """Partial of the internal node at half-edge h, of all that lies away from h's edge."""
    g1 = next_port(h)
    g2 = next_port(g1)
    v, a, b = node_of(h, data.n_taxa), node_of(tree.twin[g1], data.n_taxa), node_of(tree.twin[g2], data.n_taxa)
    decay_a, shared_a = _transition(tree.length[g1])
    decay_b, shared_b = _transition(tree.length[g2])
    ea, sa, eb, sb = splat(decay_a), splat(shared_a), splat(decay_b), splat(shared_b)
    removed = splat(0.0)
    for j in range(data.weights.shape[0] // LANES):
        a0, a1, a2, a3 = _message(a, j, data, tree.partial, ea, sa)
        b0, b1, b2, b3 = _message(b, j, data, tree.partial, eb, sb)
        x0, x1, x2, x3 = a0 * b0, a1 * b1, a2 * b2, a3 * b3
        largest = vmax(vmax(x0, x1), vmax(x2, x3))
        factor = inverse_power_of_two(largest)
        removed = removed + vload(data.weights, j * LANES) * binary_exponent(largest)
        _store(tree.partial, _place(v, j, data), x0 * factor, x1 * factor, x2 * factor, x3 * factor)
    tree.log_scale[v] = tree.log_scale[a] + tree.log_scale[b] + LOG_TWO * vsum(removed)


@kernel
def send(h, purpose, t, node, data, tree, work):
    """For the focus nothing: messages are made of partials when they are needed.

    As a stem: P(t) applied to the partial of the node at h, t the length of h's edge, to work.stem; returns its scale. For a
    descent: the partial itself, to the place of internal `node` in work.down, as what lies above it.
    """
    if purpose == FOCUS:
        return 0.0
    v = node_of(h, data.n_taxa)
    if purpose == STEM:
        decay_v, shared_v = _transition(tree.length[h])
        e, s = splat(decay_v), splat(shared_v)
        for j in range(data.weights.shape[0] // LANES):
            x0, x1, x2, x3 = _message(v, j, data, tree.partial, e, s)
            _store(work.stem, j * _NODE_VECTOR, x0, x1, x2, x3)
    else:
        for j in range(data.weights.shape[0] // LANES):
            x0, x1, x2, x3 = _partial(v, j, data, tree.partial)
            _store(work.down, _place(node, j, data), x0, x1, x2, x3)
        work.down_scale[node] = tree.log_scale[v]
    return tree.log_scale[v]


@kernel
def _fill_two_rows(h, data, tree, work):
    """Rows 0 and 1 of the edge of h; returns the scale of both ends together."""
    u, v, rows = node_of(h, data.n_taxa), node_of(tree.twin[h], data.n_taxa), work.rows
    width = data.weights.shape[0]
    for j in range(width // LANES):
        u0, u1, u2, u3 = _partial(u, j, data, tree.partial)
        v0, v1, v2, v3 = _partial(v, j, data, tree.partial)
        sums = ((u0 + u1) + (u2 + u3)) * ((v0 + v1) + (v2 + v3))
        vstore(rows, j * LANES, splat(0.25) * ((u0 * v0 + u1 * v1) + (u2 * v2 + u3 * v3)))
        vstore(rows, width + j * LANES, splat(0.0625) * sums)
    return tree.log_scale[u] + tree.log_scale[v]


@kernel
def _fill_four_rows(h, data, tree, work):
    """Rows of an internal edge: of the arrangement there is (ab|cd), and of (ac|bd) and (ad|cb).

    h: a half of the edge; a, b are the neighbours of its node, in the order of the ports after h, and c, d
    those at the other end. Under JC69 the three differ in one sum only. Returns the scale of the four
    together.
    """
    width, n, rows = data.weights.shape[0], data.n_taxa, work.rows
    ha, hc = next_port(h), next_port(tree.twin[h])
    hb, hd = next_port(ha), next_port(hc)
    a, b = node_of(tree.twin[ha], n), node_of(tree.twin[hb], n)
    c, d = node_of(tree.twin[hc], n), node_of(tree.twin[hd], n)
    decay_a, shared_a = _transition(tree.length[ha])
    decay_b, shared_b = _transition(tree.length[hb])
    decay_c, shared_c = _transition(tree.length[hc])
    decay_d, shared_d = _transition(tree.length[hd])
    ea, sa, eb, sb = splat(decay_a), splat(shared_a), splat(decay_b), splat(shared_b)
    ec, sc, ed, sd = splat(decay_c), splat(shared_c), splat(decay_d), splat(shared_d)
    sixteenth = splat(0.0625)
    for j in range(width // LANES):
        a0, a1, a2, a3 = _message(a, j, data, tree.partial, ea, sa)
        b0, b1, b2, b3 = _message(b, j, data, tree.partial, eb, sb)
        c0, c1, c2, c3 = _message(c, j, data, tree.partial, ec, sc)
        d0, d1, d2, d3 = _message(d, j, data, tree.partial, ed, sd)
        p0, p1, p2, p3 = a0 * b0, a1 * b1, a2 * b2, a3 * b3
        q0, q1, q2, q3 = c0 * d0, c1 * d1, c2 * d2, c3 * d3
        at = j * LANES
        vstore(rows, at, splat(0.25) * ((p0 * q0 + p1 * q1) + (p2 * q2 + p3 * q3)))
        sums = ((p0 + p1) + (p2 + p3)) * ((q0 + q1) + (q2 + q3))
        vstore(rows, width + at, sixteenth * sums)
        left = (a0 * c0 + a1 * c1) + (a2 * c2 + a3 * c3)
        right = (b0 * d0 + b1 * d1) + (b2 * d2 + b3 * d3)
        vstore(rows, 2 * width + at, sixteenth * (left * right))
        left = (a0 * d0 + a1 * d1) + (a2 * d2 + a3 * d3)
        right = (b0 * c0 + b1 * c1) + (b2 * c2 + b3 * c3)
        vstore(rows, 3 * width + at, sixteenth * (left * right))
    return tree.log_scale[a] + tree.log_scale[b] + tree.log_scale[c] + tree.log_scale[d]


@kernel
def fill_rows(h, arrangement, data, tree, work):
    """Rows of the edge of h: those of another arrangement come with those of the one there is, unless it is alone.

    Returns the scale.
    """
    if arrangement > 0:
        return 0.0
    internal = 3 * (data.n_taxa - 2)
    if arrangement == ALONE or h >= internal or tree.twin[h] >= internal:
        return _fill_two_rows(h, data, tree, work)
    return _fill_four_rows(h, data, tree, work)


@kernel
def edge_log_likelihood(arrangement, t, data, work):
    """Log-likelihood, but for the scale, with length t at the focus and one of the arrangements around it."""
    rows, weights = work.rows, data.weights
    width = weights.shape[0]
    decay_t, shared_t = _transition(t)
    e, s = splat(decay_t), splat(4.0 * shared_t)
    other = (1 + arrangement) * width
    total = splat(0.0)
    for j in range(width // LANES):
        at = j * LANES
        likelihood = e * vload(rows, at) + s * vload(rows, other + at)
        total = total + vload(weights, at) * vlog(likelihood)
    return vsum(total)


@kernel
def graft_log_likelihood(graft, data, tree, work):
    """Log-likelihood, but for the scale of the grafted subtree, with the stem of work.stem joined at a place.

    work.down holds the partial of all that lies above y, seen from y's parent. Where x is internal, the partial of all
    that lies above x, seen from y, goes to the place of x in it; its scale goes to work.down_scale[x] in any case.
    """
    y, t_y, t_upper, t_lower = node_of(graft.port, data.n_taxa), graft.t_y, graft.t_upper, graft.t_lower
    x, store = node_of(tree.twin[graft.port], data.n_taxa), tree.twin[graft.port] < 3 * (data.n_taxa - 2)
    sister, t_sister = node_of(tree.twin[graft.sister], data.n_taxa), tree.length[graft.sister]
    down, down_scale, stem = work.down, work.down_scale, work.stem
    decay_y, shared_y = _transition(t_y)
    decay_z, shared_z = _transition(t_sister)
    decay_u, shared_u = _transition(t_upper)
    decay_l, shared_l = _transition(t_lower)
    ey, sy, ez, sz = splat(decay_y), splat(shared_y), splat(decay_z), splat(shared_z)
    eu, su, el, sl = splat(decay_u), splat(shared_u), splat(decay_l), splat(shared_l)
    total, removed = splat(0.0), splat(0.0)
    for j in range(data.weights.shape[0] // LANES):
        y0, y1, y2, y3 = _message(y, j, data, down, ey, sy)
        z0, z1, z2, z3 = _message(sister, j, data, tree.partial, ez, sz)
        x0, x1, x2, x3 = y0 * z0, y1 * z1, y2 * z2, y3 * z3
        largest = vmax(vmax(x0, x1), vmax(x2, x3))
        factor = inverse_power_of_two(largest)
        weight = vload(data.weights, j * LANES)
        removed = removed + weight * binary_exponent(largest)
        x0, x1, x2, x3 = x0 * factor, x1 * factor, x2 * factor, x3 * factor
        if store:
            _store(down, _place(x, j, data), x0, x1, x2, x3)
        no = su * ((x0 + x1) + (x2 + x3))
        l0, l1, l2, l3 = _message(x, j, data, tree.partial, el, sl)
        s0, s1, s2, s3 = _partial(data.n_taxa, j, data, stem)
        there = (no + eu * x0) * l0 * s0 + (no + eu * x1) * l1 * s1
        there = there + ((no + eu * x2) * l2 * s2 + (no + eu * x3) * l3 * s3)
        total = total + weight * vlog(splat(0.25) * there)
    down_scale[x] = down_scale[y] + tree.log_scale[sister] + LOG_TWO * vsum(removed)
    return vsum(total) + down_scale[x] + tree.log_scale[x]


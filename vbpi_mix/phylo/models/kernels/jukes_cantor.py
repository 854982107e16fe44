"""Log-likelihoods of trees under JC69, and the gradient of every branch length, by pruning both ways.

Layouts (flat arrays, blocks of B = BLOCK patterns; offsets are unsigned, because a signed index costs a wrap-around
test at every access):

    codes    uint8   [blocks, n, B]     state sets of the taxa (A=1, C=2, G=4, T=8)
    counts   float64 [blocks, n, B]     number of states in each set
    weights  float64 [blocks * B]       pattern weights, zero in the padding
    message  float64 [n-2, 4, B]        of an internal node: what it sends up its edge, P(t) l; on the way down
                                        overwritten by what the rest of the tree sends to it, P(t) u
    below    float64 [n-2, B]           sum over states of the partials l below an edge
    scale    float64 [n-2, B]           the power of two by which a rescaled node's partials were multiplied

Under JC69, P(t) = e I + (1-e)/4 J with e = exp(-4t/3), so that P(t) x = e x + (1-e)/4 sum(x): no 4x4 product. And
P'(t) = (4/3) (J/4 - P(t)), so with u the partials above an edge and l those below,

    dL/dt = (4/3) (sum(u) sum(l) / 4 - L):

the gradient needs only the two sums, whatever the branch length (docs/derivations-likelihood.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, inline_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import (
    LANES,
    LOG_TWO,
    binary_exponent,
    divide_or_zero,
    inverse_power_of_two,
    splat,
    vload,
    vlog,
    vmax,
    vstore,
    vsum,
    where_bit,
    where_positive,
)
from vbpi_mix.phylo.models.kernels.pruning import aligned, mark_rescaled
from vbpi_mix.phylo.models.kernels.transitions import transition

VECTORS = 4
BLOCK = VECTORS * LANES
# Partials shrink by at most about 1e-9 a taxon at the shortest branches met; 16 to 31 taxa between rescalings keep
# them far above the smallest normal float64.
TAXA_BETWEEN_RESCALINGS = 16

_U = np.uint64
_V, _B, _B2, _B3, _B4 = (_U(x) for x in (LANES, BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK))
_ZERO, _ONE, _TWO, _THREE = (_U(x) for x in range(4))
_A, _C, _G, _T = (np.uint8(x) for x in (1, 2, 4, 8))


class PackedPatterns(NamedTuple):
    """Site patterns in blocks (head of this file), padded with missing data of weight 0."""

    n_taxa: int
    counts: np.ndarray
    codes: np.ndarray
    weights: np.ndarray


class _Block(NamedTuple):
    """One block of patterns: number of taxa, where its taxa begin in counts and codes, and its own weights [B]."""

    n: np.uint64
    taxa_at: np.uint64
    counts: np.ndarray
    codes: np.ndarray
    weights: np.ndarray


class _Tree(NamedTuple):
    """children [n-2, 2]; of the edge above each node: (1 - e) / 4 and e, [2n-2]; which nodes are rescaled."""

    children: np.ndarray
    off_diagonals: np.ndarray
    es: np.ndarray
    rescaled: np.ndarray


class _Memory(NamedTuple):
    """What one thread works on (head of this file). relative [B]: weight over likelihood of each pattern; sums, a row of
    lanes for each node: row 0 gathers the log-likelihood, row v the gradient sum of the edge above v.
    """

    message: np.ndarray
    below: np.ndarray
    scale: np.ndarray
    relative: np.ndarray
    sums: np.ndarray


@inline_kernel
def _taxon_message(counts, codes, offset, off_diagonal, e):
    """P(t) applied to the 0/1 partials of a taxon."""
    no = off_diagonal * vload(counts, offset)
    yes = no + e
    code = vload(codes, offset)
    return (
        where_bit(code, _A, yes, no),
        where_bit(code, _C, yes, no),
        where_bit(code, _G, yes, no),
        where_bit(code, _T, yes, no),
    )


@inline_kernel
def _stored_message(message, offset):
    return (
        vload(message, offset),
        vload(message, offset + _B),
        vload(message, offset + _B2),
        vload(message, offset + _B3),
    )


@inline_kernel
def _store_propagated(message, offset, x0, x1, x2, x3, total, off_diagonal, e):
    """Store P(t) x for partials x with sum `total`."""
    shared = off_diagonal * total
    vstore(message, offset, shared + e * x0)
    vstore(message, offset + _B, shared + e * x1)
    vstore(message, offset + _B2, shared + e * x2)
    vstore(message, offset + _B3, shared + e * x3)


@inline_kernel
def _upward(v, a, b, block, tree, memory):
    """Partials of internal node v from its children a and b, and the message up the edge above v."""
    n, taxa_at, counts, codes, weights = block
    _, off_diagonals, es, rescaled = tree
    message, below, scale, _, sums = memory
    off_a, e_a = splat(off_diagonals[a]), splat(es[a])
    off_b, e_b = splat(off_diagonals[b]), splat(es[b])
    off_v, e_v = splat(off_diagonals[v]), splat(es[v])
    for i in range(VECTORS):
        p = _U(i) * _V
        if a < n:
            a0, a1, a2, a3 = _taxon_message(counts, codes, taxa_at + a * _B + p, off_a, e_a)
        else:
            a0, a1, a2, a3 = _stored_message(message, (a - n) * _B4 + p)
        if b < n:
            b0, b1, b2, b3 = _taxon_message(counts, codes, taxa_at + b * _B + p, off_b, e_b)
        else:
            b0, b1, b2, b3 = _stored_message(message, (b - n) * _B4 + p)
        l0, l1, l2, l3 = a0 * b0, a1 * b1, a2 * b2, a3 * b3
        if rescaled[v]:
            largest = vmax(vmax(l0, l1), vmax(l2, l3))
            factor = inverse_power_of_two(largest)
            vstore(scale, (v - n) * _B + p, factor)
            l0, l1, l2, l3 = l0 * factor, l1 * factor, l2 * factor, l3 * factor
            removed = vload(weights, p) * binary_exponent(largest)
            vstore(sums, _ZERO, vload(sums, _ZERO) + removed * splat(LOG_TWO))
        total = (l0 + l1) + (l2 + l3)
        vstore(below, (v - n) * _B + p, total)
        _store_propagated(message, (v - n) * _B4 + p, l0, l1, l2, l3, total, off_v, e_v)


@inline_kernel
def _turn(top, block, tree, memory):
    """Site likelihoods at taxon 0; relative = weight / site likelihood; the message down to the top node.

    sums lane rows: row 0 gathers the log-likelihood, row v the sum of relative * sum(u) * sum(l) of the edge above v.
    """
    n, taxa_at, counts, codes, weights = block
    _, off_diagonals, es, _ = tree
    message, below, _, relative, sums = memory
    off_top, e_top = splat(off_diagonals[top]), splat(0.25 * es[top])
    quarter, one, zero = splat(0.25), splat(1.0), splat(0.0)
    at = (top - n) * _B4
    gradient, log_likelihood = vload(sums, top * _V), vload(sums, _ZERO)
    for i in range(VECTORS):
        p = _U(i) * _V
        code = vload(codes, taxa_at + p)
        x0 = where_bit(code, _A, one, zero)
        x1 = where_bit(code, _C, one, zero)
        x2 = where_bit(code, _G, one, zero)
        x3 = where_bit(code, _T, one, zero)
        m0, m1, m2, m3 = _stored_message(message, at + p)
        likelihood = quarter * (x0 * m0 + x1 * m1 + x2 * m2 + x3 * m3)
        weight = vload(weights, p)
        log_likelihood = log_likelihood + weight * where_positive(weight, vlog(likelihood))
        weight = divide_or_zero(weight, likelihood)
        vstore(relative, p, weight)
        total = quarter * vload(counts, taxa_at + p)
        gradient = gradient + total * vload(below, (top - n) * _B + p) * weight
        _store_propagated(message, at + p, x0, x1, x2, x3, total, off_top, e_top)
    vstore(sums, top * _V, gradient)
    vstore(sums, _ZERO, log_likelihood)


@inline_kernel
def _downward(v, a, b, block, tree, memory):
    """From the message down to v: the gradient sums of both child edges, and the messages down to both children."""
    n, taxa_at, counts, codes, _ = block
    _, off_diagonals, es, rescaled = tree
    message, below, scale, relative, sums = memory
    off_a, e_a = splat(off_diagonals[a]), splat(es[a])
    off_b, e_b = splat(off_diagonals[b]), splat(es[b])
    gradient_a, gradient_b = vload(sums, a * _V), vload(sums, b * _V)
    for i in range(VECTORS):
        p = _U(i) * _V
        d0, d1, d2, d3 = _stored_message(message, (v - n) * _B4 + p)
        if rescaled[v]:
            factor = vload(scale, (v - n) * _B + p)
            d0, d1, d2, d3 = d0 * factor, d1 * factor, d2 * factor, d3 * factor
        weight = vload(relative, p)
        if a < n:
            a0, a1, a2, a3 = _taxon_message(counts, codes, taxa_at + a * _B + p, off_a, e_a)
        else:
            a0, a1, a2, a3 = _stored_message(message, (a - n) * _B4 + p)
        if b < n:
            b0, b1, b2, b3 = _taxon_message(counts, codes, taxa_at + b * _B + p, off_b, e_b)
        else:
            b0, b1, b2, b3 = _stored_message(message, (b - n) * _B4 + p)
        u0, u1, u2, u3 = d0 * b0, d1 * b1, d2 * b2, d3 * b3
        total = (u0 + u1) + (u2 + u3)
        if a < n:
            gradient_a = gradient_a + total * (vload(counts, taxa_at + a * _B + p) * weight)
        else:
            gradient_a = gradient_a + total * (vload(below, (a - n) * _B + p) * weight)
            _store_propagated(message, (a - n) * _B4 + p, u0, u1, u2, u3, total, off_a, e_a)
        u0, u1, u2, u3 = d0 * a0, d1 * a1, d2 * a2, d3 * a3
        total = (u0 + u1) + (u2 + u3)
        if b < n:
            gradient_b = gradient_b + total * (vload(counts, taxa_at + b * _B + p) * weight)
        else:
            gradient_b = gradient_b + total * (vload(below, (b - n) * _B + p) * weight)
            _store_propagated(message, (b - n) * _B4 + p, u0, u1, u2, u3, total, off_b, e_b)
    vstore(sums, a * _V, gradient_a)
    vstore(sums, b * _V, gradient_b)


@kernel
def _add_block(block, tree, memory, gradient):
    """Add one block of patterns to the sums."""
    n, children = block.n, tree.children
    internal = n - _TWO
    top = n + internal - _ONE
    for k in range(internal):
        a, b = _U(children[k, 0]), _U(children[k, 1])
        _upward(n + k, a, b, block, tree, memory)
    _turn(top, block, tree, memory)
    if not gradient:
        return
    for back in range(internal):
        k = internal - _ONE - back
        a, b = _U(children[k, 0]), _U(children[k, 1])
        _downward(n + k, a, b, block, tree, memory)


@kernel
@allocates
def log_likelihood_batch(first, last, children, lengths, patterns, gradient, log_likelihood, length_gradient):
    """Log-likelihoods of trees first ... last-1, and where `gradient` their derivatives with respect to branch lengths.

    children int32 [T, n-2, 2]; lengths float64 [T, E]; PackedPatterns; results are written to log_likelihood [T] and
    length_gradient [T, E] (untouched where not `gradient`).
    """
    _, counts, codes, weights = patterns
    n = children.shape[1] + 2
    nodes = 2 * n - 2
    blocks = weights.shape[0] // BLOCK
    sums = aligned(nodes * LANES)
    memory = _Memory(
        aligned((n - 2) * 4 * BLOCK), aligned((n - 2) * BLOCK), aligned((n - 2) * BLOCK), aligned(np.int64(BLOCK)), sums
    )
    off_diagonals, es = np.zeros(nodes), np.zeros(nodes)
    pending, rescaled = np.zeros(nodes, np.int64), np.zeros(nodes, np.bool_)
    total_weight = weights.sum()
    for t in range(first, last):
        for v in range(1, nodes):
            es[v], off_diagonals[v] = transition(lengths[t, v - 1])
        mark_rescaled(children[t], n, TAXA_BETWEEN_RESCALINGS, pending, rescaled)
        sums[:] = 0.0
        tree = _Tree(children[t], off_diagonals, es, rescaled)
        for k in range(blocks):
            at = weights[k * BLOCK : (k + 1) * BLOCK]
            _add_block(_Block(_U(n), _U(k * n * BLOCK), counts, codes, at), tree, memory, gradient)
        log_likelihood[t] = vsum(vload(sums, _ZERO))
        if gradient:
            for v in range(1, nodes):
                length_gradient[t, v - 1] = vsum(vload(sums, _U(v) * _V)) / 3.0 - 4.0 / 3.0 * total_weight


@parallel_kernel
def log_likelihood_in_parallel(chunks, children, lengths, patterns, gradient, log_likelihood, length_gradient):
    """log_likelihood_batch of all trees, in `chunks` runs at once."""
    trees = children.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * trees // chunks, (chunk + 1) * trees // chunks
        log_likelihood_batch(first, last, children, lengths, patterns, gradient, log_likelihood, length_gradient)

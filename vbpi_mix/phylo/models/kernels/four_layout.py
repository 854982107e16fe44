"""Arrays of the kernels of four states (four_states.py), and arithmetic of the four vectors of a vector of patterns.

Layouts (flat arrays, blocks of B = BLOCK patterns, lanes along patterns, unsigned offsets as in jukes_cantor.py;
C categories):

    codes        uint8   [blocks, n, B]          state sets of the taxa, bit k for state k
    common       uint8   [blocks * B]            states that every taxon may have
    weights      float64 [blocks * B]            pattern weights, zero in the padding
    ascertained  float64 [blocks * B]            1 for the constant patterns that +ASC adds at the end, else 0
    message      float64 [C, n-2, 4, B]          of an internal node: what it sends up its edge, P l; on the way down
                                                 overwritten by what the rest of the tree sends to it, over frequencies
    scale        float64 [C, n-2, B]             the power of two by which a rescaled node's partials were multiplied
    exponent     float64 [C, B]                  of the power of two that was taken out of a category's likelihood
    sums_of      float64 [C, N, 4, 4, LANES]     sum of l_j u_i, j before i, of the edge above each node, lane by lane; N is
                                                 the 2n-2 nodes filled up to whole groups of eight with zeros

A category is pruned by itself, so that what one sweep works on stays in the cache; each keeps the exponents of its
own rescalings, and the root puts them together. The partials l of a node are the product of its children's messages,
computed anew on the way down, so that one array holds all that a node has to keep.

A block has room for B patterns, but a part of the data may fill only some of its vectors: no more are worked on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inline_kernel
from vbpi_mix.kernels.simd import LANES, lookup, splat, vload, vstore

VECTORS = 8
BLOCK = VECTORS * LANES

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO, _THREE, _FOUR = (_U(x) for x in range(5))
# Rows of lanes in `sums`, and where those of a matrix of cross-products end.
VALUE, CONSTANT, INVARIANT, FREQUENCIES, WEIGHTS = _ZERO, _V, _TWO * _V, _THREE * _V, _U(7) * _V
SUMS = _U(16) * _V


class Block(NamedTuple):
    """One block of patterns: number of taxa, vectors of patterns, where its taxa begin in codes, and where it begins in the
    others. first: whether it is the first that adds to the sums of edges, which then need not be emptied before.
    """

    n: np.uint64
    vectors: np.uint64
    first: bool
    taxa_at: np.uint64
    at: np.uint64
    codes: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


class Tree(NamedTuple):
    """children [n-2, 2]; transitions (four_edges.py); which nodes are rescaled; of the model:
    frequencies [4], weights of the categories [C], share of invariant sites.
    """

    children: np.ndarray
    transitions: np.ndarray
    rescaled: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray
    invariant: float


class Memory(NamedTuple):
    """What one thread works on (head of this file).

    message goes on with the messages of the taxa (four_edges.py), from `taxa` on, and three `places` [4, B] for the downward
    step: the partials of a node, and what comes down to a child that is a taxon. All in one array: with a choice of
    two, numba counts references to both in the innermost loop. likelihood [C, B]: of a category, in the pattern's own
    scale; sums: rows of lanes (VALUE and so on).
    """

    taxa: np.uint64
    places: np.uint64
    message: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    likelihood: np.ndarray
    sums_of: np.ndarray
    sums: np.ndarray


@inline_kernel
def whole_groups(nodes):
    """The number of nodes filled up to whole groups, whose cross-products are taken together."""
    return (nodes + _V - _ONE) // _V * _V


@inline_kernel
def load(array, at, step):
    """Four vectors, `step` apart."""
    return vload(array, at), vload(array, at + step), vload(array, at + _TWO * step), vload(array, at + _THREE * step)


@inline_kernel
def store(array, at, step, x):
    """Store four vectors, `step` apart."""
    vstore(array, at, x[0])
    vstore(array, at + step, x[1])
    vstore(array, at + _TWO * step, x[2])
    vstore(array, at + _THREE * step, x[3])


@inline_kernel
def product(x, y):
    """Of each of four vectors with its partner."""
    return x[0] * y[0], x[1] * y[1], x[2] * y[2], x[3] * y[3]


@inline_kernel
def times(x, factor):
    """Four vectors, each times the same."""
    return x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor


@inline_kernel
def column(transitions, at):
    """What state j below is worth to each state above: column j of P, at row j of its transpose."""
    return (
        splat(transitions[at]),
        splat(transitions[at + _ONE]),
        splat(transitions[at + _TWO]),
        splat(transitions[at + _THREE]),
    )


@inline_kernel
def add_scaled(sums, x, factor):
    """Four sums, each and a vector times the same."""
    return sums[0] + x[0] * factor, sums[1] + x[1] * factor, sums[2] + x[2] * factor, sums[3] + x[3] * factor


@inline_kernel
def propagate(transitions, at, x):
    """P x."""
    m = times(column(transitions, at), x[0])
    m = add_scaled(m, column(transitions, at + _FOUR), x[1])
    m = add_scaled(m, column(transitions, at + _TWO * _FOUR), x[2])
    return add_scaled(m, column(transitions, at + _THREE * _FOUR), x[3])


@inline_kernel
def taxon_message(codes, offset, message, at):
    """P times the 0/1 partials of a taxon."""
    code = vload(codes, offset)
    return (
        lookup(message, at, code),
        lookup(message, at + _U(16), code),
        lookup(message, at + _U(32), code),
        lookup(message, at + _U(48), code),
    )

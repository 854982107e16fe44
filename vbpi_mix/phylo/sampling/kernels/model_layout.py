"""Arrays of chains under any time-reversible model held at its parameters, and what stands at the ends of an edge.

Layout (nodes and half-edges: head of half_edges.py). G parts follow each other; part g has blocks of LANES patterns, those of
weight zero at its end: padding and, with ascertainment, the constant patterns in blocks of their own. P patterns in all.
    message      float64 [(3n-3) * width], of each node [C, S, LANES] of each block of each part; after the nodes the stem of a
                 graft (stem_slot), then what each internal node gets from above in a descent (down_slot)
    exponent     float64 [(3n-3) * P]: the partial that a message is of is what was kept times 2^exponent; 0 of taxa
    matrix       float64 [(H + 2) * squares], P of each part [C, S, S] at half-edge min(h, twin[h]), of the length there is in
                 matrix_length float64 [H]: whatever stands there, it is right if the length is; then two for passing use
    rows         float64 [2 * width], of the arrangement there is and of another
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inline_kernel, inner_kernel
from vbpi_mix.kernels.simd import LANES, LOG_TWO, splat, vexp, vload, vlog, vmax, where_positive
from vbpi_mix.phylo.sampling.kernels.half_edges import next_port, node_of


class Part(NamedTuple):
    """Where a part is in flat arrays.

    first: its first block among all; at: in the message of a node; tips_at: in tips; square_at: in vectors and inverse;
    squares_at: in left, right and matrices; speeds_at: in speeds and joint; invariant: 1 where some sites may be; constant_from:
    the first of its blocks that has constant patterns, `blocks` if none has.
    """

    states: int
    categories: int
    blocks: int
    first: int
    at: int
    tips_at: int
    square_at: int
    squares_at: int
    speeds_at: int
    invariant: int
    constant_from: int


class End(NamedTuple):
    """The node at a half-edge, as seen from the half-edge's own edge: whether it is a taxon, and else the nodes beyond it."""

    taxon: bool
    node: int
    first: int
    second: int


class Place(NamedTuple):
    """Where a stem is tried: the slots of what the node above it gets from above and from its other neighbour, the node below,
    the slot for what that gets from above, the slot of the stem; where matrices stand of the whole edge and of its two parts.
    """

    above: int
    beside: int
    below: End
    down: int
    stem: int
    edge_at: int
    upper_at: int
    lower_at: int


class HeldData(NamedTuple):
    """Patterns and model.

    width, squares: of all parts, of a message and of the matrices of an edge. parts: int64 [G, fields of Part]. tips: of each
    part [n, blocks, S, LANES], 1 for states that a taxon may have. weights, constant [P]: of patterns, and 1 for constant ones
    that ascertainment adds; sites [G]: sums of weights. invariant [P]: the likelihood of not changing; floor [P]: the least
    exponent beside which it still matters, minus infinity where it is 0. vectors, inverse: [S, S] of each part. speeds:
    eigenvalues times rates, [C, S] of each part; joint: weights times frequencies, the same. left, right: V' D with weights,
    and V^-1, [C, S, S] of each part.
    """

    n_taxa: int
    width: int
    squares: int
    parts: np.ndarray
    tips: np.ndarray
    weights: np.ndarray
    constant: np.ndarray
    sites: np.ndarray
    invariant: np.ndarray
    floor: np.ndarray
    vectors: np.ndarray
    inverse: np.ndarray
    speeds: np.ndarray
    joint: np.ndarray
    left: np.ndarray
    right: np.ndarray


class HeldTree(NamedTuple):
    """A tree and its messages (head of this file). scratch: room for four blocks of the largest part."""

    twin: np.ndarray
    length: np.ndarray
    message: np.ndarray
    exponent: np.ndarray
    matrix: np.ndarray
    matrix_length: np.ndarray
    scratch: np.ndarray
    barred: np.ndarray


class HeldWork(NamedTuple):
    """Memory of one chain that no move leaves anything in.

    rows: head of this file, row_exponent [P] theirs; decay: exponentials, as speeds; the rest as partials.Work.
    """

    rows: np.ndarray
    row_exponent: np.ndarray
    decay: np.ndarray
    stack: np.ndarray
    up: np.ndarray
    places: np.ndarray
    positions: np.ndarray
    values: np.ndarray
    log_weights: np.ndarray


@inline_kernel
def stem_slot(n):
    """Of the stem of a graft, in messages."""
    return 2 * n - 2


@inline_kernel
def down_slot(node, n):
    """Of what an internal node gets from above, in messages."""
    return n - 1 + node


@inner_kernel
def part_of(data, g):
    """Part g of the data."""
    row = data.parts[g]
    return Part(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10])


@inner_kernel
def end_of(h, data, tree):
    """What stands at half-edge h."""
    n, node = data.n_taxa, node_of(h, data.n_taxa)
    if h >= 3 * (n - 2):
        return End(True, node, node, node)
    port = next_port(h)
    return End(False, node, node_of(tree.twin[port], n), node_of(tree.twin[next_port(port)], n))


@inline_kernel
def tip_at(v, j, part):
    """Where block j of a taxon begins in tips."""
    return part.tips_at + (v * part.blocks + j) * part.states * LANES


@inline_kernel
def exponent_of(end, place, patterns, exponent):
    """Exponents of the partial of a node before it is scaled, of the patterns at `place`."""
    value = splat(0.0)
    if not end.taxon:
        value = vload(exponent, end.first * patterns + place) + vload(exponent, end.second * patterns + place)
    return value


@inline_kernel
def with_invariant(likelihood, exponent, place, part, invariant):
    """The likelihood over 2^exponent with that of not changing."""
    value = likelihood
    if part.invariant:
        value = value + vload(invariant, place) * vexp(exponent * splat(-LOG_TWO))
    return value


@inline_kernel
def constant_share(likelihood, exponent, place, j, part, constant):
    """The likelihoods of the constant patterns of a block, for ascertainment."""
    value = splat(0.0)
    if j >= part.constant_from:
        value = vload(constant, place) * likelihood * vexp(exponent * splat(LOG_TWO))
    return value


@inline_kernel
def held_up(exponent, place, floor):
    """Exponents not so low that what does not change would overflow beside them."""
    return vmax(exponent, vload(floor, place))


@inline_kernel
def graft_terms(likelihood, exponent, place, j, spot, part, data, tree):
    """What block j of a part adds to the log-likelihood of a graft, and to the likelihoods of constant patterns.

    likelihood: over 2 to the sum of the exponents, of which `exponent` are those of what comes from above the graft.
    """
    patterns, weights = data.weights.shape[0], vload(data.weights, place)
    whole = exponent + exponent_of(spot.below, place, patterns, tree.exponent)
    whole = held_up(whole + vload(tree.exponent, spot.stem * patterns + place), place, data.floor)
    complete = with_invariant(likelihood, whole, place, part, data.invariant)
    value = weights * where_positive(weights, vlog(complete) + splat(LOG_TWO) * whole)
    return value, constant_share(complete, whole, place, j, part, data.constant)

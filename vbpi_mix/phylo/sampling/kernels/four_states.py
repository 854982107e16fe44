"""The loops over the patterns of a part of four states: what any_states.py has for other numbers, written out."""

from __future__ import annotations

from vbpi_mix.accelerate import inline_kernel, kernel
from vbpi_mix.kernels.simd import (
    LANES,
    binary_exponent,
    inverse_power_of_two,
    keep_whole,
    splat,
    vload,
    vmax,
    vstore,
)
from vbpi_mix.phylo.sampling.kernels.model_blocks import (
    entry_four,
    largest_of_four,
    load_four,
    store_four,
    times_four,
)
from vbpi_mix.phylo.sampling.kernels.model_layout import exponent_of, graft_terms, held_up, tip_at

_VECTORS = 4 * LANES
_SQUARE = 16


@inline_kernel
def _partial(end, tip, at, width, data, tree):
    """Of the node at an end, in one category: where its taxon or the category of its messages begins."""
    if end.taxon:
        x0, x1, x2, x3 = load_four(data.tips, tip)
    else:
        a0, a1, a2, a3 = load_four(tree.message, end.first * width + at)
        b0, b1, b2, b3 = load_four(tree.message, end.second * width + at)
        x0, x1, x2, x3 = a0 * b0, a1 * b1, a2 * b2, a3 * b3
    return x0, x1, x2, x3


@kernel
def send_part(part, end, matrix_at, slot, data, tree):
    """The message of the node at an end by the matrices that stand at matrix_at, written to a slot, and its exponents."""
    keep_whole()
    width, patterns = data.width, data.weights.shape[0]
    for j in range(part.blocks):
        at, place = part.at + j * part.categories * _VECTORS, (part.first + j) * LANES
        tip = tip_at(end.node, j, part)
        factor, exponent = splat(1.0), exponent_of(end, place, patterns, tree.exponent)
        if not end.taxon:
            largest = splat(0.0)
            for c in range(part.categories):
                x0, x1, x2, x3 = _partial(end, tip, at + c * _VECTORS, width, data, tree)
                largest = vmax(largest, largest_of_four(x0, x1, x2, x3))
            factor = inverse_power_of_two(largest)
            exponent = exponent + binary_exponent(largest)
        vstore(tree.exponent, slot * patterns + place, exponent)
        for c in range(part.categories):
            x0, x1, x2, x3 = _partial(end, tip, at + c * _VECTORS, width, data, tree)
            y0, y1, y2, y3 = times_four(
                tree.matrix, matrix_at + part.squares_at + c * _SQUARE, x0 * factor, x1 * factor, x2 * factor, x3 * factor
            )
            store_four(tree.message, slot * width + at + c * _VECTORS, y0, y1, y2, y3)


@kernel
def rows_part(part, near, far, rows_at, data, tree, work):
    """Rows of the edge between two ends, from rows_at on, and their exponents; returns the sum of weights times exponents."""
    keep_whole()
    width, patterns = data.width, data.weights.shape[0]
    total = splat(0.0)
    for j in range(part.blocks):
        at, place = part.at + j * part.categories * _VECTORS, (part.first + j) * LANES
        near_tip, far_tip = tip_at(near.node, j, part), tip_at(far.node, j, part)
        for c in range(part.categories):
            k = at + c * _VECTORS
            x0, x1, x2, x3 = _partial(near, near_tip, k, width, data, tree)
            u0, u1, u2, u3 = times_four(data.left, part.squares_at + c * _SQUARE, x0, x1, x2, x3)
            x0, x1, x2, x3 = _partial(far, far_tip, k, width, data, tree)
            v0, v1, v2, v3 = times_four(data.right, part.squares_at + c * _SQUARE, x0, x1, x2, x3)
            store_four(work.rows, rows_at + k, u0 * v0, u1 * v1, u2 * v2, u3 * v3)
        exponent = exponent_of(near, place, patterns, tree.exponent) + exponent_of(far, place, patterns, tree.exponent)
        exponent = held_up(exponent, place, data.floor)
        vstore(work.row_exponent, place, exponent)
        total = total + vload(data.weights, place) * exponent
    return total


@kernel
def graft_part(part, spot, data, tree):
    """Log-likelihoods with the stem joined at a place, and the likelihoods of constant patterns, both as lanes to be summed."""
    keep_whole()
    width, patterns, below = data.width, data.weights.shape[0], spot.below
    total, constants = splat(0.0), splat(0.0)
    for j in range(part.blocks):
        at, place = part.at + j * part.categories * _VECTORS, (part.first + j) * LANES
        above, beside = spot.above * width + at, spot.beside * width + at
        largest = splat(0.0)
        for c in range(part.categories):
            a0, a1, a2, a3 = load_four(tree.message, above + c * _VECTORS)
            b0, b1, b2, b3 = load_four(tree.message, beside + c * _VECTORS)
            largest = vmax(largest, largest_of_four(a0 * b0, a1 * b1, a2 * b2, a3 * b3))
        factor = inverse_power_of_two(largest)
        exponent = vload(tree.exponent, spot.above * patterns + place) + binary_exponent(largest)
        exponent = exponent + vload(tree.exponent, spot.beside * patterns + place)
        if not below.taxon:
            vstore(tree.exponent, spot.down * patterns + place, exponent)
        tip, likelihood = tip_at(below.node, j, part), splat(0.0)
        for c in range(part.categories):
            a0, a1, a2, a3 = load_four(tree.message, above + c * _VECTORS)
            b0, b1, b2, b3 = load_four(tree.message, beside + c * _VECTORS)
            d0, d1, d2, d3 = a0 * b0 * factor, a1 * b1 * factor, a2 * b2 * factor, a3 * b3 * factor
            k = part.squares_at + c * _SQUARE
            if not below.taxon:
                y0, y1, y2, y3 = times_four(tree.matrix, spot.edge_at + k, d0, d1, d2, d3)
                store_four(tree.message, spot.down * width + at + c * _VECTORS, y0, y1, y2, y3)
            u0, u1, u2, u3 = times_four(tree.matrix, spot.upper_at + k, d0, d1, d2, d3)
            x0, x1, x2, x3 = _partial(below, tip, at + c * _VECTORS, width, data, tree)
            l0, l1, l2, l3 = times_four(tree.matrix, spot.lower_at + k, x0, x1, x2, x3)
            s0, s1, s2, s3 = load_four(tree.message, spot.stem * width + at + c * _VECTORS)
            b0, b1, b2, b3 = entry_four(data.joint, part.speeds_at + 4 * c)
            likelihood = likelihood + ((b0 * u0 * l0 * s0 + b1 * u1 * l1 * s1) + (b2 * u2 * l2 * s2 + b3 * u3 * l3 * s3))
        value, constant = graft_terms(likelihood, exponent, place, j, spot, part, data, tree)
        total, constants = total + value, constants + constant
    return total, constants

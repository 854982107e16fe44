"""The loops over the patterns of a part with any number of states, block by block; four_states.py has those of nucleotides.

tree.scratch holds up to four blocks, [C, S, LANES] each.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel
from vbpi_mix.kernels.simd import (
    LANES,
    binary_exponent,
    inverse_power_of_two,
    keep_whole,
    splat,
    vload,
    vstore,
)
from vbpi_mix.phylo.sampling.kernels.model_blocks import multiply, products, sum_of_products
from vbpi_mix.phylo.sampling.kernels.model_layout import exponent_of, graft_terms, held_up, tip_at


@kernel
def _partial(end, j, part, data, tree, target):
    """The partial of the node at an end in block j: the array that has it, where in it, and how far its categories are apart.

    A taxon's is the same in all categories; another is written to tree.scratch at `target`. Last, the largest of each pattern.
    """
    count = part.categories * part.states
    if end.taxon:
        return data.tips, tip_at(end.node, j, part), 0, splat(1.0)
    at = part.at + j * count * LANES
    largest = products(
        tree.message, end.first * data.width + at, tree.message, end.second * data.width + at, tree.scratch, target, count
    )
    return tree.scratch, target, part.states * LANES, largest


@kernel
def send_part(part, end, matrix_at, slot, data, tree):
    """The message of the node at an end by the matrices that stand at matrix_at, written to a slot, and its exponents."""
    keep_whole()
    count, patterns, start = part.categories * part.states, data.weights.shape[0], np.int64(0)
    for j in range(part.blocks):
        at, place = part.at + j * count * LANES, (part.first + j) * LANES
        x, x_at, stride, largest = _partial(end, j, part, data, tree, start)
        multiply(
            tree.matrix, matrix_at + part.squares_at, x, x_at, stride, inverse_power_of_two(largest),
            tree.message, slot * data.width + at, part.states, part.categories,
        )  # fmt: skip
        exponent = exponent_of(end, place, patterns, tree.exponent) + binary_exponent(largest)
        vstore(tree.exponent, slot * patterns + place, exponent)


@kernel
def rows_part(part, near, far, rows_at, data, tree, work):
    """Rows of the edge between two ends, from rows_at on, and their exponents; returns the sum of weights times exponents."""
    keep_whole()
    patterns, scratch, start = data.weights.shape[0], tree.scratch, np.int64(0)
    count = part.categories * part.states
    size, one, total = count * LANES, splat(1.0), splat(0.0)
    for j in range(part.blocks):
        at, place = part.at + j * size, (part.first + j) * LANES
        x, x_at, stride, _ = _partial(near, j, part, data, tree, start)
        multiply(
            data.left, part.squares_at, x, x_at, stride, one, scratch, 2 * size, part.states, part.categories
        )
        x, x_at, stride, _ = _partial(far, j, part, data, tree, start)
        multiply(
            data.right, part.squares_at, x, x_at, stride, one, scratch, 3 * size, part.states, part.categories
        )
        products(scratch, 2 * size, scratch, 3 * size, work.rows, rows_at + at, count)
        exponent = exponent_of(near, place, patterns, tree.exponent) + exponent_of(far, place, patterns, tree.exponent)
        exponent = held_up(exponent, place, data.floor)
        vstore(work.row_exponent, place, exponent)
        total = total + vload(data.weights, place) * exponent
    return total


@kernel
def graft_part(part, spot, data, tree):
    """Log-likelihoods with the stem joined at a place, and the likelihoods of constant patterns, both as lanes to be summed."""
    keep_whole()
    width, patterns, below, scratch = data.width, data.weights.shape[0], spot.below, tree.scratch
    states, categories, k, start = part.states, part.categories, part.squares_at, np.int64(0)
    count, message, apart = categories * states, tree.message, states * LANES
    size, one, total, constants = count * LANES, splat(1.0), splat(0.0), splat(0.0)
    for j in range(part.blocks):
        at, place = part.at + j * size, (part.first + j) * LANES
        largest = products(message, spot.above * width + at, message, spot.beside * width + at, scratch, start, count)
        factor = inverse_power_of_two(largest)
        exponent = vload(tree.exponent, spot.above * patterns + place) + binary_exponent(largest)
        exponent = exponent + vload(tree.exponent, spot.beside * patterns + place)
        multiply(tree.matrix, spot.upper_at + k, scratch, start, apart, factor, scratch, 2 * size, states, categories)
        if not below.taxon:
            vstore(tree.exponent, spot.down * patterns + place, exponent)
            down_at = spot.down * width + at
            multiply(tree.matrix, spot.edge_at + k, scratch, start, apart, factor, message, down_at, states, categories)
        x, x_at, stride, _ = _partial(below, j, part, data, tree, start)
        multiply(tree.matrix, spot.lower_at + k, x, x_at, stride, one, scratch, 3 * size, states, categories)
        products(scratch, 2 * size, scratch, 3 * size, scratch, 2 * size, count)
        products(scratch, 2 * size, message, spot.stem * width + at, scratch, 2 * size, count)
        likelihood = sum_of_products(data.joint, part.speeds_at, scratch, 2 * size, count)
        value, constant = graft_terms(likelihood, exponent, place, j, spot, part, data, tree)
        total, constants = total + value, constants + constant
    return total, constants

"""The way up and the way down through the tree of one block of patterns, any number of states (layouts: any_layout.py)."""

from __future__ import annotations

import math

import numpy as np

from vbpi_mix.accelerate import inline_kernel, inner_kernel, kernel
from vbpi_mix.kernels.simd import LANES, keep_whole, splat, vload, vstore
from vbpi_mix.phylo.models.kernels import spectra
from vbpi_mix.phylo.models.kernels.any_layout import BLOCK, power_of_two

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO = (_U(x) for x in range(3))


@inner_kernel
def set_places(block, patterns, width, memory):
    """Where in a node's part of message each pattern of the block is: for the taxa by their sets, and for all others."""
    n, places, codes = _U(patterns.n_taxa), memory.places, patterns.codes
    for a in range(n):
        for p in range(block.size):
            places[a * _B + p] = _U(codes[(block.number * n + a) * _B + p]) * width
    for p in range(block.size):
        places[n * _B + p] = p * width


@inline_kernel
def _part(a, c, n, memory, width):
    """Where the part of message that node a has in category c begins, and its row of places."""
    if a < n:
        at, row = memory.taxa + (c * n + a) * memory.taxon, a * _B
    else:
        at, row = (c * (n - _TWO) + a - n) * _B * width, n * _B
    return at, row


@kernel
def _set_partials(v, c, count, tree, memory):
    """memory.below: the product of the messages that the children of v send."""
    keep_whole()
    n, width, message, below, places = memory.n, tree.shape.width, memory.message, memory.below, memory.places
    a, row_a = _part(_U(tree.children[v - n, _ZERO]), c, n, memory, width)
    b, row_b = _part(_U(tree.children[v - n, _ONE]), c, n, memory, width)
    for p in range(count):
        at_a, at_b, at = a + places[row_a + p], b + places[row_b + p], p * width
        for w in range(_ZERO, width, _V):
            vstore(below, at + w, vload(message, at_a + w) * vload(message, at_b + w))


@kernel
def _rescale(v, c, count, width, memory):
    """Find the powers of two that bring the largest of the partials of each pattern below v near to 1."""
    keep_whole()
    below, scale, exponents = memory.below, memory.scale, memory.exponent
    at = (c * (memory.n - _TWO) + v - memory.n) * _B
    for p in range(count):
        largest = 0.0
        for w in range(width):
            largest = max(largest, below[p * width + w])
        exponent = math.frexp(largest)[1] - 1 if largest > 0.0 else 0
        scale[at + p] = power_of_two(-exponent)
        exponents[c * _B + p] += exponent


@kernel
def _apply_scale(v, c, count, array, width, memory):
    """Multiply what is of v, [B, width], by the powers of two that were found."""
    keep_whole()
    scale, at = memory.scale, (c * (memory.n - _TWO) + v - memory.n) * _B
    for p in range(count):
        factor = splat(scale[at + p])
        for w in range(_ZERO, width, _V):
            vstore(array, p * width + w, vload(array, p * width + w) * factor)


@kernel
def sweep_up(c, count, tree, memory):
    """Messages of all internal nodes in category c."""
    n, width = memory.n, tree.shape.width
    inner, nodes, size = n - _TWO, _TWO * n - _TWO, tree.shape.rows * tree.shape.width
    for v in range(n, nodes):
        _set_partials(v, c, count, tree, memory)
        if tree.rescaled[v]:
            _rescale(v, c, count, width, memory)
            _apply_scale(v, c, count, memory.below, width, memory)
        matrix_at, message_at = (c * nodes + v) * size, (c * inner + v - n) * _B * width
        spectra.multiply(memory.below, _ZERO, tree.transitions, matrix_at, memory.message, message_at, count, tree.shape)


@kernel
def _send_down(v, c, count, tree, memory):
    """What comes down to each child of v: what comes down to v times what the other child sends; to a taxon it is summed
    by state set.
    """
    keep_whole()
    n, width, message, down, places = memory.n, tree.shape.width, memory.message, memory.down, memory.places
    a_is_taxon, b_is_taxon = tree.children[v - n, _ZERO] < n, tree.children[v - n, _ONE] < n
    a, row_a = _part(_U(tree.children[v - n, _ZERO]), c, n, memory, width)
    b, row_b = _part(_U(tree.children[v - n, _ONE]), c, n, memory, width)
    to_a, to_b = memory.above - memory.taxa if a_is_taxon else _ZERO, memory.above - memory.taxa if b_is_taxon else _ZERO
    for p in range(count):
        at_a, at_b, at = a + places[row_a + p], b + places[row_b + p], p * width
        for w in range(_ZERO, width, _V):
            here, from_a, from_b = vload(down, at + w), vload(message, at_a + w), vload(message, at_b + w)
            for_a, for_b = here * from_b, here * from_a
            if a_is_taxon:
                for_a = for_a + vload(message, at_a + to_a + w)
            if b_is_taxon:
                for_b = for_b + vload(message, at_b + to_b + w)
            vstore(message, at_a + to_a + w, for_a)
            vstore(message, at_b + to_b + w, for_b)


@kernel
def sweep_down(c, count, tree, memory):
    """Cross-products of all internal nodes in category c, and what comes down to the taxa."""
    n, width = memory.n, tree.shape.width
    inner, nodes, size = n - _TWO, _TWO * n - _TWO, tree.shape.rows * tree.shape.width
    for back in range(inner):
        v = nodes - _ONE - back
        _set_partials(v, c, count, tree, memory)
        if tree.rescaled[v]:
            _apply_scale(v, c, count, memory.below, width, memory)
        edge, message_at = (c * nodes + v) * size, (c * inner + v - n) * _B * width
        spectra.add_cross_products(memory.below, memory.message, message_at, memory.cross, edge, count, tree.shape)
        spectra.multiply(memory.message, message_at, tree.transitions, edge, memory.down, _ZERO, count, tree.shape)
        if tree.rescaled[v]:
            _apply_scale(v, c, count, memory.down, width, memory)
        _send_down(v, c, count, tree, memory)


@inner_kernel
def set_taxa(c, tree, patterns, memory):
    """Messages of every set of states that the part has from the edges above the taxa."""
    keep_whole()
    n, message, sets = _U(patterns.n_taxa), memory.message, patterns.sets
    states, width, size = tree.shape.states, tree.shape.width, tree.shape.rows * tree.shape.width
    for v in range(_ONE, n):
        matrix = (c * (_TWO * n - _TWO) + v) * size
        for k in range(tree.sets):
            at = memory.taxa + (c * n + v) * memory.taxon + k * width
            for w in range(_ZERO, width, _V):
                vstore(message, at + w, splat(0.0))
            for j in range(states):
                if sets[tree.sets_at + k * width + j] != 0.0:
                    for w in range(_ZERO, width, _V):
                        term = vload(tree.transitions, matrix + j * width + w)
                        vstore(message, at + w, vload(message, at + w) + term)


@inner_kernel
def set_taxon_cross(v, c, tree, patterns, memory):
    """Cross-products of the edge above a taxon, from what comes down by set."""
    keep_whole()
    n, message, sets = _U(patterns.n_taxa), memory.message, patterns.sets
    states, width, size = tree.shape.states, tree.shape.width, tree.shape.rows * tree.shape.width
    cross, edge = memory.cross, (c * (_TWO * n - _TWO) + v) * size
    for k in range(tree.sets):
        at = memory.above + (c * n + v) * memory.taxon + k * width
        for j in range(states):
            if sets[tree.sets_at + k * width + j] != 0.0:
                for w in range(_ZERO, width, _V):
                    total = vload(cross, edge + j * width + w) + vload(message, at + w)
                    vstore(cross, edge + j * width + w, total)

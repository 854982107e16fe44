"""The way up and the way down through the tree of one block of patterns, four states (layouts: four_layout.py)."""

from __future__ import annotations

import numpy as np

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
    where_bit,
)
from vbpi_mix.phylo.models.kernels.four_layout import (
    BLOCK,
    SUMS,
    add_scaled,
    load,
    product,
    propagate,
    store,
    taxon_message,
    times,
    whole_groups,
)

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO, _THREE, _FOUR = (_U(x) for x in range(5))
# A matrix of transitions, and the messages of a taxon.
_MATRIX, _TAXON = _U(16), _U(64)
_BITS = tuple(np.uint8(1 << k) for k in range(4))


@kernel
def sweep_up(c, block, tree, memory):
    """Partials of all internal nodes in category c, and the messages up the edges above them."""
    keep_whole()
    n, codes, taxa_at = block.n, block.codes, block.taxa_at
    children, transitions, rescaled = tree.children, tree.transitions, tree.rescaled
    message, scale, exponent = memory.message, memory.scale, memory.exponent
    inner, nodes = n - _TWO, _TWO * n - _TWO
    for v in range(n, nodes):
        a, b = _U(children[v - n, _ZERO]), _U(children[v - n, _ONE])
        v_matrix = (c * nodes + v) * _MATRIX
        a_at = memory.taxa + (c * n + a) * _TAXON if a < n else (c * inner + a - n) * _FOUR * _B
        b_at = memory.taxa + (c * n + b) * _TAXON if b < n else (c * inner + b - n) * _FOUR * _B
        v_message, v_scale = (c * inner + v - n) * _FOUR * _B, (c * inner + v - n) * _B
        for i in range(block.vectors):
            p = i * _V
            if a < n:
                from_a = taxon_message(codes, taxa_at + a * _B + p, message, a_at)
            else:
                from_a = load(message, a_at + p, _B)
            if b < n:
                from_b = taxon_message(codes, taxa_at + b * _B + p, message, b_at)
            else:
                from_b = load(message, b_at + p, _B)
            partials = product(from_a, from_b)
            if rescaled[v]:
                largest = vmax(vmax(partials[0], partials[1]), vmax(partials[2], partials[3]))
                factor = inverse_power_of_two(largest)
                vstore(scale, v_scale + p, factor)
                at = c * _B + p
                vstore(exponent, at, vload(exponent, at) + binary_exponent(largest))
                partials = times(partials, factor)
            store(message, v_message + p, _B, propagate(transitions, v_matrix, partials))


@kernel
def sweep_down(c, block, tree, memory):
    """Cross-products of all edges but the top one in category c, and the messages down."""
    keep_whole()
    n, codes, taxa_at = block.n, block.codes, block.taxa_at
    children, transitions, rescaled = tree.children, tree.transitions, tree.rescaled
    message, scale, sums_of = memory.message, memory.scale, memory.sums_of
    inner, nodes = n - _TWO, _TWO * n - _TWO
    sums_at = c * whole_groups(nodes)
    for back in range(inner):
        v = nodes - _ONE - back
        a, b = _U(children[v - n, _ZERO]), _U(children[v - n, _ONE])
        v_matrix = (c * nodes + v) * _MATRIX
        a_at = memory.taxa + (c * n + a) * _TAXON if a < n else (c * inner + a - n) * _FOUR * _B
        b_at = memory.taxa + (c * n + b) * _TAXON if b < n else (c * inner + b - n) * _FOUR * _B
        v_message, v_scale = (c * inner + v - n) * _FOUR * _B, (c * inner + v - n) * _B
        own = memory.places
        to_a = own + _FOUR * _B if a < n else a_at
        to_b = own + _U(8) * _B if b < n else b_at
        for i in range(block.vectors):
            p = i * _V
            above = load(message, v_message + p, _B)
            if a < n:
                from_a = taxon_message(codes, taxa_at + a * _B + p, message, a_at)
            else:
                from_a = load(message, a_at + p, _B)
            if b < n:
                from_b = taxon_message(codes, taxa_at + b * _B + p, message, b_at)
            else:
                from_b = load(message, b_at + p, _B)
            below, down = product(from_a, from_b), propagate(transitions, v_matrix, above)
            if rescaled[v]:
                factor = vload(scale, v_scale + p)
                below, down = times(below, factor), times(down, factor)
            store(message, own + p, _B, below)
            store(message, to_a + p, _B, product(down, from_b))
            store(message, to_b + p, _B, product(down, from_a))
        _add_inner(message, v_message, own, block.vectors, block.first, sums_of, (sums_at + v) * SUMS)
        if a < n:
            at = (sums_at + a) * SUMS
            _add_taxon(message, to_a, codes, taxa_at + a * _B, block.vectors, block.first, sums_of, at)
        if b < n:
            at = (sums_at + b) * SUMS
            _add_taxon(message, to_b, codes, taxa_at + b * _B, block.vectors, block.first, sums_of, at)


@inline_kernel
def _store_sums(sums_of, at, sums_0, sums_1, sums_2, sums_3):
    store(sums_of, at, _V, sums_0)
    store(sums_of, at + _FOUR * _V, _V, sums_1)
    store(sums_of, at + _U(8) * _V, _V, sums_2)
    store(sums_of, at + _U(12) * _V, _V, sums_3)


@inline_kernel
def _sums_so_far(sums_of, at, first):
    """Of one edge, row after row; zeros where nothing has been added."""
    if first:
        zero = splat(0.0)
        sums_0 = sums_1 = sums_2 = sums_3 = (zero, zero, zero, zero)
    else:
        sums_0, sums_1 = load(sums_of, at, _V), load(sums_of, at + _FOUR * _V, _V)
        sums_2, sums_3 = load(sums_of, at + _U(8) * _V, _V), load(sums_of, at + _U(12) * _V, _V)
    return sums_0, sums_1, sums_2, sums_3


@kernel
def _add_inner(message, above_at, below_at, vectors, first, sums_of, at):
    """Cross-products of the edge above an internal node."""
    keep_whole()
    sums_0, sums_1, sums_2, sums_3 = _sums_so_far(sums_of, at, first)
    for i in range(vectors):
        p = i * _V
        u = load(message, above_at + p, _B)
        sums_0 = add_scaled(sums_0, u, vload(message, below_at + p))
        sums_1 = add_scaled(sums_1, u, vload(message, below_at + p + _B))
        sums_2 = add_scaled(sums_2, u, vload(message, below_at + p + _TWO * _B))
        sums_3 = add_scaled(sums_3, u, vload(message, below_at + p + _THREE * _B))
    _store_sums(sums_of, at, sums_0, sums_1, sums_2, sums_3)


@kernel
def _add_taxon(message, above_at, codes, offset, vectors, first, sums_of, at):
    """Cross-products of the edge above a taxon."""
    keep_whole()
    # Multiplied, not chosen: LLVM makes two instructions of an addition in some of the lanes.
    one, zero = splat(1.0), splat(0.0)
    sums_0, sums_1, sums_2, sums_3 = _sums_so_far(sums_of, at, first)
    for i in range(vectors):
        p = i * _V
        code = vload(codes, offset + p)
        u = load(message, above_at + p, _B)
        sums_0 = add_scaled(sums_0, u, where_bit(code, _BITS[0], one, zero))
        sums_1 = add_scaled(sums_1, u, where_bit(code, _BITS[1], one, zero))
        sums_2 = add_scaled(sums_2, u, where_bit(code, _BITS[2], one, zero))
        sums_3 = add_scaled(sums_3, u, where_bit(code, _BITS[3], one, zero))
    _store_sums(sums_of, at, sums_0, sums_1, sums_2, sums_3)

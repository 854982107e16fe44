"""The way up and the way down through the tree, patterns side by side (layouts: arithmetic.py)."""

from __future__ import annotations

import math

from numba import cuda

from vbpi_mix.phylo.models.gpu.arithmetic import (
    add_products,
    device_function,
    indicator,
    larger,
    load,
    most_rescaled,
    no_sums,
    product,
    propagate,
    sent,
    store,
    times,
)
from vbpi_mix.phylo.models.gpu.sums import THREADS, store_block_sums, strip


@cuda.jit
def sweep_up(trees, codes, transitions, message, scale, exponent, shape):
    """Messages up the edges above all internal nodes. A grid of patterns by rows and categories; shape: n, P, C."""
    n, size, categories = shape
    p, own = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.blockIdx.y
    if p >= size:
        return
    inner, slots, removed = n - 2, most_rescaled(n), 0.0
    matrices_at = own * (2 * n - 2) * 16
    tree = (n, size, codes, transitions, matrices_at, message, own * inner * 4 * size)
    for k in range(inner):
        at = (own // categories * inner + k) * 3
        slot = trees[at + 2]
        partials = product(sent(trees[at], p, tree), sent(trees[at + 1], p, tree))
        if slot >= 0:
            largest = larger(larger(partials[0], partials[1]), larger(partials[2], partials[3]))
            power = math.frexp(largest)[1]
            factor = math.ldexp(1.0, -power)
            scale[(own * slots + slot) * size + p] = factor
            removed += power
            partials = times(partials, factor)
        store(message, (own * inner + k) * 4 * size + p, size, propagate(transitions, matrices_at + 16 * (n + k), partials))
    exponent[own * size + p] = removed


@cuda.jit
def sweep_down(trees, codes, transitions, message, scale, cross, shape):
    """Cross-products of all edges, strip by strip, and the messages down. A grid of strips by rows and categories."""
    n, size, categories = shape
    own, inner, nodes = cuda.blockIdx.y, n - 2, 2 * n - 2
    tree = (n, size, codes, transitions, own * nodes * 16, message, own * inner * 4 * size)
    cross_at = (own * cuda.gridDim.x + cuda.blockIdx.x) * nodes * 16
    for back in range(inner):
        v = nodes - 1 - back
        at = (own // categories * inner + v - n) * 3
        a, b, slot = trees[at], trees[at + 1], trees[at + 2]
        scale_at = (own * most_rescaled(n) + slot) * size if slot >= 0 else -1
        # Before messages of the children are overwritten.
        if a < n:
            store_block_sums(_of_taxon(v, a, b, scale, scale_at, tree), cross, cross_at + 16 * a)
        if b < n:
            store_block_sums(_of_taxon(v, b, a, scale, scale_at, tree), cross, cross_at + 16 * b)
        store_block_sums(_of_inner(v, (a, b), scale, scale_at, tree), cross, cross_at + 16 * v)


@device_function
def _of_taxon(v, taxon, sister, scale, scale_at, tree):
    """Cross-products of the edge above a taxon, of this thread's patterns; v: its parent."""
    n, size, codes, transitions, matrices_at, message, messages_at = tree
    above, matrix = messages_at + (v - n) * 4 * size, matrices_at + 16 * v
    p, end = strip(size)
    sums = no_sums()
    while p < end:
        down = propagate(transitions, matrix, load(message, above + p, size))
        if scale_at >= 0:
            down = times(down, scale[scale_at + p])
        sums = add_products(sums, product(down, sent(sister, p, tree)), indicator(codes[taxon * size + p]))
        p += THREADS
    return sums


@device_function
def _of_inner(v, children, scale, scale_at, tree):
    """Cross-products of the edge above an internal node, of this thread's patterns, and the messages down to its children."""
    n, size, _, transitions, matrices_at, message, messages_at = tree
    a, b = children
    above, matrix = messages_at + (v - n) * 4 * size, matrices_at + 16 * v
    p, end = strip(size)
    sums = no_sums()
    while p < end:
        u = load(message, above + p, size)
        from_a, from_b = sent(a, p, tree), sent(b, p, tree)
        below, down = product(from_a, from_b), propagate(transitions, matrix, u)
        if scale_at >= 0:
            factor = scale[scale_at + p]
            below, down = times(below, factor), times(down, factor)
        if a >= n:
            store(message, messages_at + (a - n) * 4 * size + p, size, product(down, from_b))
        if b >= n:
            store(message, messages_at + (b - n) * 4 * size + p, size, product(down, from_a))
        sums = add_products(sums, u, below)
        p += THREADS
    return sums

"""The way up and the way down through the tree, patterns side by side (layouts: arithmetic.py)."""

from __future__ import annotations

import math

from vbpi_mix.phylo.models.gpu.arithmetic import (
    THREADS,
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


@device_function
def climb(p, own, trees, codes, transitions, message, scale, shape):
    """Messages up the edges above all internal nodes at pattern p; the exponent of what was taken out of them."""
    n, size, categories = shape
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
    return removed


@device_function
def taxon_products(span, v, taxon, sister, scale, scale_at, tree):
    """Cross-products of the edge above a taxon, summed over the patterns of a thread (kernels.strip); v: its parent."""
    n, size, codes, transitions, matrices_at, message, messages_at = tree
    above, matrix = messages_at + (v - n) * 4 * size, matrices_at + 16 * v
    p, end = span
    sums = no_sums()
    while p < end:
        down = propagate(transitions, matrix, load(message, above + p, size))
        if scale_at >= 0:
            down = times(down, scale[scale_at + p])
        sums = add_products(sums, product(down, sent(sister, p, tree)), indicator(codes[taxon * size + p]))
        p += THREADS
    return sums


@device_function
def inner_products(span, v, children, scale, scale_at, tree):
    """The same for the edge above an internal node v, and the messages down to its children."""
    n, size, _, transitions, matrices_at, message, messages_at = tree
    a, b = children
    above, matrix = messages_at + (v - n) * 4 * size, matrices_at + 16 * v
    p, end = span
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

"""What is launched: a grid of blocks of threads for each step, and sums over the patterns of a block (layouts: arithmetic.py).

Sums are taken in one order: by atomic operations they would come in another at every call, and the same seed is to give the same
numbers. What a thread does with its own patterns is in sweeps.py, root.py and edges.py.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from vbpi_mix.phylo.models.gpu import edges, root, sweeps
from vbpi_mix.phylo.models.gpu.arithmetic import THREADS, device_function, most_rescaled, smaller, store

# What sums one entry of a matrix; rows are set apart so that threads read from different banks.
_LANES = THREADS // 16
_ROW = THREADS + 8
_MATRIX = 16 * _ROW


def strips_of(size: int) -> int:
    """Into how many runs patterns are dealt, each for one block of threads: short ones while there are few patterns, so that
    all of the device has work, and then so long that sums over a block are a small part of the work.
    """
    each = min(8, -(-size // 8192))
    return -(-size // (THREADS * each))


@device_function
def strip(size):
    """The patterns of this thread, every THREADS-th of its block: the first one, and where those of the block end."""
    length = THREADS * ((size + THREADS * cuda.gridDim.x - 1) // (THREADS * cuda.gridDim.x))
    first = cuda.blockIdx.x * length
    return first + cuda.threadIdx.x, smaller(first + length, size)


@device_function
def block_sum(x):
    """Of one number of each thread of the block; all threads call it and have the sum."""
    shared = cuda.shared.array(THREADS, np.float64)
    own, half = cuda.threadIdx.x, THREADS // 2
    shared[own] = x
    cuda.syncthreads()
    while half > 0:
        if own < half:
            shared[own] += shared[own + half]
        cuda.syncthreads()
        half //= 2
    found = shared[0]
    cuda.syncthreads()
    return found


@device_function
def _put(shared, at, x):
    """Four numbers of a thread, each in the row of its own sum."""
    shared[at] = x[0]
    shared[at + _ROW] = x[1]
    shared[at + 2 * _ROW] = x[2]
    shared[at + 3 * _ROW] = x[3]


@device_function
def store_block_sums(sums, out, at):
    """Sums over the block of a matrix of each thread, four rows of four, to `out` from `at` on; all threads call it."""
    shared = cuda.shared.array(_MATRIX, np.float64)
    gathered = cuda.shared.array(THREADS, np.float64)
    own = cuda.threadIdx.x
    _put(shared, own, sums[0])
    _put(shared, 4 * _ROW + own, sums[1])
    _put(shared, 8 * _ROW + own, sums[2])
    _put(shared, 12 * _ROW + own, sums[3])
    cuda.syncthreads()
    begin = own // _LANES * _ROW + own % _LANES
    total = 0.0
    for k in range(16):
        total += shared[begin + k * _LANES]
    gathered[own] = total
    # Behind this, `shared` may be filled again; `gathered` is not before the next call's first barrier.
    cuda.syncthreads()
    if own < 16:
        total = 0.0
        for k in range(_LANES):
            total += gathered[own * _LANES + k]
        out[at + own] = total


@cuda.jit
def set_transitions(models, lengths, transitions, shape):
    """P of all edges under all categories: a thread for each. A grid of edges by rows and categories; shape: n, P, C."""
    edge = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if edge < 2 * shape[0] - 3:
        edges.set_matrix(edge, cuda.blockIdx.y, models, lengths, transitions, shape)


@cuda.jit
def sweep_up(trees, codes, transitions, message, scale, exponent, shape):
    """Messages up the edges above all internal nodes. A grid of patterns by rows and categories."""
    p, own, size = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.blockIdx.y, shape[1]
    if p < size:
        exponent[own * size + p] = sweeps.climb(p, own, trees, codes, transitions, message, scale, shape)


@cuda.jit
def root_values(codes, sites, models, message, exponent, likelihood, totals, sums, shape):
    """Likelihoods of patterns, and strip by strip the sums of their logarithms and of those of the constant patterns.

    A grid of strips by rows. Exponents are replaced by the powers of two between a category's scale and the pattern's.
    """
    row, patterns = cuda.blockIdx.y, (codes, sites)
    value, constant = root.likelihoods_of_strip(
        strip(shape[1]), row, patterns, models, message, exponent, likelihood, totals, shape
    )
    value, constant = block_sum(value), block_sum(constant)
    if cuda.threadIdx.x == 0:
        at = (row * cuda.gridDim.x + cuda.blockIdx.x) * (7 + shape[2])
        sums[at] = value
        sums[at + 1] = constant


@cuda.jit
def root_slopes(codes, sites, models, message, factors, likelihood, totals, corrections, sums, shape):
    """Strip by strip the sums of the slopes of the model, and what goes down the top edge.

    factors: what `root_values` has made of exponents. corrections [R]: derivative of the log-likelihood in the likelihood of
    the constant patterns of +ASC.
    """
    row, patterns, span = cuda.blockIdx.y, (codes, sites), strip(shape[1])
    at = (row * cuda.gridDim.x + cuda.blockIdx.x) * (7 + shape[2])
    shares, slopes = root.invariant_slopes(span, row, patterns, models, totals, corrections, shape)
    for c in range(shape[2]):
        of_weight, slopes = root.category_slopes(
            span, (row, c), patterns, models, message, (factors, likelihood), totals, corrections, slopes, shape
        )
        of_weight = block_sum(of_weight)
        if cuda.threadIdx.x == 0:
            sums[at + 7 + c] = of_weight
    shares = block_sum(shares)
    found = block_sum(slopes[0]), block_sum(slopes[1]), block_sum(slopes[2]), block_sum(slopes[3])
    if cuda.threadIdx.x == 0:
        sums[at + 2] = shares
        store(sums, at + 3, 1, found)


@cuda.jit
def sweep_down(trees, codes, transitions, message, scale, cross, shape):
    """Cross-products of all edges, strip by strip, and the messages down. A grid of strips by rows and categories."""
    n, size, categories = shape
    own, inner, nodes, span = cuda.blockIdx.y, n - 2, 2 * n - 2, strip(size)
    tree = (n, size, codes, transitions, own * nodes * 16, message, own * inner * 4 * size)
    cross_at = (own * cuda.gridDim.x + cuda.blockIdx.x) * nodes * 16
    for back in range(inner):
        v = nodes - 1 - back
        at = (own // categories * inner + v - n) * 3
        a, b, slot = trees[at], trees[at + 1], trees[at + 2]
        scale_at = (own * most_rescaled(n) + slot) * size if slot >= 0 else -1
        # Before messages of the children are overwritten.
        if a < n:
            store_block_sums(sweeps.taxon_products(span, v, a, b, scale, scale_at, tree), cross, cross_at + 16 * a)
        if b < n:
            store_block_sums(sweeps.taxon_products(span, v, b, a, scale, scale_at, tree), cross, cross_at + 16 * b)
        store_block_sums(sweeps.inner_products(span, v, (a, b), scale, scale_at, tree), cross, cross_at + 16 * v)


@cuda.jit
def add_strips(cross, size, strips):
    """Of each run of `strips` times `size` numbers: the sums over strips, in place of the first of them."""
    at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if at < size:
        first = cuda.blockIdx.y * strips * size + at
        total = 0.0
        for k in range(strips):
            total += cross[first + k * size]
        cross[first] = total


@cuda.jit
def pull_back(models, lengths, cross, found, strips, shape):
    """Slopes of lengths under each category, and of Q and the rate, to `found` (edges). A block of threads for each row and
    category.
    """
    own, nodes = cuda.blockIdx.x, 2 * shape[0] - 2
    of_rate, sums = edges.pull_back_edges(cuda.threadIdx.x, own, models, lengths, cross, found, strips, shape)
    out = own * (nodes + 17) + nodes
    store_block_sums(sums, found, out)
    of_rate = block_sum(of_rate)
    if cuda.threadIdx.x == 0:
        found[out + 16] = of_rate

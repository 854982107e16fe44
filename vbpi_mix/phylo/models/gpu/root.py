"""Where the ways up and down meet, at taxon 0: likelihoods of patterns and the slopes of the model (layouts: arithmetic.py)."""

from __future__ import annotations

import math

from numba import cuda

from vbpi_mix.phylo.models.gpu.arithmetic import (
    FREQUENCIES,
    INVARIANT,
    RATES,
    device_function,
    indicator,
    larger,
    load,
    power_of_two,
    product,
    smaller,
    store,
    times,
    total,
)
from vbpi_mix.phylo.models.gpu.sums import THREADS, block_sum, strip

LOG_TWO = math.log(2.0)
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9


@cuda.jit
def root_values(codes, sites, models, message, exponent, likelihood, totals, sums, shape):
    """Likelihoods of patterns, and strip by strip the sums of their logarithms and of those of the constant patterns.

    A grid of strips by rows. Exponents are replaced by the powers of two between a category's scale and the pattern's.
    """
    _, size, categories = shape
    row = cuda.blockIdx.y
    model_at, totals_at = row * (RATES + 2 * categories), row * 3 * size
    p, end = strip(size)
    value, constant = 0.0, 0.0
    while p < end:
        found, largest, shared = _of_pattern(p, row, codes, (models, model_at), message, exponent, likelihood, shape)
        totals[totals_at + p] = found
        totals[totals_at + size + p] = largest
        totals[totals_at + 2 * size + p] = shared
        if sites[p] > 0.0:
            value += sites[p] * (math.log(found) + largest * LOG_TWO if found > 0.0 else -math.inf)
        if sites[size + p] > 0.0:
            constant += found * power_of_two(largest)
        p += THREADS
    value, constant = block_sum(value), block_sum(constant)
    if cuda.threadIdx.x == 0:
        at = (row * cuda.gridDim.x + cuda.blockIdx.x) * (7 + categories)
        sums[at] = value
        sums[at + 1] = constant


@device_function
def _of_pattern(p, row, codes, model, message, exponent, likelihood, shape):
    """Likelihood of pattern p over 2^largest, largest, and the share of it that all of the invariant sites have."""
    n, size, categories = shape
    models, model_at = model
    frequencies, invariant = load(models, model_at + FREQUENCIES, 1), models[model_at + INVARIANT]
    root, common = product(indicator(codes[p]), frequencies), codes[n * size + p]
    largest = _IMPOSSIBLE
    for c in range(categories):
        own = row * categories + c
        found = total(product(root, load(message, (own + 1) * (n - 2) * 4 * size - 4 * size + p, size)))
        likelihood[own * size + p] = found
        # A category in which the data are impossible has no say in the scale.
        if found > 0.0:
            largest = larger(largest, exponent[own * size + p])
    if invariant > 0.0 and common != 0:
        largest = larger(largest, 0.0)
    shared = total(product(indicator(common), frequencies)) * power_of_two(-largest)
    whole = shared * invariant
    for c in range(categories):
        at = (row * categories + c) * size + p
        factor = power_of_two(smaller(exponent[at] - largest, 0.0))
        exponent[at] = factor
        likelihood[at] *= factor
        whole += likelihood[at] * models[model_at + RATES + categories + c]
    return whole, largest, shared


@cuda.jit
def root_slopes(codes, sites, models, message, factors, likelihood, totals, corrections, sums, shape):
    """Strip by strip the sums of the slopes of the model, and what goes down the top edge.

    factors: what `root_values` has made of exponents. corrections [R]: derivative of the log-likelihood in the likelihood of
    the constant patterns of +ASC.
    """
    n, size, categories = shape
    row, strips = cuda.blockIdx.y, cuda.gridDim.x
    at = (row * strips + cuda.blockIdx.x) * (7 + categories)
    invariant = models[row * (RATES + 2 * categories) + INVARIANT]
    p, end = strip(size)
    shares, slopes = 0.0, (0.0, 0.0, 0.0, 0.0)
    while p < end:
        relative, largest = _relative(p, row, sites, totals, corrections, size)
        shares += relative * totals[(row * 3 + 2) * size + p]
        common = times(indicator(codes[n * size + p]), relative * invariant * power_of_two(-largest))
        slopes = slopes[0] + common[0], slopes[1] + common[1], slopes[2] + common[2], slopes[3] + common[3]
        p += THREADS
    for c in range(categories):
        own = row * categories + c
        top = (own + 1) * (n - 2) * 4 * size - 4 * size
        weight = models[row * (RATES + 2 * categories) + RATES + categories + c]
        of_weight = 0.0
        p, end = strip(size)
        while p < end:
            relative, _ = _relative(p, row, sites, totals, corrections, size)
            of_weight += relative * likelihood[own * size + p]
            above = times(indicator(codes[p]), relative * weight * factors[own * size + p])
            of_root = product(above, load(message, top + p, size))
            slopes = slopes[0] + of_root[0], slopes[1] + of_root[1], slopes[2] + of_root[2], slopes[3] + of_root[3]
            store(message, top + p, size, above)
            p += THREADS
        of_weight = block_sum(of_weight)
        if cuda.threadIdx.x == 0:
            sums[at + 7 + c] = of_weight
    shares = block_sum(shares)
    found = block_sum(slopes[0]), block_sum(slopes[1]), block_sum(slopes[2]), block_sum(slopes[3])
    if cuda.threadIdx.x == 0:
        sums[at + 2] = shares
        store(sums, at + 3, 1, found)


@device_function
def _relative(p, row, sites, totals, corrections, size):
    """Derivative of the log-likelihood in the likelihood of pattern p over 2^largest; and largest."""
    found, largest = totals[row * 3 * size + p], totals[(row * 3 + 1) * size + p]
    relative = sites[p] / found if found > 0.0 else 0.0
    if sites[size + p] > 0.0:
        relative += corrections[row] * power_of_two(largest)
    return relative, largest

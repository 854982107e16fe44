"""Where the ways up and down meet, at taxon 0: likelihoods of patterns and the slopes of the model (layouts: arithmetic.py)."""

from __future__ import annotations

import math

from vbpi_mix.phylo.models.gpu.arithmetic import (
    FREQUENCIES,
    INVARIANT,
    RATES,
    THREADS,
    add_scaled,
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

LOG_TWO = math.log(2.0)
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9


@device_function
def likelihoods_of_strip(span, row, patterns, models, message, exponent, likelihood, totals, shape):
    """Likelihoods of the patterns of a thread (kernels.strip), to `totals`; the sums of their logarithms and of those of the
    constant patterns.
    """
    _, size, categories = shape
    codes, sites = patterns
    model_at, totals_at = row * (RATES + 2 * categories), row * 3 * size
    p, end = span
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
    return value, constant


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


@device_function
def invariant_slopes(span, row, patterns, models, totals, corrections, shape):
    """Summed over the patterns of a thread: slopes of the share of invariant sites, and what these do to those of frequencies."""
    n, size, categories = shape
    codes, sites = patterns
    invariant = models[row * (RATES + 2 * categories) + INVARIANT]
    p, end = span
    shares, slopes = 0.0, (0.0, 0.0, 0.0, 0.0)
    while p < end:
        relative, largest = _relative(p, row, sites, totals, corrections, size)
        shares += relative * totals[(row * 3 + 2) * size + p]
        slopes = add_scaled(slopes, indicator(codes[n * size + p]), relative * invariant * power_of_two(-largest))
        p += THREADS
    return shares, slopes


@device_function
def category_slopes(span, own, patterns, models, message, of_category, totals, corrections, slopes, shape):
    """The same of the weight of a category, and what it adds to the slopes of frequencies; and what goes down the top edge.

    own: row and category. of_category: what `_of_pattern` has made of exponents, and likelihoods.
    """
    n, size, categories = shape
    codes, sites = patterns
    row, c = own
    at = row * categories + c
    top = (at + 1) * (n - 2) * 4 * size - 4 * size
    weight = models[row * (RATES + 2 * categories) + RATES + categories + c]
    of_weight = 0.0
    p, end = span
    while p < end:
        relative, _ = _relative(p, row, sites, totals, corrections, size)
        of_weight += relative * of_category[1][at * size + p]
        above = times(indicator(codes[p]), relative * weight * of_category[0][at * size + p])
        slopes = add_scaled(slopes, product(above, load(message, top + p, size)), 1.0)
        store(message, top + p, size, above)
        p += THREADS
    return of_weight, slopes


@device_function
def _relative(p, row, sites, totals, corrections, size):
    """Derivative of the log-likelihood in the likelihood of pattern p over 2^largest; and largest."""
    found, largest = totals[row * 3 * size + p], totals[(row * 3 + 1) * size + p]
    relative = sites[p] / found if found > 0.0 else 0.0
    if sites[size + p] > 0.0:
        relative += corrections[row] * power_of_two(largest)
    return relative, largest

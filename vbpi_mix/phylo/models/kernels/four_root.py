"""Where the ways up and down meet, at taxon 0: likelihoods of a block of patterns and the slopes of the model, four states
(layouts: four_layout.py).
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import inline_kernel, kernel
from vbpi_mix.kernels.simd import (
    LANES,
    LOG_TWO,
    divide_or_zero,
    keep_whole,
    power_of_two,
    splat,
    vload,
    vlog,
    vmax,
    vmin,
    vstore,
    where_bit,
    where_positive,
)
from vbpi_mix.phylo.models.kernels.four_layout import (
    BLOCK,
    CONSTANT,
    FREQUENCIES,
    INVARIANT,
    VALUE,
    WEIGHTS,
    column,
    load,
    product,
    store,
    times,
)

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO, _FOUR = _U(0), _U(1), _U(2), _U(4)
_BITS = tuple(np.uint8(1 << k) for k in range(4))
_ANY = np.uint8(15)
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9


@inline_kernel
def _indicator(code, one, zero):
    """0/1 partials of state sets."""
    return (
        where_bit(code, _BITS[0], one, zero),
        where_bit(code, _BITS[1], one, zero),
        where_bit(code, _BITS[2], one, zero),
        where_bit(code, _BITS[3], one, zero),
    )


@inline_kernel
def _total(x):
    return (x[0] + x[1]) + (x[2] + x[3])


@inline_kernel
def _add_to(array, at, x):
    vstore(array, at, vload(array, at) + x)


@inline_kernel
def _of_pattern(p, block, tree, memory):
    """Site likelihoods of one vector of patterns, at taxon 0, over 2^largest: (likelihood, largest, share of it that
    all of the invariant sites have). A category's likelihood and the power of two between its scale and the pattern's
    are left in memory.
    """
    n, frequencies, weights = block.n, tree.frequencies, tree.weights
    messages, exponents, likelihoods = memory.message, memory.exponent, memory.likelihood
    inner, zero = n - _TWO, splat(0.0)
    root = product(_indicator(vload(block.codes, block.taxa_at + p), splat(1.0), zero), column(frequencies, _ZERO))
    common = vload(block.common, block.at + p)
    shared = _total(product(_indicator(common, splat(1.0), zero), column(frequencies, _ZERO)))
    largest = splat(_IMPOSSIBLE)
    for c in range(_U(weights.shape[0])):
        at = c * _B + p
        message = load(messages, (c * inner + inner - _ONE) * _FOUR * _B + p, _B)
        likelihood = _total(product(root, message))
        vstore(likelihoods, at, likelihood)
        # A category in which the data are impossible has no say in the scale.
        possible = divide_or_zero(likelihood, likelihood)
        largest = vmax(largest, vload(exponents, at) * possible + splat(_IMPOSSIBLE) * (splat(1.0) - possible))
    if tree.invariant > 0.0:
        largest = where_bit(common, _ANY, vmax(largest, zero), largest)
    shared = shared * power_of_two(zero - largest)
    total = shared * splat(tree.invariant)
    for c in range(_U(weights.shape[0])):
        at = c * _B + p
        factor = power_of_two(vmin(vload(exponents, at) - largest, zero))
        likelihood = vload(likelihoods, at) * factor
        vstore(exponents, at, factor)
        vstore(likelihoods, at, likelihood)
        total = total + likelihood * splat(weights[c])
    return total, largest, shared


@inline_kernel
def _add_model_slopes(p, relative, largest, block, tree, memory):
    """Slopes of frequencies and weights of one vector of patterns, and what goes down the top edge."""
    sums, messages, exponents, likelihoods = memory.sums, memory.message, memory.exponent, memory.likelihood
    weights, inner = tree.weights, block.n - _TWO
    zero, categories = splat(0.0), _U(weights.shape[0])
    x = _indicator(vload(block.codes, block.taxa_at + p), splat(1.0), zero)
    invariant = relative * splat(tree.invariant) * power_of_two(zero - largest)
    slopes = _indicator(vload(block.common, block.at + p), invariant, zero)
    for c in range(categories):
        at, top = c * _B + p, (c * inner + inner - _ONE) * _FOUR * _B + p
        _add_to(sums, WEIGHTS + c * _V, relative * vload(likelihoods, at))
        above = times(x, relative * splat(weights[c]) * vload(exponents, at))
        message = load(messages, top, _B)
        products = product(above, message)
        slopes = slopes[0] + products[0], slopes[1] + products[1], slopes[2] + products[2], slopes[3] + products[3]
        store(messages, top, _B, above)
    for k in range(4):
        _add_to(sums, FREQUENCIES + _U(k) * _V, slopes[k])


@kernel
def turn(block, tree, memory, constant_slope, gradient):
    """Sums of the root: of logarithms, of the constant patterns' likelihoods, and of the model's slopes.

    constant_slope: derivative of the log-likelihood in the likelihood of the constant patterns of +ASC.
    """
    keep_whole()
    sums = memory.sums
    for i in range(block.vectors):
        p = i * _V
        total, largest, shared = _of_pattern(p, block, tree, memory)
        weight, ascertained = vload(block.weights, block.at + p), vload(block.ascertained, block.at + p)
        scale = ascertained * power_of_two(largest)
        _add_to(sums, VALUE, weight * where_positive(weight, vlog(total) + largest * splat(LOG_TWO)))
        _add_to(sums, CONSTANT, total * scale)
        if gradient:
            relative = divide_or_zero(weight, total) + splat(constant_slope) * scale
            _add_to(sums, INVARIANT, relative * shared)
            _add_model_slopes(p, relative, largest, block, tree, memory)

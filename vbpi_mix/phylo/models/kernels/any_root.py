"""Where the ways up and down meet, at taxon 0: likelihoods of a block of patterns and the slopes of the model, any number
of states (layouts: any_layout.py).
"""

from __future__ import annotations

import math

import numpy as np

from vbpi_mix.accelerate import kernel
from vbpi_mix.kernels.simd import keep_whole
from vbpi_mix.phylo.models.kernels.any_layout import BLOCK, power_of_two

_U = np.uint64
_B = _U(BLOCK)
_ONE, _TWO = _U(1), _U(2)
_LOG_TWO = math.log(2.0)
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9


@kernel
def _of_pattern(p, block, tree, patterns, memory):
    """Site likelihood of pattern p of the block, at taxon 0, over 2^largest: (likelihood, largest, share of it that all
    of the invariant sites have). A category's likelihood and the power of two between its scale and the pattern's are
    left in memory.
    """
    n, states, width = memory.n, tree.shape.states, tree.shape.width
    inner, categories = n - _TWO, _U(tree.weights.shape[0])
    exponents, messages, sets, frequencies = memory.exponent, memory.message, patterns.sets, tree.frequencies
    root, common = tree.sets_at + memory.places[p], (block.number * _B + p) * width
    shared, largest = 0.0, _IMPOSSIBLE
    for i in range(states):
        shared += patterns.common[common + i] * frequencies[i]
    for c in range(categories):
        at, message = c * _B + p, ((c * inner + inner - _ONE) * _B + p) * width
        likelihood = 0.0
        for i in range(states):
            likelihood += sets[root + i] * frequencies[i] * messages[message + i]
        memory.likelihood[at] = likelihood
        # A category in which the data are impossible has no say in the scale.
        if likelihood > 0.0:
            largest = max(largest, exponents[at])
    if tree.invariant > 0.0 and shared > 0.0:
        largest = max(largest, 0.0)
    shared *= power_of_two(-largest)
    total = shared * tree.invariant
    for c in range(categories):
        at = c * _B + p
        factor = power_of_two(min(exponents[at] - largest, 0.0))
        exponents[at] = factor
        memory.likelihood[at] *= factor
        total += memory.likelihood[at] * tree.weights[c]
    return total, largest, shared


@kernel
def _add_model_slopes(p, relative, largest, block, tree, patterns, memory):
    """Slopes of frequencies and weights of pattern p, and what goes down the top edge."""
    states, width, inner = tree.shape.states, tree.shape.width, memory.n - _TWO
    messages, sets, frequencies = memory.message, patterns.sets, memory.frequencies
    root, common = tree.sets_at + memory.places[p], (block.number * _B + p) * width
    invariant = relative * tree.invariant * power_of_two(-largest)
    for i in range(states):
        # No product: where no state is common, the power of two may be infinite.
        if patterns.common[common + i] != 0.0:
            frequencies[i] += invariant
    for c in range(_U(tree.weights.shape[0])):
        at, message = c * _B + p, ((c * inner + inner - _ONE) * _B + p) * width
        memory.weights[c] += relative * memory.likelihood[at]
        share = relative * tree.weights[c] * memory.exponent[at]
        for i in range(states):
            above = sets[root + i] * share
            frequencies[i] += above * messages[message + i]
            messages[message + i] = above


@kernel
def turn(block, tree, patterns, memory, constant_slope, gradient):
    """Sums of the root: of logarithms, of the constant patterns' likelihoods, and of the model's slopes.

    constant_slope: derivative of the log-likelihood in the likelihood of the constant patterns of +ASC.
    """
    keep_whole()
    for p in range(block.size):
        at = block.number * _B + p
        total, largest, shared = _of_pattern(p, block, tree, patterns, memory)
        weight, ascertained = patterns.weights[at], patterns.ascertained[at]
        scale = ascertained * power_of_two(largest)
        # A pattern that counts for nothing may be impossible.
        if weight > 0.0:
            memory.sums[0] += weight * (np.log(total) + largest * _LOG_TWO)
        memory.sums[1] += total * scale
        if gradient:
            relative = constant_slope * scale
            if total > 0.0:
                relative += weight / total
            memory.sums[2] += relative * shared
            _add_model_slopes(p, relative, largest, block, tree, patterns, memory)

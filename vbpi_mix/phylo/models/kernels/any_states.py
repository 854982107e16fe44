"""Log-likelihoods of trees under a reversible model of any number of states, and all their gradients, by pruning both ways.

Layouts (flat arrays, blocks of B = BLOCK patterns; `width` and `rows` are the number of states S filled up to whole
vectors and to a multiple of four, lanes along states, so that products with P are those of small dense matrices; K
distinct state sets; C categories; offsets are unsigned):

    codes        uint32  [blocks, n, B]         which of the distinct sets each taxon has
    sets         float64 [K, width]             0/1: the states of each set
    common       float64 [blocks * B, width]    0/1: states that every taxon may have
    weights      float64 [blocks * B]           pattern weights, zero in the padding
    ascertained  float64 [blocks * B]           1 for the constant patterns that +ASC adds at the end, else 0
    message      float64, three parts in one array, so that a child is an offset, whatever it is:
                   [C, n-2, B, width]           of an internal node: what it sends up its edge, P l; on the way down
                                                overwritten by what the rest of the tree sends to it, over frequencies
                   [C, n, K, width]             P times each set, for the edge above each taxon
                   [C, n, K, width]             sum of u over the patterns in which a taxon has the set: its
                                                cross-products are those of the sets with this
    scale        float64 [C, n-2, B]            the power of two by which a rescaled node's partials were multiplied
    exponent     float64 [C, B]                 of the power of two that was taken out of a category's likelihood
    cross        float64 [C, 2n-2, rows, width] sum of l_j u_i, row j, of the edge above each internal node (spectra.py)

A category is pruned by itself, as in four_states.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import inline_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, keep_whole, splat, vload, vstore
from vbpi_mix.phylo.models.kernels import spectra

BLOCK = 32
# Partials of more states are smaller: half of what four states have.
TAXA_BETWEEN_RESCALINGS = 8

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO = (_U(x) for x in range(3))
_LOG_TWO = math.log(2.0)
# Powers of two beyond these are taken as if at the limit.
_SMALLEST, _LARGEST = -1022, 1023
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9


class PackedPatterns(NamedTuple):
    """Site patterns in blocks (head of this file), padded with missing data of weight 0.

    sites: the sum of the weights; blocks: those of the data, which the constant patterns' follow, if there are any.
    """

    n_taxa: int
    states: int
    blocks: int
    sites: float
    codes: np.ndarray
    sets: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


class _Tree(NamedTuple):
    """children [n-2, 2]; transitions (spectra.py) of the edge above each node; which nodes are rescaled; of the model:
    its shape, frequencies [width], weights of the categories [C], share of invariant sites.
    """

    children: np.ndarray
    transitions: np.ndarray
    rescaled: np.ndarray
    shape: spectra.Shape
    frequencies: np.ndarray
    weights: np.ndarray
    invariant: float


class _Memory(NamedTuple):
    """What one thread works on (head of this file).

    taxa, above: where the second and third part of message begin; taxon: size of one taxon's; places uint64 [n+1, B]: where
    in a node's part of message the patterns of the block are; likelihood [C, B]: of a category, in the pattern's own
    scale; below, down [B, width]: the partials of a node, and what comes down to it; sums: of the logarithms, of constant
    patterns' likelihoods, of the slope of invariant sites; frequencies [width], weights [C]: of their slopes.
    """

    n: np.uint64
    taxa: np.uint64
    above: np.uint64
    taxon: np.uint64
    places: np.ndarray
    message: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    likelihood: np.ndarray
    cross: np.ndarray
    below: np.ndarray
    down: np.ndarray
    sums: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray


@inline_kernel
def _power_of_two(exponent):
    return math.ldexp(1.0, min(max(int(exponent), _SMALLEST), _LARGEST))


@kernel
def _set_places(block, patterns, width, memory):
    """Where in a node's part of message each pattern of the block is: for the taxa by their sets, and for all others."""
    n, places, codes = _U(patterns.n_taxa), memory.places, patterns.codes
    for a in range(n):
        for p in range(_B):
            places[a * _B + p] = _U(codes[(block * n + a) * _B + p]) * width
    for p in range(_B):
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
def _set_partials(v, c, tree, memory):
    """memory.below: the product of the messages that the children of v send."""
    keep_whole()
    n, width, message, below, places = memory.n, tree.shape.width, memory.message, memory.below, memory.places
    a, row_a = _part(_U(tree.children[v - n, _ZERO]), c, n, memory, width)
    b, row_b = _part(_U(tree.children[v - n, _ONE]), c, n, memory, width)
    for p in range(_B):
        at_a, at_b, at = a + places[row_a + p], b + places[row_b + p], p * width
        for w in range(_ZERO, width, _V):
            vstore(below, at + w, vload(message, at_a + w) * vload(message, at_b + w))


@kernel
def _rescale(v, c, width, memory):
    """Find the powers of two that bring the largest of the partials of each pattern below v near to 1."""
    keep_whole()
    below, scale, exponents = memory.below, memory.scale, memory.exponent
    at = (c * (memory.n - _TWO) + v - memory.n) * _B
    for p in range(_B):
        largest = 0.0
        for w in range(width):
            largest = max(largest, below[p * width + w])
        exponent = math.frexp(largest)[1] - 1 if largest > 0.0 else 0
        scale[at + p] = _power_of_two(-exponent)
        exponents[c * _B + p] += exponent


@kernel
def _apply_scale(v, c, array, width, memory):
    """Multiply what is of v, [B, width], by the powers of two that were found."""
    keep_whole()
    scale, at = memory.scale, (c * (memory.n - _TWO) + v - memory.n) * _B
    for p in range(_B):
        factor = splat(scale[at + p])
        for w in range(_ZERO, width, _V):
            vstore(array, p * width + w, vload(array, p * width + w) * factor)


@kernel
def _sweep_up(c, tree, memory):
    """Messages of all internal nodes in category c."""
    n, width = memory.n, tree.shape.width
    inner, nodes, size = n - _TWO, _TWO * n - _TWO, tree.shape.rows * tree.shape.width
    for v in range(n, nodes):
        _set_partials(v, c, tree, memory)
        if tree.rescaled[v]:
            _rescale(v, c, width, memory)
            _apply_scale(v, c, memory.below, width, memory)
        matrix_at, message_at = (c * nodes + v) * size, (c * inner + v - n) * _B * width
        spectra.multiply(memory.below, _ZERO, tree.transitions, matrix_at, memory.message, message_at, _B, tree.shape)


@kernel
def _of_pattern(p, block, tree, patterns, memory):
    """Site likelihood of pattern p of the block, at taxon 0, over 2^largest: (likelihood, largest, share of it that all
    of the invariant sites have). A category's likelihood and the power of two between its scale and the pattern's are
    left in memory.
    """
    n, states, width = memory.n, tree.shape.states, tree.shape.width
    inner, categories = n - _TWO, _U(tree.weights.shape[0])
    exponents, messages, sets, frequencies = memory.exponent, memory.message, patterns.sets, tree.frequencies
    root, common = memory.places[p], (block * _B + p) * width
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
    shared *= _power_of_two(-largest)
    total = shared * tree.invariant
    for c in range(categories):
        at = c * _B + p
        factor = _power_of_two(min(exponents[at] - largest, 0.0))
        exponents[at] = factor
        memory.likelihood[at] *= factor
        total += memory.likelihood[at] * tree.weights[c]
    return total, largest, shared


@kernel
def _add_model_slopes(p, relative, largest, block, tree, patterns, memory):
    """Slopes of frequencies and weights of pattern p, and what goes down the top edge."""
    states, width, inner = tree.shape.states, tree.shape.width, memory.n - _TWO
    messages, sets, frequencies = memory.message, patterns.sets, memory.frequencies
    root, common = memory.places[p], (block * _B + p) * width
    invariant = relative * tree.invariant * _power_of_two(-largest)
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
def _turn(block, tree, patterns, memory, constant_slope, gradient):
    """Sums of the root: of logarithms, of the constant patterns' likelihoods, and of the model's slopes.

    constant_slope: derivative of the log-likelihood in the likelihood of the constant patterns of +ASC.
    """
    keep_whole()
    for p in range(_B):
        total, largest, shared = _of_pattern(p, block, tree, patterns, memory)
        weight, ascertained = patterns.weights[block * _B + p], patterns.ascertained[block * _B + p]
        scale = ascertained * _power_of_two(largest)
        memory.sums[0] += weight * (np.log(total) + largest * _LOG_TWO)
        memory.sums[1] += total * scale
        if gradient:
            relative = constant_slope * scale
            if total > 0.0:
                relative += weight / total
            memory.sums[2] += relative * shared
            _add_model_slopes(p, relative, largest, block, tree, patterns, memory)


@kernel
def _send_down(v, c, tree, memory):
    """What comes down to each child of v: what comes down to v times what the other child sends; to a taxon it is summed
    by state set.
    """
    keep_whole()
    n, width, message, down, places = memory.n, tree.shape.width, memory.message, memory.down, memory.places
    a_is_taxon, b_is_taxon = tree.children[v - n, _ZERO] < n, tree.children[v - n, _ONE] < n
    a, row_a = _part(_U(tree.children[v - n, _ZERO]), c, n, memory, width)
    b, row_b = _part(_U(tree.children[v - n, _ONE]), c, n, memory, width)
    to_a, to_b = memory.above - memory.taxa if a_is_taxon else _ZERO, memory.above - memory.taxa if b_is_taxon else _ZERO
    for p in range(_B):
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
def _sweep_down(c, tree, memory):
    """Cross-products of all internal nodes in category c, and what comes down to the taxa."""
    n, width = memory.n, tree.shape.width
    inner, nodes, size = n - _TWO, _TWO * n - _TWO, tree.shape.rows * tree.shape.width
    for back in range(inner):
        v = nodes - _ONE - back
        _set_partials(v, c, tree, memory)
        if tree.rescaled[v]:
            _apply_scale(v, c, memory.below, width, memory)
        edge, message_at = (c * nodes + v) * size, (c * inner + v - n) * _B * width
        spectra.add_cross_products(memory.below, memory.message, message_at, memory.cross, edge, _B, tree.shape)
        spectra.multiply(memory.message, message_at, tree.transitions, edge, memory.down, _ZERO, _B, tree.shape)
        if tree.rescaled[v]:
            _apply_scale(v, c, memory.down, width, memory)
        _send_down(v, c, tree, memory)


@kernel
def _add_blocks(first, last, patterns, tree, memory, constant_slope, gradient):
    """Add blocks first ... last-1 of patterns to the sums."""
    categories = _U(tree.weights.shape[0])
    for k in range(first, last):
        block = _U(k)
        memory.exponent[:] = 0.0
        _set_places(block, patterns, tree.shape.width, memory)
        for c in range(categories):
            _sweep_up(c, tree, memory)
        _turn(block, tree, patterns, memory, constant_slope, gradient)
        if gradient:
            for back in range(categories):
                _sweep_down(categories - _ONE - back, tree, memory)


@kernel
def _memory(patterns, categories, rows, width):
    """Zeros of the sizes that these patterns need."""
    n = patterns.n_taxa
    inner, taxa, size = categories * (n - 2), categories * n * patterns.sets.shape[0], categories * BLOCK
    return _Memory(
        _U(n), _U(inner * BLOCK * width), _U(inner * BLOCK * width + taxa), _U(patterns.sets.shape[0]),
        np.zeros((n + 1) * BLOCK, np.uint64),
        spectra.aligned(inner * BLOCK * width + 2 * taxa), spectra.aligned(inner * BLOCK),
        spectra.aligned(size), spectra.aligned(size), spectra.aligned(categories * (2 * n - 2) * rows * width),
        spectra.aligned(BLOCK * width), spectra.aligned(BLOCK * width),
        np.zeros(3), spectra.aligned(width), np.zeros(categories),
    )  # fmt: skip


@kernel
def _set_taxa(c, tree, patterns, memory):
    """Messages of every set of states from the edges above the taxa."""
    keep_whole()
    n, message, sets = _U(patterns.n_taxa), memory.message, patterns.sets
    count = _U(sets.shape[0]) // tree.shape.width
    states, width, size = tree.shape.states, tree.shape.width, tree.shape.rows * tree.shape.width
    for v in range(_ONE, n):
        matrix = (c * (_TWO * n - _TWO) + v) * size
        for k in range(count):
            at = memory.taxa + ((c * n + v) * count + k) * width
            for w in range(_ZERO, width, _V):
                vstore(message, at + w, splat(0.0))
            for j in range(states):
                if sets[k * width + j] != 0.0:
                    for w in range(_ZERO, width, _V):
                        term = vload(tree.transitions, matrix + j * width + w)
                        vstore(message, at + w, vload(message, at + w) + term)


@kernel
def _set_taxon_cross(v, c, tree, patterns, memory):
    """Cross-products of the edge above a taxon, from what comes down by set."""
    keep_whole()
    n, message, sets = _U(patterns.n_taxa), memory.message, patterns.sets
    count = _U(sets.shape[0]) // tree.shape.width
    states, width, size = tree.shape.states, tree.shape.width, tree.shape.rows * tree.shape.width
    cross, edge = memory.cross, (c * (_TWO * n - _TWO) + v) * size
    for k in range(count):
        at = memory.above + ((c * n + v) * count + k) * width
        for j in range(states):
            if sets[k * width + j] != 0.0:
                for w in range(_ZERO, width, _V):
                    total = vload(cross, edge + j * width + w) + vload(message, at + w)
                    vstore(cross, edge + j * width + w, total)


@kernel
def _finish(t, lengths, rates, tree, patterns, spectrum, work, memory, parameters, results):
    """Slopes of tree t from its sums."""
    n, states, width = patterns.n_taxa, patterns.states, spectrum.values.shape[0]
    nodes, size = 2 * n - 2, work.eigen.shape[0]
    work.eigen[:] = 0.0
    results.lengths[t] = 0.0
    for c in range(rates.shape[0]):
        results.rates[t, c] = 0.0
        results.weights[t, c] = memory.weights[c]
        for v in range(1, nodes):
            if v < n:
                _set_taxon_cross(_U(v), _U(c), tree, patterns, memory)
            at, time = _U((c * nodes + v) * size), rates[c] * lengths[v - 1]
            slope = spectra.pull_back(memory.cross, at, time, spectrum, work, parameters)
            results.lengths[t, v - 1] += rates[c] * slope
            results.rates[t, c] += lengths[v - 1] * slope
    results.invariant[t] = memory.sums[2]
    for k in range(states):
        results.frequencies[t, k] = memory.frequencies[k]
        for j in range(states):
            results.eigen[t, j, k] = work.eigen[k * width + j]


@kernel
def _clear(memory):
    """Empty all sums."""
    memory.message[memory.above :] = 0.0
    memory.cross[:] = 0.0
    memory.sums[:] = 0.0
    memory.frequencies[:] = 0.0
    memory.weights[:] = 0.0


@kernel
def _trees(children, lengths, patterns, rates, which, first, last, request, results):
    """Trees first ... last-1 of the batch, one after the other."""
    gradient, parameters = request
    n, states, categories = patterns.n_taxa, patterns.states, rates.rates.shape[1]
    nodes, blocks, constant = 2 * n - 2, patterns.blocks, patterns.weights.shape[0] // BLOCK
    spectrum, work = spectra.empty_spectrum(states), spectra.empty_workspace(states)
    size, width = work.eigen.shape[0], spectrum.values.shape[0]
    memory = _memory(patterns, categories, size // width, width)
    transitions = spectra.aligned(categories * nodes * size)
    pending, rescaled = np.zeros(nodes, np.int64), np.zeros(nodes, np.bool_)
    for t in range(first, last):
        m = which[t]
        spectra.set_spectrum(rates, m, spectrum)
        spectra.mark_rescaled(children[t], n, TAXA_BETWEEN_RESCALINGS, pending, rescaled)
        tree = _Tree(
            children[t], transitions, rescaled, spectrum.shape, spectrum.frequencies, rates.weights[m], rates.invariant[m]
        )
        _clear(memory)
        for c in range(categories):
            for v in range(1, nodes):
                time = rates.rates[m, c] * lengths[t, v - 1]
                spectra.set_transitions(time, spectrum, work, transitions, _U((c * nodes + v) * size))
            _set_taxa(_U(c), tree, patterns, memory)
        _add_blocks(blocks, constant, patterns, tree, memory, 0.0, False)
        likely = memory.sums[1]
        _add_blocks(0, blocks, patterns, tree, memory, 0.0, gradient)
        value, constant_slope = memory.sums[0], 0.0
        if constant > blocks:
            value, constant_slope = spectra.correct_for_ascertainment(value, patterns.sites, likely)
        results.values[t] = value
        if gradient:
            _add_blocks(blocks, constant, patterns, tree, memory, constant_slope, True)
            _finish(t, lengths[t], rates.rates[m], tree, patterns, spectrum, work, memory, parameters, results)


@parallel_kernel
def evaluate_batch(children, lengths, patterns, rates, which, chunks, request, results):
    """Log-likelihoods of a batch of trees, and their derivatives (spectra.Results).

    children int32 [T, n-2, 2]; lengths float64 [T, E]; PackedPatterns; Rates, of which tree t has number which[t];
    request: whether the slopes of lengths, and those of the model, are wanted; without the first nothing but values is
    written. `chunks` runs of trees are worked on in parallel; each tree is summed in one order, whatever their number.
    """
    trees = children.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * trees // chunks, (chunk + 1) * trees // chunks
        _trees(children, lengths, patterns, rates, which, first, last, request, results)

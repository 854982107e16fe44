"""Log-likelihoods of trees under a reversible model of four states, and all their gradients, by pruning both ways.

Layouts (flat arrays, blocks of B = BLOCK patterns, lanes along patterns, unsigned offsets as in jukes_cantor.py;
C categories):

    codes        uint8   [blocks, n, B]          state sets of the taxa, bit k for state k
    common       uint8   [blocks * B]            states that every taxon may have
    weights      float64 [blocks * B]            pattern weights, zero in the padding
    ascertained  float64 [blocks * B]            1 for the constant patterns that +ASC adds at the end, else 0
    message      float64 [C, n-2, 4, B]          of an internal node: what it sends up its edge, P l; on the way down
                                                 overwritten by what the rest of the tree sends to it, over frequencies
    scale        float64 [C, n-2, B]             the power of two by which a rescaled node's partials were multiplied
    exponent     float64 [C, B]                  of the power of two that was taken out of a category's likelihood
    sums_of      float64 [C, 2n-2, 4, 4, LANES]  sum of l_j u_i, j before i, of the edge above each node, lane by lane

A category is pruned by itself, so that what one sweep works on stays in the cache; each keeps the exponents of its
own rescalings, and the root puts them together. The partials l of a node are the product of its children's messages,
computed anew on the way down, so that one array holds all that a node has to keep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import inline_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import (
    LANES,
    LOG_TWO,
    binary_exponent,
    divide_or_zero,
    inverse_power_of_two,
    keep_whole,
    lookup,
    power_of_two,
    splat,
    vload,
    vlog,
    vmax,
    vmin,
    vstore,
    vsum,
    where_bit,
)
from vbpi_mix.phylo.models.kernels import four_edges, spectra

VECTORS = 8
BLOCK = VECTORS * LANES
# As for JC69; the reason stands there.
TAXA_BETWEEN_RESCALINGS = 16

_U = np.uint64
_V, _B = _U(LANES), _U(BLOCK)
_ZERO, _ONE, _TWO, _THREE, _FOUR = (_U(x) for x in range(5))
# A matrix of transitions, the messages of a taxon, and the sums of an edge.
_MATRIX, _TAXON, _SUMS = _U(16), _U(64), _U(16) * _V
_BITS = tuple(np.uint8(1 << k) for k in range(4))
_ANY = np.uint8(15)
# Exponent of the likelihood of impossible data.
_IMPOSSIBLE = -1e9
# Rows of lanes in `sums`.
_VALUE, _CONSTANT, _INVARIANT, _FREQUENCIES, _WEIGHTS = _ZERO, _V, _TWO * _V, _THREE * _V, _U(7) * _V


class PackedPatterns(NamedTuple):
    """Site patterns in blocks (head of this file), padded with missing data of weight 0.

    sites: the sum of the weights; blocks: those of the data, which the constant patterns' follow, if there are any.
    """

    n_taxa: int
    blocks: int
    sites: float
    codes: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


class _Block(NamedTuple):
    """One block of patterns: number of taxa, where its taxa begin in codes, and where it begins in the others."""

    n: np.uint64
    taxa_at: np.uint64
    at: np.uint64
    codes: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


class _Tree(NamedTuple):
    """children [n-2, 2]; transitions (four_edges.py); which nodes are rescaled; of the model:
    frequencies [4], weights of the categories [C], share of invariant sites.
    """

    children: np.ndarray
    transitions: np.ndarray
    rescaled: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray
    invariant: float


class _Memory(NamedTuple):
    """What one thread works on (head of this file).

    message goes on with the messages of the taxa (four_edges.py), from `taxa` on, and three `places` [4, B] for the downward
    step: the partials of a node, and what comes down to a child that is a taxon. All in one array: with a choice of
    two, numba counts references to both in the innermost loop. likelihood [C, B]: of a category, in the pattern's own
    scale; sums: rows of lanes (_VALUE and so on).
    """

    taxa: np.uint64
    places: np.uint64
    message: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    likelihood: np.ndarray
    sums_of: np.ndarray
    sums: np.ndarray


@inline_kernel
def _load(array, at, step):
    """Four vectors, `step` apart."""
    return vload(array, at), vload(array, at + step), vload(array, at + _TWO * step), vload(array, at + _THREE * step)


@inline_kernel
def _store(array, at, step, x):
    vstore(array, at, x[0])
    vstore(array, at + step, x[1])
    vstore(array, at + _TWO * step, x[2])
    vstore(array, at + _THREE * step, x[3])


@inline_kernel
def _product(x, y):
    return x[0] * y[0], x[1] * y[1], x[2] * y[2], x[3] * y[3]


@inline_kernel
def _times(x, factor):
    return x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor


@inline_kernel
def _column(transitions, at):
    """What state j below is worth to each state above: column j of P, at row j of its transpose."""
    return (
        splat(transitions[at]),
        splat(transitions[at + _ONE]),
        splat(transitions[at + _TWO]),
        splat(transitions[at + _THREE]),
    )


@inline_kernel
def _add_scaled(sums, x, factor):
    return sums[0] + x[0] * factor, sums[1] + x[1] * factor, sums[2] + x[2] * factor, sums[3] + x[3] * factor


@inline_kernel
def _propagate(transitions, at, x):
    """P x."""
    m = _times(_column(transitions, at), x[0])
    m = _add_scaled(m, _column(transitions, at + _FOUR), x[1])
    m = _add_scaled(m, _column(transitions, at + _TWO * _FOUR), x[2])
    return _add_scaled(m, _column(transitions, at + _THREE * _FOUR), x[3])


@inline_kernel
def _taxon_message(codes, offset, message, at):
    """P times the 0/1 partials of a taxon."""
    code = vload(codes, offset)
    return (
        lookup(message, at, code),
        lookup(message, at + _U(16), code),
        lookup(message, at + _U(32), code),
        lookup(message, at + _U(48), code),
    )


@kernel
def _sweep_up(c, block, tree, memory):
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
        for i in range(VECTORS):
            p = _U(i) * _V
            if a < n:
                from_a = _taxon_message(codes, taxa_at + a * _B + p, message, a_at)
            else:
                from_a = _load(message, a_at + p, _B)
            if b < n:
                from_b = _taxon_message(codes, taxa_at + b * _B + p, message, b_at)
            else:
                from_b = _load(message, b_at + p, _B)
            partials = _product(from_a, from_b)
            if rescaled[v]:
                largest = vmax(vmax(partials[0], partials[1]), vmax(partials[2], partials[3]))
                factor = inverse_power_of_two(largest)
                vstore(scale, v_scale + p, factor)
                at = c * _B + p
                vstore(exponent, at, vload(exponent, at) + binary_exponent(largest))
                partials = _times(partials, factor)
            _store(message, v_message + p, _B, _propagate(transitions, v_matrix, partials))


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
    root = _product(_indicator(vload(block.codes, block.taxa_at + p), splat(1.0), zero), _column(frequencies, _ZERO))
    common = vload(block.common, block.at + p)
    shared = _total(_product(_indicator(common, splat(1.0), zero), _column(frequencies, _ZERO)))
    largest = splat(_IMPOSSIBLE)
    for c in range(_U(weights.shape[0])):
        at = c * _B + p
        message = _load(messages, (c * inner + inner - _ONE) * _FOUR * _B + p, _B)
        likelihood = _total(_product(root, message))
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
        _add_to(sums, _WEIGHTS + c * _V, relative * vload(likelihoods, at))
        above = _times(x, relative * splat(weights[c]) * vload(exponents, at))
        message = _load(messages, top, _B)
        products = _product(above, message)
        slopes = slopes[0] + products[0], slopes[1] + products[1], slopes[2] + products[2], slopes[3] + products[3]
        _store(messages, top, _B, above)
    for k in range(4):
        _add_to(sums, _FREQUENCIES + _U(k) * _V, slopes[k])


@kernel
def _turn(block, tree, memory, constant_slope, gradient):
    """Sums of the root: of logarithms, of the constant patterns' likelihoods, and of the model's slopes.

    constant_slope: derivative of the log-likelihood in the likelihood of the constant patterns of +ASC.
    """
    keep_whole()
    sums = memory.sums
    for i in range(VECTORS):
        p = _U(i) * _V
        total, largest, shared = _of_pattern(p, block, tree, memory)
        weight, ascertained = vload(block.weights, block.at + p), vload(block.ascertained, block.at + p)
        scale = ascertained * power_of_two(largest)
        _add_to(sums, _VALUE, weight * (vlog(total) + largest * splat(LOG_TWO)))
        _add_to(sums, _CONSTANT, total * scale)
        if gradient:
            relative = divide_or_zero(weight, total) + splat(constant_slope) * scale
            _add_to(sums, _INVARIANT, relative * shared)
            _add_model_slopes(p, relative, largest, block, tree, memory)


@kernel
def _sweep_down(c, block, tree, memory):
    """Cross-products of all edges but the top one in category c, and the messages down."""
    keep_whole()
    n, codes, taxa_at = block.n, block.codes, block.taxa_at
    children, transitions, rescaled = tree.children, tree.transitions, tree.rescaled
    message, scale, sums_of = memory.message, memory.scale, memory.sums_of
    inner, nodes = n - _TWO, _TWO * n - _TWO
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
        for i in range(VECTORS):
            p = _U(i) * _V
            above = _load(message, v_message + p, _B)
            if a < n:
                from_a = _taxon_message(codes, taxa_at + a * _B + p, message, a_at)
            else:
                from_a = _load(message, a_at + p, _B)
            if b < n:
                from_b = _taxon_message(codes, taxa_at + b * _B + p, message, b_at)
            else:
                from_b = _load(message, b_at + p, _B)
            below, down = _product(from_a, from_b), _propagate(transitions, v_matrix, above)
            if rescaled[v]:
                factor = vload(scale, v_scale + p)
                below, down = _times(below, factor), _times(down, factor)
            _store(message, own + p, _B, below)
            _store(message, to_a + p, _B, _product(down, from_b))
            _store(message, to_b + p, _B, _product(down, from_a))
        _add_inner(message, v_message, own, sums_of, (c * nodes + v) * _SUMS)
        if a < n:
            _add_taxon(message, to_a, codes, taxa_at + a * _B, sums_of, (c * nodes + a) * _SUMS)
        if b < n:
            _add_taxon(message, to_b, codes, taxa_at + b * _B, sums_of, (c * nodes + b) * _SUMS)


@kernel
def _add_inner(message, above_at, below_at, sums_of, at):
    """Cross-products of the edge above an internal node."""
    keep_whole()
    sums_0, sums_1 = _load(sums_of, at, _V), _load(sums_of, at + _FOUR * _V, _V)
    sums_2, sums_3 = _load(sums_of, at + _U(8) * _V, _V), _load(sums_of, at + _U(12) * _V, _V)
    for i in range(VECTORS):
        p = _U(i) * _V
        u = _load(message, above_at + p, _B)
        sums_0 = _add_scaled(sums_0, u, vload(message, below_at + p))
        sums_1 = _add_scaled(sums_1, u, vload(message, below_at + p + _B))
        sums_2 = _add_scaled(sums_2, u, vload(message, below_at + p + _TWO * _B))
        sums_3 = _add_scaled(sums_3, u, vload(message, below_at + p + _THREE * _B))
    _store(sums_of, at, _V, sums_0)
    _store(sums_of, at + _FOUR * _V, _V, sums_1)
    _store(sums_of, at + _U(8) * _V, _V, sums_2)
    _store(sums_of, at + _U(12) * _V, _V, sums_3)


@kernel
def _add_taxon(message, above_at, codes, offset, sums_of, at):
    """Cross-products of the edge above a taxon."""
    keep_whole()
    # Multiplied, not chosen: LLVM makes two instructions of an addition in some of the lanes.
    one, zero = splat(1.0), splat(0.0)
    sums_0, sums_1 = _load(sums_of, at, _V), _load(sums_of, at + _FOUR * _V, _V)
    sums_2, sums_3 = _load(sums_of, at + _U(8) * _V, _V), _load(sums_of, at + _U(12) * _V, _V)
    for i in range(VECTORS):
        p = _U(i) * _V
        code = vload(codes, offset + p)
        u = _load(message, above_at + p, _B)
        sums_0 = _add_scaled(sums_0, u, where_bit(code, _BITS[0], one, zero))
        sums_1 = _add_scaled(sums_1, u, where_bit(code, _BITS[1], one, zero))
        sums_2 = _add_scaled(sums_2, u, where_bit(code, _BITS[2], one, zero))
        sums_3 = _add_scaled(sums_3, u, where_bit(code, _BITS[3], one, zero))
    _store(sums_of, at, _V, sums_0)
    _store(sums_of, at + _FOUR * _V, _V, sums_1)
    _store(sums_of, at + _U(8) * _V, _V, sums_2)
    _store(sums_of, at + _U(12) * _V, _V, sums_3)


@kernel
def _add_block(block, tree, memory, constant_slope, gradient):
    """Add one block of patterns to the sums."""
    categories = _U(tree.weights.shape[0])
    memory.exponent[:] = 0.0
    for c in range(categories):
        _sweep_up(c, block, tree, memory)
    _turn(block, tree, memory, constant_slope, gradient)
    if gradient:
        for back in range(categories):
            _sweep_down(categories - _ONE - back, block, tree, memory)


@kernel
def _add_blocks(first, last, patterns, tree, memory, constant_slope, gradient):
    n = patterns.n_taxa
    for k in range(first, last):
        block = _Block(
            _U(n), _U(k * n * BLOCK), _U(k * BLOCK),
            patterns.codes, patterns.common, patterns.weights, patterns.ascertained,
        )  # fmt: skip
        _add_block(block, tree, memory, constant_slope, gradient)


@kernel
def _memory(n, categories):
    inner, size = n - 2, categories * BLOCK
    return _Memory(
        _U(inner * 4 * size), _U(inner * 4 * size + categories * n * 64),
        spectra.aligned(inner * 4 * size + categories * n * 64 + 12 * BLOCK),
        spectra.aligned(inner * size), spectra.aligned(size), spectra.aligned(size),
        spectra.aligned(categories * (2 * n - 2) * 16 * LANES),
        spectra.aligned((7 + categories) * LANES),
    )  # fmt: skip


@kernel
def _finish(t, rates, spectrum, edges, memory, parameters, results):
    """Slopes of tree t from its sums."""
    categories = rates.shape[0]
    nodes, groups = results.lengths.shape[1] + 1, edges.lengths.shape[0] // LANES
    cross, sums_of = edges.cross, memory.sums_of
    for c in range(categories):
        for v in range(1, nodes):
            at, lane = _U(c * nodes + v) * _SUMS, _U((c * groups + v // LANES) * 16 * LANES + v % LANES)
            for entry in range(_U(16)):
                cross[lane + entry * _V] = vsum(vload(sums_of, at + entry * _V))
        results.weights[t, c] = vsum(vload(memory.sums, _WEIGHTS + _U(c) * _V))
    four_edges.pull_back_edges(t, rates, spectrum, edges, parameters, results)
    results.invariant[t] = vsum(vload(memory.sums, _INVARIANT))
    for k in range(4):
        results.frequencies[t, k] = vsum(vload(memory.sums, _FREQUENCIES + _U(k) * _V))


@kernel
def _trees(children, lengths, patterns, rates, which, first, last, request, results):
    """Trees first ... last-1 of the batch, one after the other."""
    gradient, parameters = request
    n, categories = patterns.n_taxa, rates.rates.shape[1]
    nodes = 2 * n - 2
    blocks, constant = patterns.blocks, patterns.weights.shape[0] // BLOCK
    spectrum, edges, memory = spectra.empty_spectrum(4), four_edges.empty_edges(n, categories), _memory(n, categories)
    first_taxon = (n - 2) * 4 * categories * BLOCK
    pending, rescaled = np.zeros(nodes, np.int64), np.zeros(nodes, np.bool_)
    for t in range(first, last):
        m = which[t]
        spectra.set_spectrum(rates, m, spectrum)
        four_edges.set_edges(lengths[t], rates.rates[m], n, spectrum, edges, memory.message, first_taxon)
        spectra.mark_rescaled(children[t], n, TAXA_BETWEEN_RESCALINGS, pending, rescaled)
        tree = _Tree(
            children[t], edges.transitions, rescaled, spectrum.frequencies, rates.weights[m], rates.invariant[m]
        )
        memory.sums[:] = 0.0
        memory.sums_of[:] = 0.0
        _add_blocks(blocks, constant, patterns, tree, memory, 0.0, False)
        likely = vsum(vload(memory.sums, _CONSTANT))
        _add_blocks(0, blocks, patterns, tree, memory, 0.0, gradient)
        value, constant_slope = vsum(vload(memory.sums, _VALUE)), 0.0
        if constant > blocks:
            value, constant_slope = spectra.correct_for_ascertainment(value, patterns.sites, likely)
        results.values[t] = value
        if gradient:
            _add_blocks(blocks, constant, patterns, tree, memory, constant_slope, True)
            _finish(t, rates.rates[m], spectrum, edges, memory, parameters, results)


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

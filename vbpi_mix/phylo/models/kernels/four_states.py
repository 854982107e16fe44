"""Log-likelihoods of trees under reversible models of four states, and all their gradients, by pruning both ways.

One call takes all parts of the data that such models are of, each with its own parameters: a *row* is one part under one
tree, row t G + g of G parts. four_layout.py has the arrays, four_sweeps.py and four_root.py what is done to a block of
patterns, four_edges.py transitions and slopes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, vload, vstore, vsum, vsums
from vbpi_mix.phylo.models.kernels import four_edges, spectra
from vbpi_mix.phylo.models.kernels.four_layout import (
    BLOCK,
    CONSTANT,
    FREQUENCIES,
    INVARIANT,
    SUMS,
    VALUE,
    WEIGHTS,
    Block,
    Memory,
    Tree,
)
from vbpi_mix.phylo.models.kernels.four_root import turn
from vbpi_mix.phylo.models.kernels.four_sweeps import sweep_down, sweep_up
from vbpi_mix.phylo.models.kernels.pruning import aligned, aligned_zeros, mark_rescaled

# As for JC69; the reason stands there.
TAXA_BETWEEN_RESCALINGS = 16

_U = np.uint64
_V = _U(LANES)


class PackedPatterns(NamedTuple):
    """Site patterns of G parts in blocks (four_layout.py), padded with missing data of weight 0.

    starts int64 [G, 3]: of each part its first block, where its data end and the constant patterns' blocks begin, if there
    are any, and where those end; sites [G]: sums of the weights; vectors uint64 [blocks]: how many of a block hold patterns.
    """

    n_taxa: int
    starts: np.ndarray
    sites: np.ndarray
    vectors: np.ndarray
    codes: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


@kernel
def _add_block(block, tree, memory, constant_slope, gradient):
    """Add one block of patterns to the sums."""
    categories = _U(tree.weights.shape[0])
    memory.exponent[:] = 0.0
    for c in range(categories):
        sweep_up(c, block, tree, memory)
    turn(block, tree, memory, constant_slope, gradient)
    if gradient:
        for back in range(categories):
            sweep_down(categories - _U(1) - back, block, tree, memory)


@kernel
def _add_blocks(start, first, last, patterns, tree, memory, constant_slope, gradient):
    """Add blocks first ... last-1 of a part whose blocks begin at `start`."""
    n = patterns.n_taxa
    for k in range(first, last):
        block = Block(
            _U(n), patterns.vectors[k], k == start, _U(k * n * BLOCK), _U(k * BLOCK),
            patterns.codes, patterns.common, patterns.weights, patterns.ascertained,
        )  # fmt: skip
        _add_block(block, tree, memory, constant_slope, gradient)


@kernel
@allocates
def _memory(n, categories):
    """What one thread works on; only the sums of nodes that no edge is above need to be zeros."""
    inner, size, groups = n - 2, categories * BLOCK, (2 * n - 2 + LANES - 1) // LANES
    return Memory(
        _U(inner * 4 * size), _U(inner * 4 * size + categories * n * 64),
        aligned(inner * 4 * size + categories * n * 64 + 12 * BLOCK),
        aligned(inner * size), aligned(size), aligned(size),
        aligned_zeros(categories * groups * 16 * LANES * LANES),
        aligned((7 + categories) * LANES),
    )  # fmt: skip


@kernel
def _set_cross(categories, edges, memory):
    """Cross-products of all edges from the sums of their lanes, a group of nodes at a time."""
    cross, sums_of = edges.cross, memory.sums_of
    groups = _U(edges.lengths.shape[0]) // _V
    for group in range(_U(categories) * groups):
        for entry in range(_U(16)):
            at = group * _V * SUMS + entry * _V
            products = vsums(
                vload(sums_of, at), vload(sums_of, at + SUMS), vload(sums_of, at + _U(2) * SUMS),
                vload(sums_of, at + _U(3) * SUMS), vload(sums_of, at + _U(4) * SUMS), vload(sums_of, at + _U(5) * SUMS),
                vload(sums_of, at + _U(6) * SUMS), vload(sums_of, at + _U(7) * SUMS),
            )  # fmt: skip
            vstore(cross, (group * _U(16) + entry) * _V, products)


@kernel
def _finish(row, rates, spectrum, edges, memory, parameters, results):
    """Slopes of a row from its sums."""
    _set_cross(rates.shape[0], edges, memory)
    four_edges.pull_back_edges(row, rates, spectrum, edges, parameters, results)
    results.invariant[row] = vsum(vload(memory.sums, INVARIANT))
    for c in range(rates.shape[0]):
        results.weights[row, c] = vsum(vload(memory.sums, WEIGHTS + _U(c) * _V))
    for k in range(4):
        results.frequencies[row, k] = vsum(vload(memory.sums, FREQUENCIES + _U(k) * _V))


@kernel
@allocates
def _rows(children, lengths, patterns, rates, which, first, last, request, results):
    """Rows first ... last-1 of the batch, one after the other."""
    gradient, parameters = request
    n, parts, categories = patterns.n_taxa, patterns.starts.shape[0], rates.rates.shape[1]
    nodes, first_taxon = 2 * n - 2, (n - 2) * 4 * categories * BLOCK
    spectrum, edges, memory = spectra.empty_spectrum(4), four_edges.empty_edges(n, categories), _memory(n, categories)
    pending, rescaled = np.zeros(nodes, np.int64), np.zeros(nodes, np.bool_)
    for row in range(first, last):
        t, g, m = row // parts, row % parts, which[row]
        start, constant, end = patterns.starts[g, 0], patterns.starts[g, 1], patterns.starts[g, 2]
        spectra.set_spectrum(rates, m, spectrum)
        four_edges.set_edges(lengths[t], rates.rates[m], n, spectrum, edges, memory.message, first_taxon)
        if g == 0 or row == first:
            mark_rescaled(children[t], n, TAXA_BETWEEN_RESCALINGS, pending, rescaled)
        tree = Tree(
            children[t], edges.transitions, rescaled, spectrum.frequencies, rates.weights[m], rates.invariant[m]
        )
        memory.sums[:] = 0.0
        if start == constant:
            memory.sums_of[:] = 0.0
        _add_blocks(start, constant, end, patterns, tree, memory, 0.0, False)
        likely = vsum(vload(memory.sums, CONSTANT))
        _add_blocks(start, start, constant, patterns, tree, memory, 0.0, gradient)
        value, constant_slope = vsum(vload(memory.sums, VALUE)), 0.0
        if end > constant:
            value, constant_slope = spectra.correct_for_ascertainment(value, patterns.sites[g], likely)
        results.values[row] = value
        if gradient:
            _add_blocks(start, constant, end, patterns, tree, memory, constant_slope, True)
            _finish(row, rates.rates[m], spectrum, edges, memory, parameters, results)


@parallel_kernel
def evaluate_batch(children, lengths, patterns, rates, which, chunks, request, results):
    """Log-likelihoods of G parts under T trees, and their derivatives (spectra.Results), by rows t G + g.

    children int32 [T, n-2, 2]; lengths float64 [T, E]; PackedPatterns; Rates, of which a row has number which[row];
    request: whether the slopes of lengths, and those of the model, are wanted; without the first nothing but values is
    written. `chunks` runs of rows are worked on in parallel; each row is summed in one order, whatever their number.
    """
    rows = which.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * rows // chunks, (chunk + 1) * rows // chunks
        _rows(children, lengths, patterns, rates, which, first, last, request, results)

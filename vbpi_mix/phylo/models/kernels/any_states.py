"""Log-likelihoods of trees under reversible models of any number of states, and all their gradients, by pruning both ways.

Parts of the data and rows as in four_states.py; all parts have as many states. any_layout.py has the arrays, any_sweeps.py
and any_root.py what is done to a block of patterns, spectra.py transitions and slopes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.phylo.models.kernels import spectra
from vbpi_mix.phylo.models.kernels.any_layout import BLOCK, Block, Memory, Tree
from vbpi_mix.phylo.models.kernels.any_root import turn
from vbpi_mix.phylo.models.kernels.any_sweeps import set_places, set_taxa, set_taxon_cross, sweep_down, sweep_up
from vbpi_mix.phylo.models.kernels.pruning import aligned_zeros, mark_rescaled

# Partials of more states are smaller: half of what four states have.
TAXA_BETWEEN_RESCALINGS = 8

_U = np.uint64


class PackedPatterns(NamedTuple):
    """Site patterns of G parts in blocks (any_layout.py), padded with missing data of weight 0.

    starts int64 [G, 3], sites [G]: as in four_states.py; counts uint64 [blocks]: how many patterns a block has, filled up to
    a multiple of four; sets_at int64 [G+1]: where each part's sets begin in `sets`.
    """

    n_taxa: int
    states: int
    starts: np.ndarray
    sites: np.ndarray
    counts: np.ndarray
    sets_at: np.ndarray
    codes: np.ndarray
    sets: np.ndarray
    common: np.ndarray
    weights: np.ndarray
    ascertained: np.ndarray


@kernel
def _add_blocks(first, last, patterns, tree, memory, constant_slope, gradient):
    """Add blocks first ... last-1 of patterns, of part g, to the sums."""
    categories = _U(tree.weights.shape[0])
    for k in range(first, last):
        block = Block(_U(k), patterns.counts[k])
        memory.exponent[:] = 0.0
        set_places(block, patterns, tree.shape.width, memory)
        for c in range(categories):
            sweep_up(c, block.size, tree, memory)
        turn(block, tree, patterns, memory, constant_slope, gradient)
        if gradient:
            for back in range(categories):
                sweep_down(categories - _U(1) - back, block.size, tree, memory)


@kernel
@allocates
def _memory(patterns, categories, rows, width):
    """Zeros of the sizes that these patterns need: as many sets as the part with most has."""
    n, most = patterns.n_taxa, 0
    for g in range(patterns.starts.shape[0]):
        most = max(most, patterns.sets_at[g + 1] - patterns.sets_at[g])
    inner, taxa, size = categories * (n - 2), categories * n * most, categories * BLOCK
    return Memory(
        _U(n), _U(inner * BLOCK * width), _U(inner * BLOCK * width + taxa), _U(most),
        np.zeros((n + 1) * BLOCK, np.uint64),
        aligned_zeros(inner * BLOCK * width + 2 * taxa), aligned_zeros(inner * BLOCK),
        aligned_zeros(size), aligned_zeros(size), aligned_zeros(categories * (2 * n - 2) * rows * width),
        aligned_zeros(BLOCK * width), aligned_zeros(BLOCK * width),
        np.zeros(3), aligned_zeros(width), np.zeros(categories),
    )  # fmt: skip


@kernel
def _finish(row, lengths, rates, tree, patterns, spectrum, work, memory, parameters, results):
    """Slopes of a row from its sums."""
    n, states, width = patterns.n_taxa, patterns.states, spectrum.values.shape[0]
    nodes, size = 2 * n - 2, work.eigen.shape[0]
    work.eigen[:] = 0.0
    results.lengths[row] = 0.0
    for c in range(rates.shape[0]):
        results.rates[row, c] = 0.0
        results.weights[row, c] = memory.weights[c]
        for v in range(1, nodes):
            if v < n:
                set_taxon_cross(_U(v), _U(c), tree, patterns, memory)
            at, time = _U((c * nodes + v) * size), rates[c] * lengths[v - 1]
            slope = spectra.pull_back(memory.cross, at, time, spectrum, work, parameters)
            results.lengths[row, v - 1] += rates[c] * slope
            results.rates[row, c] += lengths[v - 1] * slope
    results.invariant[row] = memory.sums[2]
    for k in range(states):
        results.frequencies[row, k] = memory.frequencies[k]
        for j in range(states):
            results.eigen[row, j, k] = work.eigen[k * width + j]


@kernel
def _clear(memory):
    """Empty all sums."""
    memory.message[memory.above :] = 0.0
    memory.cross[:] = 0.0
    memory.sums[:] = 0.0
    memory.frequencies[:] = 0.0
    memory.weights[:] = 0.0


@kernel
def _set_tree(lengths, rates, tree, patterns, spectrum, work, memory):
    """Transitions of all edges, lengths [E], under all categories, and the messages of the part's sets."""
    n, size = patterns.n_taxa, work.eigen.shape[0]
    for c in range(rates.shape[0]):
        for v in range(1, 2 * n - 2):
            at = _U((c * (2 * n - 2) + v) * size)
            spectra.set_transitions(rates[c] * lengths[v - 1], spectrum, work, tree.transitions, at)
        set_taxa(_U(c), tree, patterns, memory)


@kernel
@allocates
def _rows(children, lengths, patterns, rates, which, first, last, request, results):
    """Rows first ... last-1 of the batch, one after the other."""
    gradient, parameters = request
    n, states, categories = patterns.n_taxa, patterns.states, rates.rates.shape[1]
    nodes, parts = 2 * n - 2, patterns.starts.shape[0]
    spectrum, work = spectra.empty_spectrum(states), spectra.empty_workspace(states)
    size, width = work.eigen.shape[0], spectrum.values.shape[0]
    memory = _memory(patterns, categories, size // width, width)
    transitions = aligned_zeros(categories * nodes * size)
    pending, rescaled = np.zeros(nodes, np.int64), np.zeros(nodes, np.bool_)
    for row in range(first, last):
        t, g, m = row // parts, row % parts, which[row]
        start, constant, end = patterns.starts[g, 0], patterns.starts[g, 1], patterns.starts[g, 2]
        spectra.set_spectrum(rates, m, spectrum)
        mark_rescaled(children[t], n, TAXA_BETWEEN_RESCALINGS, pending, rescaled)
        sets_at, sets_end = _U(patterns.sets_at[g]), _U(patterns.sets_at[g + 1])
        tree = Tree(
            children[t], transitions, rescaled, sets_at, (sets_end - sets_at) // _U(width), spectrum.shape,
            spectrum.frequencies, rates.weights[m], rates.invariant[m],
        )  # fmt: skip
        _clear(memory)
        _set_tree(lengths[t], rates.rates[m], tree, patterns, spectrum, work, memory)
        _add_blocks(constant, end, patterns, tree, memory, 0.0, False)
        likely = memory.sums[1]
        _add_blocks(start, constant, patterns, tree, memory, 0.0, gradient)
        value, constant_slope = memory.sums[0], 0.0
        if end > constant:
            value, constant_slope = spectra.correct_for_ascertainment(value, patterns.sites[g], likely)
        results.values[row] = value
        if gradient:
            _add_blocks(constant, end, patterns, tree, memory, constant_slope, True)
            _finish(row, lengths[t], rates.rates[m], tree, patterns, spectrum, work, memory, parameters, results)


@parallel_kernel
def evaluate_batch(children, lengths, patterns, rates, which, chunks, request, results):
    """What four_states.evaluate_batch does, for models of any number of states."""
    # Not shared with it: numba keeps no program on disk that gets a kernel as an argument.
    rows = which.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * rows // chunks, (chunk + 1) * rows // chunks
        _rows(children, lengths, patterns, rates, which, first, last, request, results)

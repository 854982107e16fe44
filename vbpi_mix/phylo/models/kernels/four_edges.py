"""Transition matrices of four states and the way back from cross-products, eight edges at a time.

The same sums as in spectra.py, where lanes run along states: four of them would leave half of each vector empty, and all
this has to be cheap beside pruning. Here lanes run along edges: node v, whose edge lies above it, is lane v % 8 of group
v // 8. A tree has nodes 0 ... 2n-3; node 0 and what fills the last group up have length and cross-products of zero.

    lengths      float64 [groups, LANES]
    transitions  float64 [C, nodes, 4, 4]          row j, column i: P[i, j]
    taxa         float64 [C, n, 4, 16]             of the edge above each taxon: P times each set of states, by state
                                                   above; in an array of the caller
    cross        float64 [C, groups, 4, 4, LANES]  row j, column i: sum over patterns of u_i l_j, over frequencies[i]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import allocates, inline_kernel, kernel
from vbpi_mix.kernels.simd import LANES, keep_whole, splat, vexpm1, vload, vmax, vstore, vsum, where_bit
from vbpi_mix.phylo.models.kernels.pruning import aligned, aligned_zeros

_U = np.uint64
_V = _U(LANES)
# Rows of a Spectrum are a vector long.
_WIDTH = _V
# All sets of four states.
_SETS = np.arange(16, dtype=np.uint8)
_BITS = tuple(np.uint8(1 << k) for k in range(4))


class Edges(NamedTuple):
    """Lengths and results of a tree's edges (head of this file).

    products [4, 4, 4]: V[i, k] V^-1[k, j] by k, j, i; first, second: matrices of lanes [4, 4, LANES]; grown
    [C, groups, 4, LANES]: e^{values x rate x length} - 1;
    eigen [4, 4, LANES]: sum of Z o F over edges.
    """

    lengths: np.ndarray
    transitions: np.ndarray
    cross: np.ndarray
    products: np.ndarray
    first: np.ndarray
    second: np.ndarray
    grown: np.ndarray
    eigen: np.ndarray


@kernel
@allocates
def empty_edges(n, categories):
    """Memory for trees of n taxa."""
    nodes = 2 * n - 2
    groups = (nodes + LANES - 1) // LANES
    return Edges(
        aligned_zeros(groups * LANES), aligned(categories * nodes * 16), aligned(categories * groups * 16 * LANES),
        aligned(64), aligned(16 * LANES), aligned(16 * LANES), aligned(categories * groups * 4 * LANES), aligned(16 * LANES),
    )  # fmt: skip


@kernel
def set_edges(lengths, rates, n, spectrum, edges, taxa, taxa_at):
    """Transition matrices of all edges, lengths [E], under all categories, and the taxa's messages, in `taxa` from taxa_at."""
    nodes = lengths.shape[0] + 1
    for v in range(1, nodes):
        edges.lengths[v] = lengths[v - 1]
    for k in range(4):
        for j in range(4):
            for i in range(4):
                edges.products[(k * 4 + j) * 4 + i] = (
                    spectrum.vectors[i * LANES + k] * spectrum.inverse[k * LANES + j]
                )
    for c in range(rates.shape[0]):
        for group in range(edges.lengths.shape[0] // LANES):
            _set_group(group, c, rates[c], nodes, spectrum, edges)
        for v in range(1, n):
            _set_taxon(_U((c * nodes + v) * 16), _U(taxa_at + (c * n + v) * 64), edges.transitions, taxa)


@kernel
def _set_group(group, c, rate, nodes, spectrum, edges):
    keep_whole()
    first, products, transitions, values = edges.first, edges.products, edges.transitions, spectrum.values
    time = splat(rate) * vload(edges.lengths, _U(group) * _V)
    e0, e1 = vexpm1(time * splat(values[0])), vexpm1(time * splat(values[1]))
    e2, e3 = vexpm1(time * splat(values[2])), vexpm1(time * splat(values[3]))
    at = _U(c * (edges.lengths.shape[0] // LANES) + group) * _U(4) * _V
    vstore(edges.grown, at, e0)
    vstore(edges.grown, at + _V, e1)
    vstore(edges.grown, at + _U(2) * _V, e2)
    vstore(edges.grown, at + _U(3) * _V, e3)
    for entry in range(_U(16)):
        p = splat(products[entry]) * e0
        p = p + splat(products[entry + _U(16)]) * e1
        p = p + splat(products[entry + _U(32)]) * e2
        p = p + splat(products[entry + _U(48)]) * e3
        if entry % _U(5) == _U(0):
            p = p + splat(1.0)
        vstore(first, entry * _V, vmax(p, splat(0.0)))
    for lane in range(_U(min(LANES, nodes - group * LANES))):
        at = (_U(c * nodes + group * LANES) + lane) * _U(16)
        for entry in range(_U(16)):
            transitions[at + entry] = first[entry * _V + lane]


@kernel
def _set_taxon(matrix, at, transitions, taxa):
    """Messages of all sets, eight at a time: those of a set's states, the last one first."""
    keep_whole()
    zero = splat(0.0)
    for half in range(_U(2)):
        sets = vload(_SETS, half * _V)
        for i in range(_U(4)):
            row = matrix + i
            message = where_bit(sets, _BITS[3], splat(transitions[row + _U(12)]), zero)
            message = message + where_bit(sets, _BITS[2], splat(transitions[row + _U(8)]), zero)
            message = message + where_bit(sets, _BITS[1], splat(transitions[row + _U(4)]), zero)
            message = message + where_bit(sets, _BITS[0], splat(transitions[row]), zero)
            vstore(taxa, at + _U(16) * i + half * _V, message)


@inline_kernel
def _rows(array, at, step):
    """Four vectors, `step` apart."""
    return vload(array, at), vload(array, at + step), vload(array, at + _U(2) * step), vload(array, at + _U(3) * step)


@kernel
@allocates
def _set_z(at, spectrum, edges):
    """Z of the edges of a group, row k, column l, to edges.second, from their cross-products."""
    keep_whole()
    cross, first, second, frequencies = edges.cross, edges.first, edges.second, spectrum.frequencies
    vectors, inverse = spectrum.vectors, spectrum.inverse
    for j in range(_U(4)):
        row = _rows(cross, at + j * _U(4) * _V, _V)
        x0, x1 = row[0] * splat(frequencies[0]), row[1] * splat(frequencies[1])
        x2, x3 = row[2] * splat(frequencies[2]), row[3] * splat(frequencies[3])
        for k in range(_U(4)):
            y = x0 * splat(vectors[k])
            y = y + x1 * splat(vectors[k + _WIDTH])
            y = y + x2 * splat(vectors[k + _U(2) * _WIDTH])
            y = y + x3 * splat(vectors[k + _U(3) * _WIDTH])
            vstore(first, (j * _U(4) + k) * _V, y)
    for k in range(_U(4)):
        y0, y1, y2, y3 = _rows(first, k * _V, _U(4) * _V)
        for m in range(_U(4)):
            z = y0 * splat(inverse[m * _WIDTH])
            z = z + y1 * splat(inverse[m * _WIDTH + _U(1)])
            z = z + y2 * splat(inverse[m * _WIDTH + _U(2)])
            z = z + y3 * splat(inverse[m * _WIDTH + _U(3)])
            vstore(second, (k * _U(4) + m) * _V, z)


@kernel
def _add_group(time, grown_at, spectrum, edges):
    """edges.eigen += Z o F of a group: F = e^{larger x time} (1 - e^{-gap x time}) / gap."""
    keep_whole()
    grown, second, eigen = edges.grown, edges.second, edges.eigen
    one = splat(1.0)
    for k in range(_U(4)):
        for m in range(k + _U(1)):
            at = k * _WIDTH + m
            larger = one + vmax(vload(grown, grown_at + k * _V), vload(grown, grown_at + m * _V))
            factor = time * splat(spectrum.equal[at])
            if k != m:
                factor = factor - vexpm1(time * splat(spectrum.gaps[at])) * splat(spectrum.inverse_gaps[at])
            factor = factor * larger
            one_way, other_way = (k * _U(4) + m) * _V, (m * _U(4) + k) * _V
            vstore(eigen, one_way, vload(eigen, one_way) + vload(second, one_way) * factor)
            if k != m:
                vstore(eigen, other_way, vload(eigen, other_way) + vload(second, other_way) * factor)


@kernel
def pull_back_edges(t, rates, spectrum, edges, parameters, results):
    """Slopes of lengths and rates of tree t, and of Q in the basis of its eigenvectors (spectra.Results)."""
    nodes, groups = results.lengths.shape[1] + 1, edges.lengths.shape[0] // LANES
    edges.eigen[:] = 0.0
    results.lengths[t] = 0.0
    for c in range(rates.shape[0]):
        total = splat(0.0)
        for group in range(groups):
            time, at = splat(rates[c]) * vload(edges.lengths, _U(group) * _V), _U((c * groups + group) * 4) * _V
            _set_z(_U((c * groups + group) * 16) * _V, spectrum, edges)
            slope = splat(0.0)
            for k in range(4):
                grown = splat(1.0) + vload(edges.grown, at + _U(k) * _V)
                slope = slope + splat(spectrum.values[k]) * grown * vload(edges.second, _U(5 * k) * _V)
            if parameters:
                _add_group(time, at, spectrum, edges)
            total = total + slope * vload(edges.lengths, _U(group) * _V)
            vstore(edges.first, _U(0), slope)
            for v in range(max(1, group * LANES), min(nodes, (group + 1) * LANES)):
                results.lengths[t, v - 1] += rates[c] * edges.first[v - group * LANES]
        results.rates[t, c] = vsum(total)
    for k in range(4):
        for m in range(4):
            results.eigen[t, k, m] = vsum(vload(edges.eigen, _U(4 * k + m) * _V))

"""Transition matrices of a reversible model from its spectrum, and the way back from cross-products to parameters.

Q = V diag(values) V^-1, P(t) = V exp(values r t) V^-1 for a category of rate r. Matrices of S states lie in flat arrays by
rows of `width`, S filled up with zeros to whole vectors of lanes; a matrix has `rows` rows, S filled up to a multiple of
four, so that products go four rows at a time.

    transitions  float64 [C, 2n-2, rows, width]   row j, column i: P[i, j] of the edge above each node
    cross        float64 [rows, width]            row j, column i: (sum over patterns of u_i l_j) / frequencies[i]

P - I comes from exp(x) - 1, so that chances of change are right to a relative error of rounding on the shortest edges too.

With X = sum of u l' over patterns (u weighted by the pattern's weight over its likelihood), d log-likelihood = tr(X' dP).
In the basis of Q's eigenvectors, Z = V' X V^-T, and with F[k, l] = (e^{l_k rt} - e^{l_l rt}) / (l_k - l_l)

    d / dt = r sum_k l_k e^{l_k rt} Z[k, k],        d / dQ = V^-T (sum over edges and categories of Z o F) V'

(docs/derivations-likelihood.md). Reversibility, frequencies[i] P[i, j] = frequencies[j] P[j, i], lets one matrix serve both
ways: what comes down is carried divided by the frequencies, for which P' turns into P.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import allocates, inline_kernel, inner_kernel, kernel
from vbpi_mix.kernels.simd import LANES, keep_whole, splat, vexpm1, vload, vmax, vstore, vsum
from vbpi_mix.phylo.models.kernels.pruning import aligned_zeros

# Eigenvalues closer than this are the same.
SMALLEST_GAP = 1e-200

_U = np.uint64
_V = _U(LANES)
_ZERO, _ONE, _TWO, _THREE, _FOUR = (_U(x) for x in range(5))


class Shape(NamedTuple):
    """states S; rows: S to a multiple of four; width: S to whole vectors."""

    states: np.uint64
    rows: np.uint64
    width: np.uint64


class Spectrum(NamedTuple):
    """One parameter vector (head of this file): V, its transpose, V^-1 and its transpose, [rows, width] each, values
    and frequencies [width].

    gaps, inverse_gaps, equal [rows, width]: -|l_k - l_l|, one over |l_k - l_l|, and 1 where the two are the same (the
    inverse is zero there).
    """

    shape: Shape
    vectors: np.ndarray
    vectors_t: np.ndarray
    inverse: np.ndarray
    inverse_t: np.ndarray
    values: np.ndarray
    frequencies: np.ndarray
    gaps: np.ndarray
    inverse_gaps: np.ndarray
    equal: np.ndarray


class Workspace(NamedTuple):
    """Of one thread: three matrices [rows, width], a vector [width], and the sum of Z o F over edges, transposed."""

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    grown: np.ndarray
    eigen: np.ndarray


class Results(NamedTuple):
    """What R rows, each a part of the data under a tree, are written to: log-likelihoods [R], slopes of lengths [R, E], of Q
    in the basis of its eigenvectors [R, S, S], of frequencies [R, S], rates and weights of categories [R, C], invariant [R].
    """

    values: np.ndarray
    lengths: np.ndarray
    eigen: np.ndarray
    frequencies: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    invariant: np.ndarray


@inner_kernel
def shape_of(states):
    """Shape of matrices of so many states."""
    return Shape(_U(states), _U((states + 3) // 4 * 4), _U((states + LANES - 1) // LANES * LANES))


@kernel
@allocates
def empty_spectrum(states):
    """Memory for one parameter vector."""
    rows, width = (states + 3) // 4 * 4, (states + LANES - 1) // LANES * LANES
    size = rows * width
    return Spectrum(
        shape_of(states), aligned_zeros(size), aligned_zeros(size), aligned_zeros(size), aligned_zeros(size),
        aligned_zeros(width), aligned_zeros(width), aligned_zeros(size), aligned_zeros(size), aligned_zeros(size),
    )  # fmt: skip


@kernel
@allocates
def empty_workspace(states):
    """Memory for the products."""
    rows, width = (states + 3) // 4 * 4, (states + LANES - 1) // LANES * LANES
    size = rows * width
    return Workspace(
        aligned_zeros(size), aligned_zeros(size), aligned_zeros(size), aligned_zeros(width), aligned_zeros(size)
    )


@kernel
def set_spectrum(rates, m, spectrum):
    """Fill in parameter vector m."""
    states, width = rates.values.shape[1], spectrum.values.shape[0]
    for i in range(states):
        spectrum.values[i] = rates.values[m, i]
        spectrum.frequencies[i] = rates.frequencies[m, i]
        for k in range(states):
            spectrum.vectors[i * width + k] = rates.vectors[m, i, k]
            spectrum.vectors_t[k * width + i] = rates.vectors[m, i, k]
            spectrum.inverse[i * width + k] = rates.inverse[m, i, k]
            spectrum.inverse_t[k * width + i] = rates.inverse[m, i, k]
            gap = abs(rates.values[m, i] - rates.values[m, k])
            same = gap < SMALLEST_GAP
            spectrum.gaps[i * width + k] = -gap
            spectrum.inverse_gaps[i * width + k] = 0.0 if same else 1.0 / gap
            spectrum.equal[i * width + k] = 1.0 if same else 0.0


@inline_kernel
def _multiply_add(sums, scalars, at, step, vector):
    """Four sums of lanes, each and a scalar times the same vector."""
    return (
        sums[0] + splat(scalars[at]) * vector,
        sums[1] + splat(scalars[at + step]) * vector,
        sums[2] + splat(scalars[at + _TWO * step]) * vector,
        sums[3] + splat(scalars[at + _THREE * step]) * vector,
    )


@inline_kernel
def _store_rows(out, at, width, sums):
    vstore(out, at, sums[0])
    vstore(out, at + width, sums[1])
    vstore(out, at + _TWO * width, sums[2])
    vstore(out, at + _THREE * width, sums[3])


@kernel
def multiply(left, left_at, right, right_at, out, out_at, rows, shape):
    """out [rows, width] = left [rows, width] @ right [S, width]; rows is a multiple of four."""
    keep_whole()
    states, width = shape.states, shape.width
    zero = splat(0.0)
    for r in range(_ZERO, rows, _FOUR):
        a, o = left_at + r * width, out_at + r * width
        w = _ZERO
        while w + _V < width:
            x = y = (zero, zero, zero, zero)
            for j in range(states):
                at = right_at + j * width + w
                x = _multiply_add(x, left, a + j, width, vload(right, at))
                y = _multiply_add(y, left, a + j, width, vload(right, at + _V))
            _store_rows(out, o + w, width, x)
            _store_rows(out, o + w + _V, width, y)
            w += _TWO * _V
        if w < width:
            x = (zero, zero, zero, zero)
            for j in range(states):
                x = _multiply_add(x, left, a + j, width, vload(right, right_at + j * width + w))
            _store_rows(out, o + w, width, x)


@inline_kernel
def _load_rows(array, at, width):
    return (
        vload(array, at),
        vload(array, at + width),
        vload(array, at + _TWO * width),
        vload(array, at + _THREE * width),
    )


@kernel
def add_cross_products(below, above, above_at, out, out_at, count, shape):
    """out [rows, width], row j, += sum over `count` patterns of below[p, j] above[p, :]; both [count, width]."""
    keep_whole()
    width = shape.width
    for j in range(_ZERO, shape.rows, _FOUR):
        o = out_at + j * width
        w = _ZERO
        while w + _V < width:
            x, y = _load_rows(out, o + w, width), _load_rows(out, o + w + _V, width)
            for p in range(count):
                at = above_at + p * width + w
                x = _multiply_add(x, below, p * width + j, _ONE, vload(above, at))
                y = _multiply_add(y, below, p * width + j, _ONE, vload(above, at + _V))
            _store_rows(out, o + w, width, x)
            _store_rows(out, o + w + _V, width, y)
            w += _TWO * _V
        if w < width:
            x = _load_rows(out, o + w, width)
            for p in range(count):
                x = _multiply_add(x, below, p * width + j, _ONE, vload(above, above_at + p * width + w))
            _store_rows(out, o + w, width, x)


@kernel
def set_transitions(time, spectrum, work, out, at):
    """P of one edge, `time` the rate times the length, to out from `at` on."""
    shape = spectrum.shape
    states, rows, width = shape.states, shape.rows, shape.width
    for w in range(_ZERO, width, _V):
        grown = vexpm1(splat(time) * vload(spectrum.values, w))
        for j in range(rows):
            vstore(work.first, j * width + w, vload(spectrum.inverse_t, j * width + w) * grown)
    multiply(work.first, _ZERO, spectrum.vectors_t, _ZERO, out, at, rows, shape)
    for j in range(states):
        out[at + j * width + j] += 1.0
    zero = splat(0.0)
    for k in range(_ZERO, rows * width, _V):
        vstore(out, at + k, vmax(vload(out, at + k), zero))


@kernel
def pull_back(cross, at, time, spectrum, work, parameters):
    """sum_k l_k e^{l_k time} Z[k, k] of one edge and category; where `parameters`, Z o F is added to work.eigen."""
    shape = spectrum.shape
    rows, width = shape.rows, shape.width
    one = splat(1.0)
    for w in range(_ZERO, width, _V):
        vstore(work.grown, w, one + vexpm1(splat(time) * vload(spectrum.values, w)))
        frequencies = vload(spectrum.frequencies, w)
        for j in range(rows):
            vstore(work.first, j * width + w, vload(cross, at + j * width + w) * frequencies)
    multiply(work.first, _ZERO, spectrum.vectors, _ZERO, work.second, _ZERO, rows, shape)
    slope = splat(0.0)
    for w in range(_ZERO, width, _V):
        diagonal = splat(0.0)
        for j in range(rows):
            diagonal = diagonal + vload(spectrum.inverse_t, j * width + w) * vload(work.second, j * width + w)
        slope = slope + vload(spectrum.values, w) * vload(work.grown, w) * diagonal
    if parameters:
        multiply(spectrum.inverse, _ZERO, work.second, _ZERO, work.third, _ZERO, rows, shape)
        _add_eigen(time, spectrum, work)
    return vsum(slope)


@kernel
def _add_eigen(time, spectrum, work):
    """work.eigen += Z o F, transposed: with a = e^{larger of the two eigenvalues x time}, F = a (1 - e^{-gap time}) / gap."""
    shape = spectrum.shape
    states, width = shape.states, shape.width
    for k in range(states):
        for w in range(_ZERO, width, _V):
            at = k * width + w
            larger = vmax(splat(work.grown[k]), vload(work.grown, w))
            decay = vexpm1(splat(time) * vload(spectrum.gaps, at))
            factor = splat(time) * vload(spectrum.equal, at) - decay * vload(spectrum.inverse_gaps, at)
            vstore(work.eigen, at, vload(work.eigen, at) + vload(work.third, at) * (larger * factor))


@kernel
def correct_for_ascertainment(value, sites, constant):
    """Log-likelihood given that no site is constant: value - sites log(1 - constant), and its slope in `constant`."""
    varying = 1.0 - constant
    if value == -np.inf or not varying > 0.0:
        return -np.inf, 0.0
    return value - sites * np.log(varying), sites / varying

"""Adam of a flat array, and of some rows of a table, each with a clock of its own (training/adam.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, splat, vload, vsqrt, vstore

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
# Rows of at least this many elements are worth the cost of slicing them out, which lets their loop be vectorised.
LONG_ROW = 16


@kernel
def _move(first, second, gradient, size, correction, like):
    """Both moments after a gradient, and the step to subtract, in the type of `like`."""
    number = like.dtype.type
    beta_1, rest_1 = number(BETA_1), number(1.0 - BETA_1)
    beta_2, rest_2 = number(BETA_2), number(1.0 - BETA_2)
    mean = beta_1 * first + rest_1 * gradient
    square = beta_2 * second + rest_2 * gradient * gradient
    return mean, square, size * mean / (np.sqrt(square) * correction + number(EPSILON))


@kernel
def adam_kernel(values, gradients, first, second, size, correction):
    """One Adam step of flat arrays [N], in place.

    size = learning rate / (1 - beta_1^t), correction = 1 / sqrt(1 - beta_2^t), as python floats; they and
    the constants take the arrays' type, since one double among them would make the whole loop double.
    """
    number = values.dtype.type
    size, correction = number(size), number(correction)
    for i in range(np.uint64(values.size)):
        first[i], second[i], step = _move(first[i], second[i], gradients[i], size, correction, values)
        values[i] -= step


class RowState(NamedTuple):
    """A parameter whose rows go through Adam each on its own clock.

    columns: C. values, first and second moments flat [N * C]; steps int64 [N] that each row has taken; learning_rates
    float64 [N].
    """

    columns: Any
    values: Any
    first: Any
    second: Any
    steps: Any
    learning_rates: Any


@kernel
def _adam_row(row, source, gradients, corrections, state):
    """adam_kernel for one row; its gradient begins at gradients[source]."""
    columns, values, first, second = state.columns, state.values, state.first, state.second
    state.steps[row] += 1
    t = min(state.steps[row], corrections.shape[1] - 1)
    size = state.learning_rates[row] * corrections[0, t]
    correction = corrections[1, t]
    begin, end = row * columns, (row + 1) * columns
    if columns >= LONG_ROW:
        adam_kernel(
            values[begin:end], gradients[source : source + columns], first[begin:end], second[begin:end], size, correction
        )
        return
    number = values.dtype.type
    size, correction = number(size), number(correction)
    for i in range(columns):
        at = begin + i
        first[at], second[at], step = _move(first[at], second[at], gradients[source + i], size, correction, values)
        values[at] -= step


@kernel
def adam_rows(rows, gradients, corrections, state):
    """One Adam step of some rows of a RowState, in place: gradients flat [U * C] of rows [U]; corrections as _corrections
    has them.
    """
    for i in range(rows.shape[0]):
        _adam_row(rows[i], i * state.columns, gradients, corrections, state)


@parallel_kernel
def adam_rows_in_parallel(rows, gradients, corrections, state):
    """The same, rows in parallel."""
    for i in prange(rows.shape[0]):
        _adam_row(rows[i], i * state.columns, gradients, corrections, state)


@kernel
def _vectors_of_row(row, source, gradients, corrections, state):
    """_adam_row for a row a multiple of LANES long, without slices, which cost as much as a hundred elements."""
    number = state.values.dtype.type
    state.steps[row] += 1
    t = min(state.steps[row], corrections.shape[1] - 1)
    size, correction = splat(number(state.learning_rates[row] * corrections[0, t])), splat(number(corrections[1, t]))
    beta_1, rest_1 = splat(number(BETA_1)), splat(number(1.0 - BETA_1))
    beta_2, rest_2 = splat(number(BETA_2)), splat(number(1.0 - BETA_2))
    least, begin = splat(number(EPSILON)), row * state.columns
    for j in range(0, state.columns, LANES):
        at, slope = begin + j, vload(gradients, source + j)
        mean = beta_1 * vload(state.first, at) + rest_1 * slope
        square = beta_2 * vload(state.second, at) + rest_2 * slope * slope
        vstore(state.first, at, mean)
        vstore(state.second, at, square)
        step = size * mean / (vsqrt(square) * correction + least)
        vstore(state.values, at, vload(state.values, at) - step)


@kernel
def adam_vectors(rows, gradients, corrections, state):
    """adam_rows where C is a multiple of LANES."""
    for i in range(rows.shape[0]):
        _vectors_of_row(rows[i], i * state.columns, gradients, corrections, state)


@parallel_kernel
def adam_vectors_in_parallel(rows, gradients, corrections, state):
    """The same, rows in parallel."""
    for i in prange(rows.shape[0]):
        _vectors_of_row(rows[i], i * state.columns, gradients, corrections, state)

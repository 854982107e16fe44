"""Arithmetic of one block of a part: LANES patterns, each state of each category of rates a vector.

Matrices are float64 [S, S] row by row, at an offset of a flat array, and so are the vectors of a block: [S, LANES] of one
category, [C, S, LANES] of all.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import inline_kernel, kernel
from vbpi_mix.kernels.simd import LANES, keep_whole, splat, vload, vmax, vstore

_U = np.uint64


@inline_kernel
def entry(array, at):
    """All lanes equal to one number of an array; an unsigned index costs no test for a negative one."""
    return splat(array[_U(at)])


@kernel
def transition_matrices(t, speeds, speeds_at, vectors, inverse, square_at, states, categories, target, at):
    """P = I + V (exp(values r t) - 1) V^-1 of each category, written to target [C, S, S]; no entry below zero.

    speeds: eigenvalues times rates, [C, S]. With exp - 1 what lies off the diagonal is right for short branches too.
    """
    for c in range(categories):
        for i in range(states):
            row = _U(at + (c * states + i) * states)
            for j in range(states):
                target[row + _U(j)] = 0.0
            for k in range(states):
                grown = vectors[_U(square_at + i * states + k)] * np.expm1(speeds[_U(speeds_at + c * states + k)] * t)
                for j in range(states):
                    target[row + _U(j)] += grown * inverse[_U(square_at + k * states + j)]
            target[row + _U(i)] += 1.0
            for j in range(states):
                target[row + _U(j)] = max(0.0, target[row + _U(j)])


@inline_kernel
def entry_four(array, at):
    """Four numbers, each in all lanes."""
    return entry(array, at), entry(array, at + 1), entry(array, at + 2), entry(array, at + 3)


@inline_kernel
def times_four(matrix, at, x0, x1, x2, x3):
    """A matrix of four states times x."""
    y0 = (entry(matrix, at) * x0 + entry(matrix, at + 1) * x1) + (entry(matrix, at + 2) * x2 + entry(matrix, at + 3) * x3)
    y1 = (entry(matrix, at + 4) * x0 + entry(matrix, at + 5) * x1) + (entry(matrix, at + 6) * x2 + entry(matrix, at + 7) * x3)
    y2 = (entry(matrix, at + 8) * x0 + entry(matrix, at + 9) * x1) + (entry(matrix, at + 10) * x2 + entry(matrix, at + 11) * x3)
    y3 = (entry(matrix, at + 12) * x0 + entry(matrix, at + 13) * x1) + (entry(matrix, at + 14) * x2 + entry(matrix, at + 15) * x3)
    return y0, y1, y2, y3


@inline_kernel
def load_four(x, at):
    """The vectors of four states."""
    return vload(x, at), vload(x, at + LANES), vload(x, at + 2 * LANES), vload(x, at + 3 * LANES)


@inline_kernel
def store_four(x, at, x0, x1, x2, x3):
    """Write the vectors of four states."""
    vstore(x, at, x0)
    vstore(x, at + LANES, x1)
    vstore(x, at + 2 * LANES, x2)
    vstore(x, at + 3 * LANES, x3)


@inline_kernel
def largest_of_four(x0, x1, x2, x3):
    """Lane by lane."""
    return vmax(vmax(x0, x1), vmax(x2, x3))


@kernel
def multiply(matrix, at, x, x_at, stride, factor, out, out_at, states, categories):
    """out = factor * (matrix times x) in each category, whose x begin `stride` apart.

    Four rows at a time, so that a vector that was loaded serves four of them.
    """
    keep_whole()
    for c in range(categories):
        row, source, target = at + c * states * states, x_at + c * stride, out_at + c * states * LANES
        first = vload(x, source)
        i = 0
        while i + 4 <= states:
            k0, k1, k2, k3 = row, row + states, row + 2 * states, row + 3 * states
            m0, m1 = entry(matrix, k0) * first, entry(matrix, k1) * first
            m2, m3 = entry(matrix, k2) * first, entry(matrix, k3) * first
            for j in range(1, states):
                xj = vload(x, source + j * LANES)
                m0 = m0 + entry(matrix, k0 + j) * xj
                m1 = m1 + entry(matrix, k1 + j) * xj
                m2 = m2 + entry(matrix, k2 + j) * xj
                m3 = m3 + entry(matrix, k3 + j) * xj
            store_four(out, target, m0 * factor, m1 * factor, m2 * factor, m3 * factor)
            i, row, target = i + 4, row + 4 * states, target + 4 * LANES
        while i < states:
            m0 = entry(matrix, row) * first
            for j in range(1, states):
                m0 = m0 + entry(matrix, row + j) * vload(x, source + j * LANES)
            vstore(out, target, m0 * factor)
            i, row, target = i + 1, row + states, target + LANES


@kernel
def products(x, x_at, y, y_at, out, out_at, count):
    """out = x times y, of `count` vectors; returns the largest of each lane."""
    largest = splat(0.0)
    for k in range(count):
        value = vload(x, x_at + k * LANES) * vload(y, y_at + k * LANES)
        largest = vmax(largest, value)
        vstore(out, out_at + k * LANES, value)
    return largest


@inline_kernel
def sum_of_products(numbers, at, x, x_at, count):
    """The sum of `count` vectors, each times a number."""
    s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    quads = count // 4
    for quad in range(quads):
        k = 4 * quad
        s0 = s0 + entry(numbers, at + k) * vload(x, x_at + k * LANES)
        s1 = s1 + entry(numbers, at + k + 1) * vload(x, x_at + (k + 1) * LANES)
        s2 = s2 + entry(numbers, at + k + 2) * vload(x, x_at + (k + 2) * LANES)
        s3 = s3 + entry(numbers, at + k + 3) * vload(x, x_at + (k + 3) * LANES)
    for k in range(4 * quads, count):
        s0 = s0 + entry(numbers, at + k) * vload(x, x_at + k * LANES)
    return (s0 + s1) + (s2 + s3)

"""Arithmetic of four states for the kernels of a CUDA device, and what a node sends up its edge.

A thread works on one pattern (or some, one after the other) of one row and category. Arrays are flat, patterns fastest, so that
neighbouring threads read neighbouring addresses; R rows (a tree with its parameter vector), C categories, n taxa, P patterns:

    trees        int32   [R, n-2, 3]        both children of each internal node, and where its rescaling is kept; -1: it has none
    codes        uint8   [n + 1, P]         state sets of the taxa, bit k for state k; last: states that every taxon may have
    sites        float64 [2, P]             pattern weights; 1 for the constant patterns that +ASC adds at the end, else 0
    models       float64 [R, 41 + 2 C]      V, V^-1, eigenvalues, frequencies, share of invariant sites, rates, weights
    transitions  float64 [R, C, 2n-2, 4, 4] P of the edge above each node, row: state above, column: state below
    message      float64 [R, C, n-2, 4, P]  of an internal node: what it sends up its edge, P l; on the way down overwritten by
                                            what the rest of the tree sends to it, over frequencies
    scale        float64 [R, C, K, P]       the power of two by which the partials of a rescaled node were multiplied
    exponent     float64 [R, C, P]          of the power of two that was taken out of a category's likelihood
    likelihood   float64 [R, C, P]          of a category
    totals       float64 [R, 3, P]          likelihood of a pattern over 2^largest; largest; what all invariant sites have of it
    sums         float64 [R, strips, 7 + C] of the root: log-likelihood, constant patterns, slopes of the share of invariant
                                            sites, of frequencies and of weights
    cross        float64 [R, C, strips, 2n-2, 4, 4]  row j, column i: sum of l_j u_i of the edge above each node
    edges        float64 [R, C, 2n-2 + 17]  slopes in rate x length; then those of Q in the basis of its eigenvectors, and that
                                            of the rate

Only kernels.py asks where a thread stands, and waits for others. The mathematics is that of
the kernels of processors (models/kernels/four_states.py, spectra.py).
"""

from __future__ import annotations

import math
from typing import Any

import numba
from numba import cuda

# numba fills its configuration module when it is imported, so that a type checker sees nothing in it.
_numba_config: Any = numba.config
# In a block, a multiple of 16 and a power of two; of the simulator each thread is a thread of Python.
THREADS = 16 if getattr(_numba_config, "ENABLE_CUDASIM", False) else 128
# Where what stands in `models`.
INVERSE, VALUES, FREQUENCIES, INVARIANT, RATES = 16, 32, 36, 40, 41
# Taxa below a rescaled node since the last one, at least; the reason stands in kernels/jukes_cantor.py.
TAXA_BETWEEN_RESCALINGS = 16

device_function = cuda.jit(device=True)


@device_function
def larger(x, y):
    """Of two numbers. Not max: numba's CUDA target does not compile that in every version."""
    return x if x > y else y


@device_function
def smaller(x, y):
    """Of two numbers."""
    return x if x < y else y


@device_function
def load(array, at, step):
    """Four numbers, `step` apart."""
    return array[at], array[at + step], array[at + 2 * step], array[at + 3 * step]


@device_function
def store(array, at, step, x):
    """Store four numbers, `step` apart."""
    array[at] = x[0]
    array[at + step] = x[1]
    array[at + 2 * step] = x[2]
    array[at + 3 * step] = x[3]


@device_function
def product(x, y):
    """Of each of four numbers with its partner."""
    return x[0] * y[0], x[1] * y[1], x[2] * y[2], x[3] * y[3]


@device_function
def times(x, factor):
    """Four numbers, each times the same."""
    return x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor


@device_function
def total(x):
    """Of four numbers."""
    return (x[0] + x[1]) + (x[2] + x[3])


@device_function
def add_scaled(sums, x, factor):
    """Four sums, each and a number times the same."""
    return sums[0] + x[0] * factor, sums[1] + x[1] * factor, sums[2] + x[2] * factor, sums[3] + x[3] * factor


@device_function
def add_products(sums, x, y):
    """A matrix of sums, four rows of four, and y x'."""
    return (
        add_scaled(sums[0], x, y[0]),
        add_scaled(sums[1], x, y[1]),
        add_scaled(sums[2], x, y[2]),
        add_scaled(sums[3], x, y[3]),
    )


@device_function
def no_sums():
    """A matrix of zeros."""
    return (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)


@device_function
def propagate(matrices, at, x):
    """The matrix that begins there, times x."""
    return (
        total(product(load(matrices, at, 1), x)),
        total(product(load(matrices, at + 4, 1), x)),
        total(product(load(matrices, at + 8, 1), x)),
        total(product(load(matrices, at + 12, 1), x)),
    )


@device_function
def indicator(code):
    """0/1 partials of a state set."""
    return float(code & 1), float((code >> 1) & 1), float((code >> 2) & 1), float((code >> 3) & 1)


@device_function
def power_of_two(exponent):
    """2^exponent, as if at the limit beyond the normal numbers."""
    return math.ldexp(1.0, int(smaller(larger(exponent, -1022.0), 1023.0)))


def slots_of(n: int) -> int:
    """K: a rescaled node leaves one for at least TAXA_BETWEEN_RESCALINGS."""
    return 1 + (n - 1) // (TAXA_BETWEEN_RESCALINGS - 1)


most_rescaled = device_function(slots_of)


@device_function
def sent(v, p, tree):
    """What node v sends up its edge at pattern p.

    tree: n, P, codes, transitions and where those of this tree begin, messages and where those of this tree begin.
    """
    n, size, codes, transitions, matrices_at, message, messages_at = tree
    if v < n:
        return propagate(transitions, matrices_at + 16 * v, indicator(codes[v * size + p]))
    return load(message, messages_at + (v - n) * 4 * size + p, size)

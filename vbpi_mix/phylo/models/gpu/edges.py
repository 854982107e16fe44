"""Transition matrices of all edges, and the way back from their cross-products to slopes (layouts: arithmetic.py)."""

from __future__ import annotations

import math

from vbpi_mix.phylo.models.gpu.arithmetic import (
    FREQUENCIES,
    INVERSE,
    RATES,
    THREADS,
    VALUES,
    add_scaled,
    device_function,
    larger,
    load,
    no_sums,
    product,
    propagate,
    times,
    total,
)

# Eigenvalues closer than this are the same.
_SMALLEST_GAP = 1e-200


@device_function
def set_matrix(edge, own, models, lengths, transitions, shape):
    """P of an edge under a category; own: number of the row and category."""
    n, _, categories = shape
    nodes = 2 * n - 2
    row = own // categories
    model_at = row * (RATES + 2 * categories)
    time = models[model_at + RATES + own % categories] * lengths[row * (nodes - 1) + edge]
    values = load(models, model_at + VALUES, 1)
    # P - I, so that chances of change are right on the shortest edges too.
    grown = math.expm1(values[0] * time), math.expm1(values[1] * time), math.expm1(values[2] * time), math.expm1(values[3] * time)
    at = (own * nodes + edge + 1) * 16
    for i in range(4):
        vectors = product(load(models, model_at + 4 * i, 1), grown)
        for j in range(4):
            chance = total(product(vectors, load(models, model_at + INVERSE + j, 4)))
            transitions[at + 4 * i + j] = larger(chance + 1.0 if i == j else chance, 0.0)


@device_function
def pull_back_edges(first, own, models, lengths, cross, edges, strips, shape):
    """Slopes of lengths, for every THREADS-th edge; and summed over these, the slope of the rate and that of Q in the basis of
    its eigenvectors.
    """
    n, _, categories = shape
    nodes = 2 * n - 2
    row = own // categories
    model_at = row * (RATES + 2 * categories)
    rate, values = models[model_at + RATES + own % categories], load(models, model_at + VALUES, 1)
    of_rate, sums, out = 0.0, no_sums(), own * (nodes + 17)
    v = first + 1
    while v < nodes:
        length = lengths[row * (nodes - 1) + v - 1]
        time = rate * length
        z = _in_basis(cross, (own * strips * nodes + v) * 16, models, model_at)
        slope = 0.0
        slope += values[0] * math.exp(values[0] * time) * z[0][0]
        slope += values[1] * math.exp(values[1] * time) * z[1][1]
        slope += values[2] * math.exp(values[2] * time) * z[2][2]
        slope += values[3] * math.exp(values[3] * time) * z[3][3]
        edges[out + v] = slope
        of_rate += length * slope
        sums = (
            _add_row(sums[0], z[0], values[0], values, time),
            _add_row(sums[1], z[1], values[1], values, time),
            _add_row(sums[2], z[2], values[2], values, time),
            _add_row(sums[3], z[3], values[3], values, time),
        )
        v += THREADS
    return of_rate, sums


@device_function
def _in_basis(cross, at, models, model_at):
    """Z = V' X V^-T of an edge (kernels/spectra.py), four rows of four."""
    x0 = _row_in_basis(cross, at, models, model_at)
    x1 = _row_in_basis(cross, at + 4, models, model_at)
    x2 = _row_in_basis(cross, at + 8, models, model_at)
    x3 = _row_in_basis(cross, at + 12, models, model_at)
    inverse = model_at + INVERSE
    return (
        propagate(models, inverse, (x0[0], x1[0], x2[0], x3[0])),
        propagate(models, inverse, (x0[1], x1[1], x2[1], x3[1])),
        propagate(models, inverse, (x0[2], x1[2], x2[2], x3[2])),
        propagate(models, inverse, (x0[3], x1[3], x2[3], x3[3])),
    )


@device_function
def _row_in_basis(cross, at, models, model_at):
    """Of a row of cross-products over frequencies: times V."""
    x = product(load(cross, at, 1), load(models, model_at + FREQUENCIES, 1))
    found = times(load(models, model_at, 1), x[0])
    found = add_scaled(found, load(models, model_at + 4, 1), x[1])
    found = add_scaled(found, load(models, model_at + 8, 1), x[2])
    return add_scaled(found, load(models, model_at + 12, 1), x[3])


@device_function
def _add_row(sums, z, value, values, time):
    """Sums, and a row of Z times that of F."""
    return (
        sums[0] + z[0] * _difference(value, values[0], time),
        sums[1] + z[1] * _difference(value, values[1], time),
        sums[2] + z[2] * _difference(value, values[2], time),
        sums[3] + z[3] * _difference(value, values[3], time),
    )


@device_function
def _difference(one, other, time):
    """F of two eigenvalues: e^{larger x time} (1 - e^{-gap x time}) / gap."""
    gap, grown = math.fabs(one - other), math.exp(larger(one, other) * time)
    return grown * time if gap < _SMALLEST_GAP else -grown * math.expm1(-gap * time) / gap

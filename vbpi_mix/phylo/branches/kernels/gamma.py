"""The gamma base density: draws and densities under R components, and their gradient.

A length is exp(mode) G / shape, up to the shift that all lengths have, with G ~ Gamma(shape, rate 1); so z, its logarithm,
has the density

    log q(z) = shape log shape - log Gamma(shape) + shape (z - mode - exp(z - mode)),

with its highest point and curvature there at the mode and the shape. Each edge has up to three feature rows (its split,
the primary subsplit pairs at its two ends; -1: none); mode and log shape are sums of its rows of features
float64 [A, n_features, 2].

A draw is the inverse distribution function at Phi(noise), noise standard normal, so it is monotone in the noise, and for
large shapes mode + noise / sqrt(shape): the same noise serves this base and the log-normal one. A log shape outside the
limits of gamma_function.py counts as the nearest limit, and the gradient with respect to it is zero there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, splat, vexp, vload, vmin, vstore
from vbpi_mix.phylo.branches.kernels.gamma_function import (
    HALF_LOG_TWO_PI,
    HIGH_LOG_SHAPE,
    LOW_LOG_SHAPE,
    correction,
    log_gamma_draw,
)


class GammaPass(NamedTuple):
    """T trees: which edges and components, the random numbers, and what is made of them.

    rows int32 [T, E, 3]; own int64 [T], the place among the evaluated of the component that draws; evaluated int64 [R];
    noise [T, E], standard normal. Filled, float64: draws [T, E]; log_q [T, R]; for the gradient draw_slopes [T, E] and
    scores [T, R, E, 2], as base_tree has them.
    """

    rows: Any
    own: Any
    evaluated: Any
    noise: Any
    draws: Any
    log_q: Any
    draw_slopes: Any
    scores: Any


# Beyond, exp(z - mode) stops growing: a draw that far to the right of a component has no density there, but its
# gradient must stay a number, since it is multiplied by a responsibility of zero.
EXPONENT_LIMIT = 500.0


@kernel
def _parameters(rows, table, modes, log_shapes, shapes, free):
    """Fill for E edges modes, log_shapes within limits, shapes, and free: 1.0 if log shape was within them, else 0.0.

    The arrays have room for whole vectors.
    """
    edges = rows.shape[0]
    for e in range(edges):
        mode, log_shape = 0.0, 0.0
        for i in range(3):
            row = rows[e, i]
            if row >= 0:
                mode += table[row, 0]
                log_shape += table[row, 1]
        modes[e] = mode
        inside = LOW_LOG_SHAPE < log_shape < HIGH_LOG_SHAPE
        free[e] = 1.0 if inside else 0.0
        if not inside:
            if np.isnan(log_shape):  # it must not index a table, yet be seen
                modes[e] = log_shape
            log_shape = HIGH_LOG_SHAPE if log_shape >= HIGH_LOG_SHAPE else LOW_LOG_SHAPE
        log_shapes[e] = log_shape
    for at in range(0, edges, LANES):
        vstore(shapes, at, vexp(vload(log_shapes, at)))


@kernel
def _density(tables, modes, log_shapes, shapes, free, draws, ratios, score):
    """log q of E draws under one component, summed; fills score [E, 2], its gradient in mode and log shape by edge.

    ratios is scratch, with room for whole vectors.
    """
    edges = draws.shape[0]
    for e in range(edges):
        ratios[e] = draws[e] - modes[e]
    for at in range(0, edges, LANES):
        vstore(ratios, at, vexp(vmin(vload(ratios, at), splat(EXPONENT_LIMIT))))
    total = -HALF_LOG_TWO_PI * edges
    for e in range(edges):
        shape = shapes[e]
        value, slope = correction(tables.correction, log_shapes[e])
        descent = shape * (1.0 - ratios[e] + (draws[e] - modes[e]))
        total += 0.5 * log_shapes[e] - value + descent
        score[e, 0] = shape * (ratios[e] - 1.0)
        score[e, 1] = free[e] * (0.5 - slope + descent)
    return total


@kernel
@allocates
def base_tree(rows, features, own, evaluated, noise, tables, draws, draw_slopes, log_q, scores):
    """Draw the base log-lengths of one tree from evaluated component `own` and evaluate them under all R.

    rows int32 [E, 3]; features float64 [A, n_features, 2]; evaluated int64 [R]; noise float64 [E], standard normal;
    tables of gamma_function.py. Filled, float64: draws [E]; log_q [R]; for the gradient draw_slopes [E], of the draws in
    their own log shape with the noise fixed, and scores [R, E, 2], of log q_r in mode and log shape of each edge.
    """
    edges, components = noise.shape[0], evaluated.shape[0]
    room = (edges + LANES - 1) // LANES * LANES
    scratch = np.zeros((5, room))
    modes, log_shapes, shapes, free, ratios = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    powers = np.empty(LANES)
    for i in range(components):
        # The own component first: it makes the draws.
        r = own if i == 0 else i - 1 if i <= own else i
        _parameters(rows, features[evaluated[r]], modes, log_shapes, shapes, free)
        if i == 0:
            for e in range(edges):
                w, slope = log_gamma_draw(tables, 1.0 / np.sqrt(shapes[e]), noise[e], powers)
                draws[e] = modes[e] + w
                draw_slopes[e] = free[e] * slope
        log_q[r] = _density(tables, modes, log_shapes, shapes, free, draws, ratios, scores[r])


@kernel
def base_gradient(rows, own, draw_slopes, scores, draw_upstream, log_q_upstream, r, table):
    """Gradient of sum(draw_upstream * draws) + sum(log_q_upstream * log_q) with respect to the features of evaluated
    component r, written to table [n_features, 2].

    rows int32 [T, E, 3]; own int64 [T]; draw_slopes and draw_upstream [T, E]; scores [T, R, E, 2]; log_q_upstream
    [T, R]. Only the trees drawn from r move with its features, through draws and through the densities of the draws under
    every component.
    """
    trees, edges = draw_upstream.shape
    components = log_q_upstream.shape[1]
    table[:] = 0.0
    for t in range(trees):
        upstream = log_q_upstream[t, r]
        mine = own[t] == r
        if upstream == 0.0 and not mine:
            continue
        for e in range(edges):
            mode = upstream * scores[t, r, e, 0]
            log_shape = upstream * scores[t, r, e, 1]
            if mine:
                moved = draw_upstream[t, e]
                for j in range(components):
                    moved -= log_q_upstream[t, j] * scores[t, j, e, 0]  # d log q / dz = -d log q / d mode
                mode += moved
                log_shape += moved * draw_slopes[t, e]
            for i in range(3):
                row = rows[t, e, i]
                if row >= 0:
                    table[row, 0] += mode
                    table[row, 1] += log_shape


@kernel
def sample(first, last, features, tables, q):
    """base_tree of trees first ... last-1 of a GammaPass, from features float64 [A, n_features, 2]."""
    for t in range(first, last):
        base_tree(
            q.rows[t], features, q.own[t], q.evaluated, q.noise[t], tables, q.draws[t], q.draw_slopes[t], q.log_q[t],
            q.scores[t],
        )  # fmt: skip


@parallel_kernel
def sample_in_parallel(chunks, features, tables, q):
    """sample of all trees, in `chunks` runs at a time."""
    trees = q.noise.shape[0]
    for chunk in prange(chunks):
        sample(chunk * trees // chunks, (chunk + 1) * trees // chunks, features, tables, q)


@kernel
def pull_back(q, numbers, of_draws, of_log_q, gradients):
    """base_gradient of every evaluated component, written to gradients [R, U, 2]; numbers int64 [T, E, 3] say where in
    them the rows of an edge are.
    """
    for r in range(gradients.shape[0]):
        base_gradient(numbers, q.own, q.draw_slopes, q.scores, of_draws, of_log_q, r, gradients[r])


@parallel_kernel
def pull_back_in_parallel(q, numbers, of_draws, of_log_q, gradients):
    """The same, components in parallel."""
    for r in prange(gradients.shape[0]):
        base_gradient(numbers, q.own, q.draw_slopes, q.scores, of_draws, of_log_q, np.int64(r), gradients[r])

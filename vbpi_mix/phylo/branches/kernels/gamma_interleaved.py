"""Gamma log-lengths of components side by side: draws, densities and gradient, eight components at a time.

The formulas are those of gamma.py. Features of A components are one flat table [n_features * 2 * W], W the next multiple of
eight: in the row of a feature stand the modes of all components and then their log shapes. Trees of one step share most of
their edges, so the parameters of each distinct edge (a profile, profiles.py) are summed once, and their gradient is spread
over its features once. Features, their gradient and the scores may be in single precision, everything else is in double.

Every lane is worked on by one thread in one order, so results do not depend on the number of threads: `lanes` (first, last)
says which are worked on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, narrow_as, splat, vexp, vload, vmin, vstore, vsum, widen
from vbpi_mix.phylo.branches.kernels.gamma import EXPONENT_LIMIT
from vbpi_mix.phylo.branches.kernels.gamma_function import (
    HALF_LOG_TWO_PI,
    HIGH_LOG_SHAPE,
    LOW_LOG_SHAPE,
    correction,
    log_gamma_draw,
)
from vbpi_mix.phylo.sbn.kernels.interleaved import share_of_lanes


class GammaLanes(NamedTuple):
    """T trees of E edges, V distinct ones, under W lanes.

    width: W; component int64 [T], which draws each tree; noise [T, E], standard normal; profiles int32 [V, 3], the feature
    rows of each distinct edge, and profile_of int64 [T, E]. Filled: draws and draw_slopes [T, E], as gamma.base_tree has
    them; flat log_q [T * W]; of distinct edges, flat [V * W]: modes, shapes, free (1.0 where log shape is within its limits,
    else 0.0), constants, the density at the mode, and slopes, its derivative in log shape; flat scores [T * E * 2 * W], of
    log q in mode and log shape.
    """

    width: Any
    component: Any
    noise: Any
    profiles: Any
    profile_of: Any
    draws: Any
    draw_slopes: Any
    log_q: Any
    modes: Any
    shapes: Any
    free: Any
    constants: Any
    slopes: Any
    scores: Any


@kernel
def _parameters(lanes, features, table, q):
    """Modes, shapes and all else that the density of a distinct edge needs; table: that of `correction`."""
    width = np.int64(q.width)
    for v in range(q.profiles.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            mode, log_shape = splat(0.0), splat(0.0)
            for i in range(3):
                row = np.int64(q.profiles[v, i])
                if row >= 0:
                    mode = mode + widen(vload(features, 2 * row * width + j))
                    log_shape = log_shape + widen(vload(features, (2 * row + 1) * width + j))
            vstore(q.modes, v * width + j, mode)
            vstore(q.shapes, v * width + j, log_shape)
        for at in range(v * width + lanes[0], v * width + lanes[1]):
            log_shape = q.shapes[at]
            inside = LOW_LOG_SHAPE < log_shape < HIGH_LOG_SHAPE
            q.free[at] = 1.0 if inside else 0.0
            if not inside:
                if np.isnan(log_shape):  # it must not index a table, yet be seen
                    q.modes[at] = log_shape
                log_shape = HIGH_LOG_SHAPE if log_shape >= HIGH_LOG_SHAPE else LOW_LOG_SHAPE
            value, slope = correction(table, log_shape)
            q.shapes[at] = log_shape
            q.constants[at] = 0.5 * log_shape - value
            q.slopes[at] = 0.5 - slope
        for j in range(lanes[0], lanes[1], LANES):
            vstore(q.shapes, v * width + j, vexp(vload(q.shapes, v * width + j)))


@kernel
def prepare(lanes, features, tables, q):
    """The parameters of distinct edges under some lanes."""
    _parameters(lanes, features, tables.correction, q)


@kernel
@allocates
def draw(tables, q):
    """The draws of all trees, each from its own component."""
    powers = np.empty(LANES)
    for t in range(q.noise.shape[0]):
        for e in range(q.noise.shape[1]):
            at = q.profile_of[t, e] * q.width + q.component[t]
            w, slope = log_gamma_draw(tables, 1.0 / np.sqrt(q.shapes[at]), q.noise[t, e], powers)
            q.draws[t, e] = q.modes[at] + w
            q.draw_slopes[t, e] = q.free[at] * slope


@kernel
def evaluate(lanes, q):
    """log q of all draws under some lanes, and its scores."""
    width, edges = np.int64(q.width), q.noise.shape[1]
    for t in range(q.noise.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            total = splat(-HALF_LOG_TWO_PI * edges)
            for e in range(edges):
                at, score = q.profile_of[t, e] * width + j, 2 * (t * edges + e) * width + j
                shape, away = vload(q.shapes, at), splat(q.draws[t, e]) - vload(q.modes, at)
                rise = vexp(vmin(away, splat(EXPONENT_LIMIT))) - splat(1.0)
                descent = shape * (away - rise)
                total = total + (vload(q.constants, at) + descent)
                vstore(q.scores, score, narrow_as(shape * rise, q.scores))
                in_log_shape = vload(q.free, at) * (vload(q.slopes, at) + descent)
                vstore(q.scores, score + width, narrow_as(in_log_shape, q.scores))
            vstore(q.log_q, t * width + j, total)


@kernel
def sample(features, tables, q):
    """Draws and densities under all lanes, from a flat table of features."""
    prepare((0, q.width), features, tables, q)
    draw(tables, q)
    evaluate((0, q.width), q)


@parallel_kernel
def sample_in_parallel(chunks, features, tables, q):
    """The same, lanes in `chunks` parts at once."""
    for chunk in prange(chunks):
        prepare(share_of_lanes(chunk, chunks, q.width), features, tables, q)
    draw(tables, q)
    for chunk in prange(chunks):
        evaluate(share_of_lanes(chunk, chunks, q.width), q)


@kernel
def moved_draws(q, of_draws, of_log_q, moved):
    """moved [T, E]: what moving a draw changes, through the draw itself (of_draws [T, E]) and its densities under all lanes
    (of_log_q flat [T * W]).
    """
    width, edges = np.int64(q.width), q.noise.shape[1]
    for t in range(q.noise.shape[0]):
        for e in range(edges):
            total, score = splat(0.0), 2 * (t * edges + e) * width
            for j in range(0, width, LANES):
                total = total + vload(of_log_q, t * width + j) * widen(vload(q.scores, score + j))
            moved[t, e] = of_draws[t, e] - vsum(total)  # d log q / dz = -d log q / d mode


@kernel
@allocates
def gradient(lanes, q, numbers, moved, of_log_q, found):
    """Gradient of the features of the trees, flat [U * 2 * W] rows of `found`, in some lanes; numbers int64 [V, 3] say where
    among them the rows of a profile are.
    """
    width, edges = np.int64(q.width), q.noise.shape[1]
    of_edges = np.zeros(2 * q.profiles.shape[0] * width)
    for t in range(q.noise.shape[0]):
        own = q.component[t]
        for e in range(edges):
            at, score = 2 * q.profile_of[t, e] * width, 2 * (t * edges + e) * width
            for j in range(lanes[0], lanes[1], LANES):
                upstream = vload(of_log_q, t * width + j)
                for k in range(2):
                    place = at + k * width + j
                    term = upstream * widen(vload(q.scores, score + k * width + j))
                    vstore(of_edges, place, vload(of_edges, place) + term)
            if lanes[0] <= own < lanes[1]:
                of_edges[at + own] += moved[t, e]
                of_edges[at + width + own] += moved[t, e] * q.draw_slopes[t, e]
    for u in range(found.shape[0] // (2 * width)):
        for k in range(2):
            for j in range(lanes[0], lanes[1], LANES):
                vstore(found, (2 * u + k) * width + j, narrow_as(splat(0.0), found))
    for v in range(numbers.shape[0]):
        for i in range(3):
            if numbers[v, i] >= 0:
                for k in range(2):
                    for j in range(lanes[0], lanes[1], LANES):
                        place = (2 * numbers[v, i] + k) * width + j
                        term = vload(of_edges, (2 * v + k) * width + j)
                        vstore(found, place, narrow_as(widen(vload(found, place)) + term, found))


@parallel_kernel
def gradient_in_parallel(chunks, q, numbers, moved, of_log_q, found):
    """gradient of all lanes, in `chunks` parts at once."""
    for chunk in prange(chunks):
        gradient(share_of_lanes(chunk, chunks, q.width), q, numbers, moved, of_log_q, found)

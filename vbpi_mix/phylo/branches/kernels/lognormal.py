"""The log-normal base density: draws and densities under R components, and their gradient.

Each edge has up to three feature rows (its split, the primary subsplit pairs at its two ends; -1: none). The mean and
the log standard deviation of its log-length are sums of its rows of features float64 [A, n_features, 2]. Each tree, and
each component of the gradient, is worked on by one thread in one order: results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel

HALF_LOG_TWO_PI = 0.5 * np.log(2.0 * np.pi)


class NormalPass(NamedTuple):
    """T trees: which edges and components, the random numbers, and what is made of them.

    rows int32 [T, E, 3]; own int64 [T], the place among the evaluated of the component that draws; evaluated int64 [R];
    noise [T, E], standard normal. Filled, float64: draws [T, E]; log_q [T, R]; means and precisions (1 / sd) [T, R, E].
    """

    rows: Any
    own: Any
    evaluated: Any
    noise: Any
    draws: Any
    log_q: Any
    means: Any
    precisions: Any


class Upstream(NamedTuple):
    """Gradients with respect to the draws [T, E] and to log_q [T, R]."""

    draws: Any
    log_q: Any


@kernel
def _edge(features, rows):
    mean, log_sd = 0.0, 0.0
    for i in range(3):
        row = rows[i]
        if row >= 0:
            mean += features[row, 0]
            log_sd += features[row, 1]
    return mean, log_sd


@kernel
def sample(first, last, features, q):
    """Draw the log-lengths of trees first ... last-1 of a NormalPass and evaluate them, from features float64
    [A, n_features, 2].
    """
    edges, components = q.noise.shape[1], q.evaluated.shape[0]
    for t in range(first, last):
        rows, noise, draws, log_q = q.rows[t], q.noise[t], q.draws[t], q.log_q[t]
        means, precisions, own = q.means[t], q.precisions[t], q.own[t]
        for r in range(components):
            table = features[q.evaluated[r]]
            total = -HALF_LOG_TWO_PI * edges
            for e in range(edges):
                mean, log_sd = _edge(table, rows[e])
                means[r, e] = mean
                precisions[r, e] = np.exp(-log_sd)
                total -= log_sd
            log_q[r] = total
        for e in range(edges):
            draws[e] = means[own, e] + noise[e] / precisions[own, e]
        for r in range(components):
            total = 0.0
            for e in range(edges):
                standard = (draws[e] - means[r, e]) * precisions[r, e]
                total += standard * standard
            log_q[r] -= 0.5 * total


@parallel_kernel
def sample_in_parallel(chunks, features, q):
    """sample of all trees, in `chunks` parts at once."""
    trees = q.noise.shape[0]
    for chunk in prange(chunks):
        sample(chunk * trees // chunks, (chunk + 1) * trees // chunks, features, q)


@kernel
def _component_gradient(r, q, numbers, upstream, table):
    """Gradient of sum(upstream.draws * draws) + sum(upstream.log_q * log_q) with respect to the features of evaluated
    component r, written to table [U, 2]; numbers int64 [T, E, 3] say where in it the rows of an edge are.

    Only the trees drawn from r move with its features, through draws and through the densities of the draws under every
    component.
    """
    trees, edges = q.noise.shape
    components = q.evaluated.shape[0]
    draws, means, precisions = q.draws, q.means, q.precisions
    table[:] = 0.0
    for t in range(trees):
        of_density = upstream.log_q[t, r]
        mine = q.own[t] == r
        if of_density == 0.0 and not mine:
            continue
        for e in range(edges):
            precision = precisions[t, r, e]
            standard = (draws[t, e] - means[t, r, e]) * precision
            mean = of_density * standard * precision
            log_sd = of_density * (standard * standard - 1.0)
            if mine:
                moved = upstream.draws[t, e]
                for j in range(components):
                    other = precisions[t, j, e]
                    moved -= upstream.log_q[t, j] * (draws[t, e] - means[t, j, e]) * other * other
                mean += moved
                log_sd += moved * q.noise[t, e] / precision
            for i in range(3):
                row = numbers[t, e, i]
                if row >= 0:
                    table[row, 0] += mean
                    table[row, 1] += log_sd


@kernel
def pull_back(q, numbers, upstream, tables):
    """_component_gradient of every evaluated component, written to tables [R, U, 2]."""
    for r in range(tables.shape[0]):
        _component_gradient(r, q, numbers, upstream, tables[r])


@parallel_kernel
def pull_back_in_parallel(q, numbers, upstream, tables):
    """The same, components in parallel."""
    for r in prange(tables.shape[0]):
        _component_gradient(np.int64(r), q, numbers, upstream, tables[r])

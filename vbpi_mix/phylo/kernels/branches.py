"""The diagonal normal base of the branch model: draws and densities under R components, and their gradient.

Each edge has up to three feature rows (its split, the primary subsplit pairs at its two ends; -1: none). The mean and
the log standard deviation of its log-length are sums of its rows of features float64 [A, n_features, 2].
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel

HALF_LOG_TWO_PI = 0.5 * np.log(2.0 * np.pi)


@kernel
def _edge(features, rows):
    mean, log_sd = 0.0, 0.0
    for i in range(3):
        row = rows[i]
        if row >= 0:
            mean += features[row, 0]
            log_sd += features[row, 1]
    return mean, log_sd


@parallel_kernel
def base_forward(rows, features, own, evaluated, noise, draws, log_q, means, precisions):
    """Draw T x E base log-lengths and evaluate them under R components.

    rows int32 [T, E, 3]; features float64 [A, n_features, 2]; own int64 [T], the position within `evaluated` int64 [R]
    of the component that tree t is drawn from; noise float64 [T, E], standard normal. Filled, float64: draws [T, E],
    log_q [T, R], and for the gradient means and precisions (1 / sd) [T, R, E].
    """
    trees, edges = noise.shape
    components = evaluated.shape[0]
    for t in prange(trees):
        for r in range(components):
            table = features[evaluated[r]]
            total = -HALF_LOG_TWO_PI * edges
            for e in range(edges):
                mean, log_sd = _edge(table, rows[t, e])
                means[t, r, e] = mean
                precisions[t, r, e] = np.exp(-log_sd)
                total -= log_sd
            log_q[t, r] = total
        for e in range(edges):
            draws[t, e] = means[t, own[t], e] + noise[t, e] / precisions[t, own[t], e]
        for r in range(components):
            total = 0.0
            for e in range(edges):
                standard = (draws[t, e] - means[t, r, e]) * precisions[t, r, e]
                total += standard * standard
            log_q[t, r] -= 0.5 * total


@parallel_kernel
def base_density(rows, features, evaluated, draws, log_q):
    """log_q float64 [T, R] of given base log-lengths draws [T, E] under the components `evaluated` [R]."""
    trees, edges = draws.shape
    for t in prange(trees):
        for r in range(evaluated.shape[0]):
            table = features[evaluated[r]]
            total = -HALF_LOG_TWO_PI * edges
            for e in range(edges):
                mean, log_sd = _edge(table, rows[t, e])
                standard = (draws[t, e] - mean) * np.exp(-log_sd)
                total -= log_sd + 0.5 * standard * standard
            log_q[t, r] = total


@parallel_kernel
def base_backward(
    rows, own, evaluated, noise, draws, means, precisions, draw_upstream, log_q_upstream, draw_gradient, gradient
):
    """Gradient with respect to the features of sum(draw_upstream * draws) + sum(log_q_upstream * log_q).

    draw_upstream [T, E] and log_q_upstream [T, R] are gradients with respect to the outputs of base_forward;
    draw_gradient [T, E] is work space; gradient [A, n_features, 2] is overwritten. Component by component, each over
    the trees in order, so the sums do not depend on the number of threads.
    """
    trees, edges = noise.shape
    components = evaluated.shape[0]
    for t in prange(trees):
        for e in range(edges):
            total = draw_upstream[t, e]
            for r in range(components):
                precision = precisions[t, r, e]
                total -= log_q_upstream[t, r] * (draws[t, e] - means[t, r, e]) * precision * precision
            draw_gradient[t, e] = total
    gradient[:] = 0.0
    for r in prange(components):
        table = gradient[evaluated[r]]
        for t in range(trees):
            upstream = log_q_upstream[t, r]
            mine = own[t] == r
            if upstream == 0.0 and not mine:
                continue
            for e in range(edges):
                precision = precisions[t, r, e]
                standard = (draws[t, e] - means[t, r, e]) * precision
                mean = upstream * standard * precision
                log_sd = upstream * (standard * standard - 1.0)
                if mine:
                    mean += draw_gradient[t, e]
                    log_sd += draw_gradient[t, e] * noise[t, e] / precision
                for i in range(3):
                    row = rows[t, e, i]
                    if row >= 0:
                        table[row, 0] += mean
                        table[row, 1] += log_sd

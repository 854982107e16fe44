"""The diagonal normal base of the branch model: draws and densities under R components, and their gradient.

Each edge has up to three feature rows (its split, the primary subsplit pairs at its two ends; -1: none). The mean and
the log standard deviation of its log-length are sums of its rows of features float64 [A, n_features, 2].
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel

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


@kernel
def base_tree(rows, features, own, evaluated, noise, draws, log_q, means, precisions):
    """Draw the base log-lengths of one tree from evaluated component `own` and evaluate them under all R.

    rows int32 [E, 3]; features float64 [A, n_features, 2]; evaluated int64 [R]; noise float64 [E], standard normal.
    Filled, float64: draws [E]; log_q [R]; for the gradient means and precisions (1 / sd) [R, E].
    """
    edges, components = noise.shape[0], evaluated.shape[0]
    for r in range(components):
        table = features[evaluated[r]]
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


@kernel
def base_gradient(rows, own, noise, draws, means, precisions, draw_upstream, log_q_upstream, r, table):
    """Gradient of sum(draw_upstream * draws) + sum(log_q_upstream * log_q) with respect to the features of evaluated
    component r, written to table [n_features, 2].

    rows int32 [T, E, 3]; own int64 [T]; noise, draws and draw_upstream [T, E]; means and precisions [T, R, E];
    log_q_upstream [T, R]. Only the trees drawn from r move with its features, through draws and through the densities
    of the draws under every component.
    """
    trees, edges = noise.shape
    components = log_q_upstream.shape[1]
    table[:] = 0.0
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
                moved = draw_upstream[t, e]
                for j in range(components):
                    other = precisions[t, j, e]
                    moved -= log_q_upstream[t, j] * (draws[t, e] - means[t, j, e]) * other * other
                mean += moved
                log_sd += moved * noise[t, e] / precision
            for i in range(3):
                row = rows[t, e, i]
                if row >= 0:
                    table[row, 0] += mean
                    table[row, 1] += log_sd

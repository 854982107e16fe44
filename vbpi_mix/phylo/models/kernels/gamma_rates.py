"""Rates of gamma-distributed categories of equal probability, each at its mean (Yang 1994), and their slopes in the shape.

With P the regularised lower incomplete gamma function, q_i its inverse at i / C, and x = q_i:

    P(a, x) = t S,  t = x^a e^-x / Gamma(a + 1),  S = 1 + x / (a + 1) + x^2 / ((a + 1)(a + 2)) + ...

The mean of category i is C (U_{i+1} - U_i) with U_i = P(a + 1, q_i) = t (S - 1) = i / C - t. All is written in y = log x,
which does not underflow where shapes are small. The slope of U_i in a, i / C fixed, is -dt/da, with dy/da from P(a, x)
held (implicit differentiation): d log P / dy = a / S and d log P / da = y - digamma(a + 1) + (dS/da) / S.
"""

from __future__ import annotations

import math

from vbpi_mix.accelerate import inner_kernel, kernel

NEWTON_STEPS = 100
SMALL = 1e-17


@kernel
def digamma(x):
    """For x > 0: recurrence up to 10, then the asymptotic series."""
    total = 0.0
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square * (1 / 132)))))
    return total + math.log(x) - 0.5 / x - series


@kernel
def excess(shape, x):
    """S - 1 and dS/da."""
    term, harmonic, total, slope = 1.0, 0.0, 0.0, 0.0
    k = 0.0
    while term > SMALL * (1.0 + total):
        k += 1.0
        term *= x / (shape + k)
        harmonic += 1.0 / (shape + k)
        total += term
        slope -= term * harmonic
    return total, slope


@inner_kernel
def log_quantile(shape, log_probability, log_gamma):
    """y with log P(a, e^y) = log_probability; log_gamma = log Gamma(a + 1).

    log P is concave in y and at most a y - log_gamma, so that Newton's method from the root of that climbs without
    passing the solution.
    """
    y = (log_probability + log_gamma) / shape
    for _ in range(NEWTON_STEPS):
        x = math.exp(y)
        s = 1.0 + excess(shape, x)[0]
        step = (log_probability - (shape * y - x - log_gamma + math.log(s))) * s / shape
        y += step
        if abs(step) < 1e-14 * (1.0 + abs(y)):
            break
    return y


@kernel
def mean_rates(shapes, rates, slopes):
    """Fill rates [M, C] for shapes [M], and their derivatives in the shape [M, C]."""
    categories = rates.shape[1]
    for m in range(shapes.size):
        shape = shapes[m]
        log_gamma, psi = math.lgamma(shape + 1.0), digamma(shape + 1.0)
        below, slope_below = 0.0, 0.0
        for c in range(categories):
            above, slope_above = 1.0, 0.0
            if c + 1 < categories:
                y = log_quantile(shape, math.log((c + 1.0) / categories), log_gamma)
                x = math.exp(y)
                more, slope_more = excess(shape, x)
                t = math.exp(shape * y - x - log_gamma)
                climb = -((1.0 + more) * (y - psi) + slope_more) / shape
                above, slope_above = t * more, -t * (y - psi + (shape - x) * climb)
            rates[m, c] = categories * (above - below)
            slopes[m, c] = categories * (slope_above - slope_below)
            below, slope_below = above, slope_above

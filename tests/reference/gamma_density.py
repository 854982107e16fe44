"""Slow, obviously right twin of the gamma base of branch lengths: scipy's gamma distribution, and series in mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
from scipy import special, stats

DIGITS = 50


def edge_parameters(rows, table):
    """Mode and log shape [E, 2] of edges with feature rows [E, 3]: sums of the rows that are not -1."""
    return np.array([table[[row for row in edge if row >= 0]].sum(0) for edge in rows])


def log_density(z, mode, log_shape):
    """log density of z, the logarithm of a gamma variable of mean exp(mode)."""
    shape = np.exp(log_shape)
    return stats.gamma.logpdf(np.exp(z), shape, scale=np.exp(mode) / shape) + z


def draw(noise, mode, log_shape):
    """The quantile of z at Phi(noise), noise not so far out that the gamma variable underflows."""
    shape = np.exp(log_shape)
    lower = special.gammaincinv(shape, special.ndtr(np.minimum(noise, 0.0)))
    upper = special.gammainccinv(shape, special.ndtr(np.minimum(-noise, 0.0)))
    return mode + np.log(np.where(noise < 0.0, lower, upper) / shape)


def base_tree(rows, features, own, evaluated, noise):
    """Draws [E] and log q [R], as the kernel's."""
    draws = draw(noise, *edge_parameters(rows, features[evaluated[own]]).T)
    return draws, np.array([log_density(draws, *edge_parameters(rows, features[r]).T).sum() for r in evaluated])


def lower_probability(shape, x):
    """P(shape, x) by its power series, whose terms are positive, to DIGITS digits."""
    with mpmath.workdps(DIGITS):
        shape, x = mpmath.mpf(shape), mpmath.mpf(x)
        term = total = mpmath.mpf(1)
        n = 0
        while term > total * mpmath.mpf(10) ** -DIGITS:
            n += 1
            term *= x / (shape + n)
            total += term
        return total * mpmath.exp(shape * mpmath.log(x) - x - mpmath.loggamma(shape + 1))


def smaller_tail_error(shape, w, noise):
    """Relative error of w as the logarithm of G / shape at Phi(noise), in the probability of the tail that noise is in."""
    with mpmath.workdps(DIGITS):
        p = lower_probability(shape, mpmath.mpf(shape) * mpmath.exp(mpmath.mpf(w)))
        wanted = mpmath.erfc(abs(mpmath.mpf(noise)) / mpmath.sqrt(2)) / 2
        return abs(float((p if noise < 0 else 1 - p) / wanted - 1))


def log_gamma_slope(shape, w):
    """d log G / d log shape of a gamma variable G = shape exp(w) with P(shape, G) fixed, by differences of P."""
    with mpmath.workdps(DIGITS):
        shape = mpmath.mpf(shape)
        x = shape * mpmath.exp(mpmath.mpf(w))
        step = shape * mpmath.mpf(10) ** -18
        change = (lower_probability(shape + step, x) - lower_probability(shape - step, x)) / (2 * step)
        density = mpmath.exp(shape * mpmath.log(x) - x - mpmath.loggamma(shape))  # of log G
        return float(-shape * change / density)

"""The prior of branch lengths in kernels: its density over a batch of trees, its gradient, its ratio for one new length.

Another prior is another named tuple with the same three functions.
"""

from __future__ import annotations

from typing import NamedTuple

from vbpi_mix.accelerate import inline_kernel, kernel


class Exponential(NamedTuple):
    """Independent Exp(rate) lengths."""

    rate: float


@inline_kernel
def log_ratio(prior, t, new_t):
    """log of the density of a length new_t over that of t."""
    return -prior.rate * (new_t - t)


@kernel
def log_densities(log_lengths, lengths, prior, constant, value):
    """constant + log density of the log-lengths x, but for its constant: the sum over edges of x - rate exp x.

    log_lengths and lengths float64 [T, E], the one the logarithm of the other; written to value [T].
    """
    for t in range(log_lengths.shape[0]):
        total = constant
        for e in range(log_lengths.shape[1]):
            total += log_lengths[t, e] - prior.rate * lengths[t, e]
        value[t] = total


@kernel
def pull_back_to_log_lengths(points, lengths, prior, of_likelihood, of_prior):
    """Turn points [T, E], slopes of the log-likelihood in the lengths, into the gradient with respect to log-lengths.

    of_likelihood, of_prior [T]: gradients with respect to the log-likelihood and the log-prior.
    """
    rate = prior.rate
    for t in range(points.shape[0]):
        for e in range(points.shape[1]):
            points[t, e] = of_likelihood[t] * points[t, e] * lengths[t, e] + of_prior[t] * (1.0 - rate * lengths[t, e])

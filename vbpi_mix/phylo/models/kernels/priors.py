"""The prior of branch lengths in kernels: its density over a batch of trees, its gradient, and its ratios for the sampler.

In the lengths b of E edges every prior here is proportional to

    T^(shape - sum_e a_e) exp(-rate T) prod_e b_e^(a_e - 1),    T = sum_e b_e,

where a_e is `pendant` for an edge that ends in a taxon and `internal` for another: a gamma for T, and a Dirichlet for the
shares b_e / T (models/priors.py). Independent exponentials are the case that a_e = 1 and shape = E, in which T is not needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inline_kernel, kernel


class LengthPrior(NamedTuple):
    """Head of this file. compound: False for independent exponentials, which have nothing but a rate."""

    rate: float
    shape: float = 1.0
    pendant: float = 1.0
    internal: float = 1.0
    compound: bool = False


@inline_kernel
def is_pendant(e, edges):
    """Whether edge e of a canonical tree ends in a taxon: those above taxa 1 ... n-1, and the top's, which is taxon 0's."""
    return e < (edges + 1) // 2 or e == edges - 1


@inline_kernel
def _power_of_total(prior, edges):
    """Of the tree's length, in the density of the lengths: of E = 2n-3 edges, n are pendant."""
    return prior.shape - (edges + 3) // 2 * prior.pendant - (edges - 3) // 2 * prior.internal


@kernel
def log_ratio(prior, pendant, total, edges, t, new_t):
    """log of the density of a length new_t over that of t. total: the tree's length with t, read where compound."""
    value = -prior.rate * (new_t - t)
    if prior.compound:
        a = prior.pendant if pendant else prior.internal
        value += _power_of_total(prior, edges) * np.log1p((new_t - t) / total) + (a - 1.0) * np.log(new_t / t)
    return value


@kernel
def log_split_ratio(prior, lower, upper, lower_pendant, upper_pendant):
    """log of the density of an edge in two parts, between which a subtree is joined, over that of the whole edge.

    The tree is as long after it as before. lower_pendant, upper_pendant: whether a part ends in a taxon.
    """
    value = 0.0
    if prior.compound:
        low = prior.pendant if lower_pendant else prior.internal
        high = prior.pendant if upper_pendant else prior.internal
        whole = prior.pendant if lower_pendant or upper_pendant else prior.internal
        value = (low - 1.0) * np.log(lower) + (high - 1.0) * np.log(upper) - (whole - 1.0) * np.log(lower + upper)
    return value


@kernel
def log_densities(log_lengths, lengths, prior, constant, value):
    """constant + log density of the log-lengths x, but for its constant.

    log_lengths and lengths float64 [T, E], the one the logarithm of the other; written to value [T].
    """
    edges = log_lengths.shape[1]
    for t in range(log_lengths.shape[0]):
        total = constant
        if prior.compound:
            length = 0.0
            for e in range(edges):
                a = prior.pendant if is_pendant(e, edges) else prior.internal
                total += a * log_lengths[t, e]
                length += lengths[t, e]
            total += _power_of_total(prior, edges) * np.log(length) - prior.rate * length
        else:
            for e in range(edges):
                total += log_lengths[t, e] - prior.rate * lengths[t, e]
        value[t] = total


@kernel
def pull_back_to_log_lengths(points, lengths, prior, of_likelihood, of_prior):
    """Turn points [T, E], slopes of the log-likelihood in the lengths, into the gradient with respect to log-lengths.

    of_likelihood, of_prior [T]: gradients with respect to the log-likelihood and the log-prior.
    """
    edges = points.shape[1]
    for t in range(points.shape[0]):
        rate = prior.rate
        if prior.compound:
            length = 0.0
            for e in range(edges):
                length += lengths[t, e]
            rate -= _power_of_total(prior, edges) / length
        for e in range(edges):
            a = 1.0
            if prior.compound:
                a = prior.pendant if is_pendant(e, edges) else prior.internal
            points[t, e] = of_likelihood[t] * points[t, e] * lengths[t, e] + of_prior[t] * (a - rate * lengths[t, e])

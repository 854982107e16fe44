"""Slow, obviously right twins of the JC69 likelihood, and exact marginal likelihoods of small data sets."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.special import roots_jacobi


def transition_matrix(length):
    """P(t) by the formula of Jukes and Cantor (1969)."""
    e = math.exp(-4.0 / 3.0 * length)
    return np.full((4, 4), 0.25 * (1.0 - e)) + e * np.eye(4)


def log_likelihood_by_summation(children, lengths, states, weights):
    """Sum over all assignments of nucleotides to internal nodes; children [n-2, 2], lengths [E], states [n, P]."""
    n = len(children) + 2
    matrices = {v: transition_matrix(lengths[v - 1]) for v in range(1, 2 * n - 2)}
    total = 0.0
    for column, weight in zip(np.asarray(states).T, weights, strict=True):
        allowed = [[x for x in range(4) if code >> x & 1] for code in column.tolist()]
        likelihood = 0.0
        for tips in itertools.product(*allowed):
            for inner in itertools.product(range(4), repeat=n - 2):
                state = [*tips, *inner]
                p = 0.25 * matrices[2 * n - 3][state[0], state[2 * n - 3]]
                for k, pair in enumerate(children):
                    for child in pair:
                        p *= matrices[int(child)][state[n + k], state[int(child)]]
                likelihood += p
        total += weight * math.log(likelihood)
    return total


def likelihoods_by_pruning(children, decays, states):
    """Likelihood of each pattern under many branch-length vectors at once, by plain pruning.

    children [n-2, 2] of one tree; decays [G, E], exp(-4 t / 3) of each edge; states [n, P]. Returns [G, P].
    """
    n = len(children) + 2

    def propagate(v, partials):
        e = decays[:, v - 1][:, None, None]
        return e * partials + 0.25 * (1.0 - e) * partials.sum(axis=2, keepdims=True)

    partials = {}
    for taxon in range(n):
        bits = (states[taxon][:, None] >> np.arange(4)) & 1
        partials[taxon] = np.broadcast_to(bits.astype(float), (decays.shape[0], *bits.shape))
    for k, (a, b) in enumerate(children):
        partials[n + k] = propagate(int(a), partials[int(a)]) * propagate(int(b), partials[int(b)])
    top = propagate(2 * n - 3, partials[2 * n - 3])
    return 0.25 * (partials[0] * top).sum(axis=2)


def exact_log_marginal(children, states, weights, rate=10.0, nodes=None):
    """log of the likelihood of one topology, integrated over Exp(rate) branch lengths, to rounding error.

    In x = exp(-4 t / 3) the likelihood of a data set of N sites is a polynomial of degree at most N in each branch, and
    the prior has density c x^(c - 1) on (0, 1), c = 3 rate / 4. Gauss-Jacobi quadrature with (N + 1) / 2 nodes is exact.
    """
    sites = int(np.sum(weights))
    nodes = nodes or sites // 2 + 1
    edges = 2 * len(children) + 1
    power = 0.75 * rate - 1.0
    points, mass = roots_jacobi(nodes, 0.0, power)
    points, mass = 0.5 * (points + 1.0), mass / mass.sum()
    grid = np.stack(np.meshgrid(*[points] * edges, indexing="ij"), axis=-1).reshape(-1, edges)
    log_mass = np.log(np.stack(np.meshgrid(*[mass] * edges, indexing="ij"), axis=-1)).reshape(-1, edges).sum(axis=1)
    terms = []
    for part in range(0, len(grid), 20_000):
        likelihoods = likelihoods_by_pruning(children, grid[part : part + 20_000], states)
        terms.append(np.log(likelihoods) @ weights + log_mass[part : part + 20_000])
    joined = np.concatenate(terms)
    largest = joined.max()
    return largest + math.log(np.exp(joined - largest).sum())

"""A slow twin of the log-likelihood under any reversible model: plain pruning with matrix exponentials, in numpy and scipy."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm


def rate_matrix(exchangeabilities, frequencies):
    """Q [S, S] from exchangeabilities, upper triangle row by row, one expected substitution per unit of length."""
    q = np.zeros((len(frequencies), len(frequencies)))
    q[np.triu_indices(len(frequencies), 1)] = exchangeabilities
    q = (q + q.T) * frequencies
    q -= np.diag(q.sum(axis=1))
    return q / -(np.asarray(frequencies) @ q.diagonal())


def likelihoods(children, matrices, tips, frequencies):
    """Of patterns, [P]: children [n-2, 2], P(t) of each edge [E, S, S], 0/1 partials of taxa [n, P, S]."""
    n = len(children) + 2
    partials = list(tips) + [None] * (n - 2)

    def sent(v):
        return partials[v] @ matrices[v - 1].T

    for k, (a, b) in enumerate(children):
        partials[n + k] = sent(int(a)) * sent(int(b))
    return (frequencies * partials[0] * sent(2 * n - 3)).sum(axis=1)


def site_likelihoods(children, lengths, tips, q, frequencies, categories):
    """[P]; categories: pairs of rate and probability, to which invariant sites, of rate 0, belong too."""
    total = 0.0
    for rate, weight in categories:
        matrices = np.array([expm(q * rate * t) for t in lengths])
        total = total + weight * likelihoods(children, matrices, tips, frequencies)
    return total


def log_likelihood(children, lengths, states, weights, q, frequencies, categories, ascertainment=False):
    """states: sets of states [n, P], bit s for state s."""
    size = len(frequencies)
    tips = np.array([[[int(code) >> s & 1 for s in range(size)] for code in row] for row in states], float)
    value = weights @ np.log(site_likelihoods(children, lengths, tips, q, frequencies, categories))
    if ascertainment:
        constant = np.broadcast_to(np.eye(size), (tips.shape[0], size, size))
        varied = 1.0 - site_likelihoods(children, lengths, constant, q, frequencies, categories).sum()
        value -= weights.sum() * np.log(varied)
    return value


def log_likelihoods_of_lengths(children, lengths, states, weights, q, frequencies, categories):
    """[L] of one topology with many vectors of lengths [L, E] at once; no ascertainment."""
    size, n = len(frequencies), len(children) + 2
    root = np.sqrt(frequencies)
    values, vectors = np.linalg.eigh(root[:, None] * q / root)
    right = (vectors / root[:, None]).T
    tips = np.array([[[int(code) >> s & 1 for s in range(size)] for code in row] for row in states], float)
    total = 0.0
    for rate, weight in categories:
        transposed = np.exp(rate * lengths[:, :, None] * values)[..., None] * right
        transposed = np.swapaxes(np.swapaxes(transposed, 2, 3) @ (vectors.T * root), 2, 3)  # P(t)', [L, E, S, S]
        partials = [np.broadcast_to(tip, (len(lengths), *tip.shape)) for tip in tips] + [None] * (n - 2)
        for k, (a, b) in enumerate(children):
            partials[n + k] = (partials[a] @ transposed[:, a - 1]) * (partials[b] @ transposed[:, b - 1])
        total = total + weight * ((frequencies * tips[0]) * (partials[2 * n - 3] @ transposed[:, 2 * n - 4])).sum(axis=2)
    return np.log(total) @ weights

"""Slow, obviously right twins of likelihoods under any reversible model with rate categories, +I and +ASC."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm


@dataclass
class Model:
    """Q [S, S] as it is; frequencies [S] of the root and of invariant sites; rates and weights [C]; share of invariant sites."""

    matrix: np.ndarray
    frequencies: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    invariant: float


def reversible_matrix(frequencies, exchangeabilities):
    """Q [S, S] of one expected substitution per site; exchangeabilities [S, S] symmetric, their diagonal does not matter."""
    q = exchangeabilities * frequencies
    np.fill_diagonal(q, 0.0)
    np.fill_diagonal(q, -q.sum(axis=1))
    return q / -(frequencies @ q.diagonal())


def members(code, states):
    """States of a set."""
    return [k for k in range(states) if int(code) >> k & 1]


def likelihood_by_summation(children, lengths, column, model):
    """Of one site: the sum over categories and all assignments of states to internal nodes; column: sets [n]."""
    n, states = len(children) + 2, len(model.frequencies)
    total = model.invariant * sum(
        model.frequencies[k] for k in range(states) if all(k in members(code, states) for code in column)
    )
    for rate, weight in zip(model.rates, model.weights, strict=True):
        p = {v: expm(model.matrix * rate * lengths[v - 1]) for v in range(1, 2 * n - 2)}
        for tips in itertools.product(*(members(code, states) for code in column)):
            for inner in itertools.product(range(states), repeat=n - 2):
                state = [*tips, *inner]
                term = weight * model.frequencies[state[0]] * p[2 * n - 3][state[0], state[2 * n - 3]]
                for k, pair in enumerate(children):
                    for child in pair:
                        term *= p[int(child)][state[n + k], state[int(child)]]
                total += term
    return total


def log_likelihood_by_summation(children, lengths, sets, weights, model, ascertainment=False):
    """Of all sites: sets [n, P], weights [P]; `ascertainment`: given that no site is constant."""
    value = sum(
        weight * math.log(likelihood_by_summation(children, lengths, column, model))
        for column, weight in zip(sets.T, weights, strict=True)
    )
    if ascertainment:
        constant = sum(
            likelihood_by_summation(children, lengths, [1 << k] * len(sets), model) for k in range(len(model.frequencies))
        )
        value -= weights.sum() * math.log(1.0 - constant)
    return value


def log_likelihood(children, lengths, sets, weights, model, ascertainment=False):
    """The same by pruning in numpy, with logarithms of what is divided out at every node."""
    states = len(model.frequencies)
    if ascertainment:
        constant = np.repeat(np.array([[1 << k for k in range(states)]], dtype=np.uint64), len(sets), axis=0)
        unlikely = 1.0 - np.exp(log_of_patterns(children, lengths, constant, model)).sum()
        return weights @ log_of_patterns(children, lengths, sets, model) - weights.sum() * math.log(unlikely)
    return weights @ log_of_patterns(children, lengths, sets, model)


def log_of_patterns(children, lengths, sets, model):
    """Logarithms of the likelihoods of patterns [P], sets [n, P]."""
    n, states = len(children) + 2, len(model.frequencies)
    taxa = (np.asarray(sets, np.uint64)[:, :, None] >> np.arange(states, dtype=np.uint64) & np.uint64(1)).astype(float)
    with np.errstate(divide="ignore"):
        terms = [np.log(model.invariant * (taxa.prod(axis=0) @ model.frequencies))]
        for rate, weight in zip(model.rates, model.weights, strict=True):
            sent, removed = {}, np.zeros(taxa.shape[1])
            for v in range(1, 2 * n - 2):
                partials = taxa[v] if v < n else sent[int(children[v - n][0])] * sent[int(children[v - n][1])]
                largest = np.where(partials.any(axis=1), partials.max(axis=1), 1.0)
                removed += np.log(largest)
                sent[v] = (partials / largest[:, None]) @ expm(model.matrix * rate * lengths[v - 1]).T
            terms.append(np.log(weight * ((taxa[0] * sent[2 * n - 3]) @ model.frequencies)) + removed)
    return np.logaddexp.reduce(terms, axis=0)

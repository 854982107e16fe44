"""What models read of the data: frequencies of states, and which patterns may be constant, and how many states are seen."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.data.site_patterns import SitePatterns

LEAST_FREQUENCY = 1e-4


def state_frequencies(patterns: SitePatterns, n_states: int) -> np.ndarray:
    """Frequencies [S] of the states in the data, at least LEAST_FREQUENCY.

    A set of states counts for each of them in proportion to the frequencies (EM, to convergence); missing data not at all.
    """
    sets, positions = np.unique(patterns.states, return_inverse=True)
    weights = np.broadcast_to(patterns.weights, patterns.states.shape).ravel()
    counts = np.bincount(positions.ravel(), weights=weights, minlength=sets.size)
    bits = np.arange(n_states).astype(sets.dtype)
    members = ((sets[:, None] >> bits) & sets.dtype.type(1)).astype(float)
    known = (members.sum(axis=1) < n_states) & (counts > 0)
    members, counts = members[known], counts[known]
    frequencies = np.full(n_states, 1.0 / n_states)
    for _ in range(1000 if counts.size else 0):
        shares = members * frequencies
        new = counts @ (shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300))
        new = np.maximum(new / counts.sum(), LEAST_FREQUENCY)
        new /= new.sum()
        done = np.abs(new - frequencies).max() < 1e-13
        frequencies = new
        if done:
            break
    return frequencies


def may_be_constant(patterns: SitePatterns) -> np.ndarray:
    """Which patterns may be the same state at all taxa, [P]."""
    constant: np.ndarray = np.bitwise_and.reduce(patterns.states, axis=0) != 0
    return constant


def constant_share(patterns: SitePatterns) -> float:
    """Of the sites."""
    return float(patterns.weights[may_be_constant(patterns)].sum() / max(patterns.weights.sum(), 1.0))


def of_fewer_states(patterns: SitePatterns) -> int:
    """How many sites have fewer states than the alphabet, where each has those up to the highest that is seen there and at
    least two.
    """
    n_states = patterns.alphabet.n_states
    if n_states == 2:
        return 0
    last = (patterns.states >> patterns.states.dtype.type(n_states - 1)) & patterns.states.dtype.type(1)
    seen = (last != 0) & (patterns.states != patterns.alphabet.missing)
    return int(patterns.weights[~seen.any(axis=0)].sum())

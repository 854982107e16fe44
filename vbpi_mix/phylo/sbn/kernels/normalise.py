"""Probabilities of a subsplit Bayesian network from its logits, group by group (groups: vbpi_mix/phylo/sbn/support.py).

Every component is worked on by one thread in one order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, vexp, vload, vlog, vstore


@kernel
def normalise_groups(logits, groups, log_probabilities, probabilities):
    """Log-softmax and softmax of every group of two or more parameters.

    logits float64 [A, n_params]; groups int64 [G, 2], first and last + 1 of each. log_probabilities must come in as
    zeros; it and probabilities, both float64 [A, n_params], are filled. A parameter alone in its group has
    probability 1.
    """
    for a in range(logits.shape[0]):
        _normalise(logits[a], groups, log_probabilities[a], probabilities[a])


@parallel_kernel
def normalise_groups_in_parallel(logits, groups, log_probabilities, probabilities):
    """The same, components in parallel."""
    for a in prange(logits.shape[0]):
        _normalise(logits[a], groups, log_probabilities[a], probabilities[a])


@kernel
@allocates
def _normalise(logits, groups, log_probabilities, probabilities):
    """One component. Exponentials and logarithms are taken in flat runs, eight at a time."""
    size, n_groups = logits.shape[0], groups.shape[0]
    for group in range(n_groups):
        first, last = groups[group, 0], groups[group, 1]
        largest = logits[first]
        for i in range(first + 1, last):
            largest = max(largest, logits[i])
        for i in range(first, last):
            log_probabilities[i] = logits[i] - largest
    whole = size - size % LANES
    for i in range(0, whole, LANES):
        vstore(probabilities, np.uint64(i), vexp(vload(log_probabilities, np.uint64(i))))
    for i in range(whole, size):
        probabilities[i] = np.exp(log_probabilities[i])
    totals = np.ones(n_groups + LANES)
    for group in range(n_groups):
        first, last = groups[group, 0], groups[group, 1]
        total = 0.0
        for i in range(first, last):
            total += probabilities[i]
        totals[group] = total
        inverse = 1.0 / total
        for i in range(first, last):
            probabilities[i] *= inverse
    for group in range(0, n_groups, LANES):
        vstore(totals, np.uint64(group), vlog(vload(totals, np.uint64(group))))
    for group in range(n_groups):
        for i in range(groups[group, 0], groups[group, 1]):
            log_probabilities[i] -= totals[group]

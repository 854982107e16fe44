"""How often a topology is expected to use each PCSP, which is also the gradient of its log-probability.

The arrays of an encoded batch are described at the head of vbpi_mix/phylo/sbn/support.py.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import allocates, inner_kernel, kernel
from vbpi_mix.phylo.sbn.kernels.encoding import (
    ABOVE_FIRST,
    ABOVE_ROOT,
    ABOVE_SECOND,
    BELOW_ROOT,
    BELOW_SISTER,
    BELOW_UP,
    ROOT,
)


@inner_kernel
def add_expected_counts(children, parameters, rooting, weight, inside, counts):
    """Add weight * P(PCSP is used | tree), under the posterior `rooting` [2n-2] of the root edge, to counts.

    This is also the gradient of log q(tau) with respect to the log-probabilities.
    """
    n = children.shape[0] + 2
    top = 2 * n - 3
    for v in range(n):
        inside[v] = rooting[v]
    for k in range(n - 2):
        inside[n + k] = rooting[n + k] + inside[children[k, 0]] + inside[children[k, 1]]
    for v in range(1, top + 1):
        at_v = weight * rooting[v]
        if parameters[v, ROOT] >= 0:
            counts[parameters[v, ROOT]] += at_v
        if v >= n and parameters[v, BELOW_ROOT] >= 0:
            counts[parameters[v, BELOW_ROOT]] += at_v
        if v != top and parameters[v, ABOVE_ROOT] >= 0:
            counts[parameters[v, ABOVE_ROOT]] += at_v
    for k in range(n - 2):
        u = n + k
        for side in range(2):
            v, w = children[k, side], children[k, 1 - side]
            if v >= n and parameters[v, BELOW_SISTER] >= 0:
                counts[parameters[v, BELOW_SISTER]] += weight * max(0.0, 1.0 - inside[v] - inside[w])
                counts[parameters[v, BELOW_UP]] += weight * inside[w]
            if u != top:
                column = ABOVE_FIRST if side == 1 else ABOVE_SECOND
                if parameters[u, column] >= 0:
                    counts[parameters[u, column]] += weight * inside[v]


@kernel
@allocates
def expected_counts(children, parameters, rooting, weights, counts):
    """Sum of the expected PCSP counts of T trees with weights [T]; rooting float64 [T, 2n-2]; counts [n_params]."""
    inside = np.empty(children.shape[1] * 2 + 2)
    for t in range(children.shape[0]):
        add_expected_counts(children[t], parameters[t], rooting[t], weights[t], inside, counts)


@inner_kernel
@allocates
def log_q_gradient(children, parameters, rooting, upstream, r, groups, alone, probabilities, gradient):
    """Gradient of sum_t upstream[t, r] * log q_r(tau_t) with respect to the logits of evaluated component r.

    upstream float64 [T, R]; rooting as of log_q_forward; groups int64 [G, 2] as of normalise_groups; alone int64, the
    parameters that are alone in their group; probabilities and gradient (overwritten) [n_params].
    """
    gradient[:] = 0.0
    inside = np.empty(children.shape[1] * 2 + 2)
    for t in range(children.shape[0]):
        if upstream[t, r] != 0.0:
            add_expected_counts(children[t], parameters[t], rooting[t, r], upstream[t, r], inside, gradient)
    for i in range(alone.shape[0]):
        gradient[alone[i]] = 0.0
    for group in range(groups.shape[0]):
        first, last = groups[group, 0], groups[group, 1]
        total = 0.0
        for i in range(first, last):
            total += gradient[i]
        if total != 0.0:
            for i in range(first, last):
                gradient[i] -= probabilities[i] * total

"""Log-probabilities of encoded topologies, summed over all rootings in two passes over the tree.

The arrays of an encoded batch are described at the head of vbpi_mix/phylo/sbn/support.py. Every tree is worked on by
one thread in one order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, inner_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, splat, vexp, vload, vstore, vsum, where_positive
from vbpi_mix.phylo.sbn.kernels.encoding import (
    ABOVE_FIRST,
    ABOVE_ROOT,
    ABOVE_SECOND,
    BELOW_ROOT,
    BELOW_SISTER,
    BELOW_UP,
    ROOT,
)

# Of a logarithm; what is that far below the largest is zero.
LEAST_EXPONENT = -700.0


@kernel
def _log(log_probabilities, parameter):
    return log_probabilities[parameter] if parameter >= 0 else -np.inf


@kernel
def _rootings(children, parameters, log_probabilities, down, up, totals):
    """Log-probability of the tree rooted at each edge, totals [2n-2]; returns the largest. Entry 0, no edge: minus infinity.

    down[v]: everything below v but how v itself splits; up[v]: everything above the edge of v but how the
    complement of its clade splits.
    """
    n = children.shape[0] + 2
    top = 2 * n - 3
    for v in range(n):
        down[v] = 0.0
    for k in range(n - 2):
        value = 0.0
        for side in range(2):
            c = children[k, side]
            if c >= n:
                value += _log(log_probabilities, parameters[c, BELOW_SISTER]) + down[c]
        down[n + k] = value
    up[top] = 0.0
    for k in range(n - 3, -1, -1):
        u = n + k
        for side in range(2):
            v, w = children[k, side], children[k, 1 - side]
            value = 0.0
            if w >= n:
                value += _log(log_probabilities, parameters[w, BELOW_UP]) + down[w]
            if u != top:
                # Rooted towards v, the sister of the clade above u is the clade of w.
                column = ABOVE_FIRST if side == 1 else ABOVE_SECOND
                value += _log(log_probabilities, parameters[u, column]) + up[u]
            up[v] = value
    largest = -np.inf
    totals[0] = -np.inf
    for v in range(1, 2 * n - 2):
        value = _log(log_probabilities, parameters[v, ROOT]) + up[v] + down[v]
        if v >= n:
            value += _log(log_probabilities, parameters[v, BELOW_ROOT])
        if v != top:
            value += _log(log_probabilities, parameters[v, ABOVE_ROOT])
        totals[v] = value
        largest = max(largest, value)
    return largest


@kernel
def _shares(logs, largest):
    """Turn logarithms [N], of which this is the largest and finite, into shares of their sum, in place; returns its logarithm."""
    size = logs.shape[0]
    whole = size - size % LANES
    sums = splat(0.0)
    for i in range(0, whole, LANES):
        below = vload(logs, i) - splat(largest)
        each = where_positive(below + splat(-LEAST_EXPONENT), vexp(below))  # vexp makes no zeros
        vstore(logs, i, each)
        sums = sums + each
    total = vsum(sums)
    for i in range(whole, size):
        logs[i] = np.exp(logs[i] - largest)
        total += logs[i]
    inverse = 1.0 / total
    for i in range(0, whole, LANES):
        vstore(logs, i, vload(logs, i) * splat(inverse))
    for i in range(whole, size):
        logs[i] *= inverse
    return largest + np.log(total)


@inner_kernel
def log_q_tree(children, parameters, log_probabilities, evaluated, down, up, log_q, rooting):
    """One tree: log_q [R] and rooting [R, 2n-2]; down and up [2n-2] are work space."""
    for r in range(evaluated.shape[0]):
        largest = _rootings(children, parameters, log_probabilities[evaluated[r]], down, up, rooting[r])
        if largest == -np.inf:
            rooting[r] = 0.0
            log_q[r] = largest
        else:
            log_q[r] = _shares(rooting[r], largest)


@kernel
@allocates
def log_q_forward(first, last, children, parameters, log_probabilities, evaluated, log_q, rooting):
    """log q_j(tau) of topologies first ... last-1 of T under R components, and the posterior of where each tree is rooted.

    children int32 [T, n-2, 2]; parameters int32 [T, 2n-2, 7]; log_probabilities float64 [A, n_params]; evaluated
    int64 [R]. Filled: log_q float64 [T, R]; rooting float64 [T, R, 2n-2] (zero where log q is minus infinity).
    """
    nodes = children.shape[1] * 2 + 2
    down, up = np.empty(nodes), np.empty(nodes)
    for t in range(first, last):
        log_q_tree(children[t], parameters[t], log_probabilities, evaluated, down, up, log_q[t], rooting[t])


@parallel_kernel
def log_q_forward_in_parallel(chunks, children, parameters, log_probabilities, evaluated, log_q, rooting):
    """The same of all, in `chunks` parts at once."""
    trees = children.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * trees // chunks, (chunk + 1) * trees // chunks
        log_q_forward(first, last, children, parameters, log_probabilities, evaluated, log_q, rooting)

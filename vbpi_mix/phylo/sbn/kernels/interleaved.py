"""Networks side by side: log-probabilities of topologies under A components, and their gradient, eight components at a time.

The logits of A components are one table [n_params, W], W the next multiple of eight: a row holds one parameter of every
component, and what is done to one lane is done to all. Only the groups that the trees touch are read; others cost nothing.
Tables are flat here, element (row, lane) at row * W + lane. The columns beyond A are computed along and mean nothing. The
table, its gradient and the weights may be in single precision, everything else is in double.

Every lane is worked on by one thread in one order, so results do not depend on the number of threads: `lanes` (first, last)
says which are worked on. The formulas are those of log_probability.py and counts.py, lane by lane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, inline_kernel, inner_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, narrow_as, splat, vexp, vload, vlog, vmax, vstore, where_positive, widen
from vbpi_mix.phylo.sbn.kernels.encoding import (
    ABOVE_FIRST,
    ABOVE_ROOT,
    ABOVE_SECOND,
    BELOW_ROOT,
    BELOW_SISTER,
    BELOW_UP,
    ROOT,
)

# Places among the parameters that are used.
ALONE, ABSENT, FIRST = 0, 1, 2
# A rooting less probable than the best by exp of this counts as impossible: what is smaller yet is slow to compute with.
NEGLIGIBLE = -700.0


class Touched(NamedTuple):
    """What T trees use of a support.

    numbers int32 [T, 2n-2, 7], where in `used` each parameter of a tree is; used int64 [U], the parameters that share their
    group with others, from place FIRST on: before it stand ALONE, for all that are alone in their group, and ABSENT, for what
    the support has not, since a tree that is drawn by one rooting may lack others; owner int64 [U], the group of each among
    those touched; groups int64 [G, 2], their first parameter and last + 1; starts int64 [G + 1], where the members of each
    begin among those of all.
    """

    numbers: Any
    used: Any
    owner: Any
    groups: Any
    starts: Any


class InterleavedPass(NamedTuple):
    """T trees under W lanes; all but the first two are flat.

    width: W; children [T, n-2, 2]; log_q [T, W]; rooting [T, 2n-2, W]; log_probabilities [U, W] of what is used; weights
    [M, W], proportional to the probabilities of the members of touched groups, and inverse [G, W], what makes them
    probabilities; log_totals [G, W].
    """

    width: Any
    children: Any
    log_q: Any
    rooting: Any
    log_probabilities: Any
    weights: Any
    inverse: Any
    log_totals: Any


@kernel
@allocates
def find_touched(parameters, group_of, touched):
    """Fill numbers, used and owner of `touched`, and first of all the numbers of its groups, groups[:, 0].

    parameters int32 flat [N]; group_of int32 [n_params], -1 for what is alone; numbers flat [N]. Returns U and G.
    """
    place, seen = np.full(group_of.shape[0], -1, np.int32), np.full(group_of.shape[0], -1, np.int32)
    count, n_groups = FIRST, 0
    touched.used[:FIRST], touched.owner[:FIRST] = -1, -1
    for i in range(parameters.shape[0]):
        parameter = parameters[i]
        if parameter < 0 or group_of[parameter] < 0:
            touched.numbers[i] = ABSENT if parameter < 0 else ALONE
            continue
        if place[parameter] < 0:
            group = group_of[parameter]
            if seen[group] < 0:
                seen[group] = n_groups
                touched.groups[n_groups, 0] = group
                n_groups += 1
            place[parameter] = count
            touched.used[count], touched.owner[count] = parameter, seen[group]
            count += 1
        touched.numbers[i] = place[parameter]
    return count, n_groups


@inline_kernel
def widened(array, at):
    """Eight elements of a flat array, as doubles."""
    return widen(vload(array, at))


@kernel
def _normalise(lanes, table, touched, q):
    """Log-probabilities of what is used, and weights of all members of touched groups, row after row."""
    width = q.width
    for g in range(touched.groups.shape[0]):
        first, last = touched.groups[g, 0], touched.groups[g, 1]
        at, shift = g * width, (touched.starts[g] - first) * width
        for j in range(lanes[0], lanes[1], LANES):
            vstore(q.log_totals, at + j, widened(table, first * width + j))
            vstore(q.inverse, at + j, splat(0.0))
        for i in range(first + 1, last):
            for j in range(lanes[0], lanes[1], LANES):
                vstore(q.log_totals, at + j, vmax(vload(q.log_totals, at + j), widened(table, i * width + j)))
        for i in range(first, last):
            for j in range(lanes[0], lanes[1], LANES):
                weight = vexp(widened(table, i * width + j) - vload(q.log_totals, at + j))
                vstore(q.weights, shift + i * width + j, narrow_as(weight, q.weights))
                vstore(q.inverse, at + j, vload(q.inverse, at + j) + weight)
        for j in range(lanes[0], lanes[1], LANES):
            total = vload(q.inverse, at + j)
            vstore(q.log_totals, at + j, vload(q.log_totals, at + j) + vlog(total))
            vstore(q.inverse, at + j, splat(1.0) / total)
    for j in range(lanes[0], lanes[1], LANES):
        vstore(q.log_probabilities, ALONE * width + j, splat(0.0))
        vstore(q.log_probabilities, ABSENT * width + j, splat(-np.inf))
    for u in range(FIRST, touched.used.shape[0]):
        row, group = touched.used[u] * width, touched.owner[u] * width
        for j in range(lanes[0], lanes[1], LANES):
            vstore(q.log_probabilities, u * width + j, widened(table, row + j) - vload(q.log_totals, group + j))


@kernel
def _log_q_tree(t, j, numbers, q, down, up):
    """One tree under the eight lanes from j on: log_q and rooting; down and up [(2n-2) * 8] are work space."""
    children, width, values = q.children[t], np.int64(q.width), q.log_probabilities
    n = children.shape[0] + 2
    nodes, top = 2 * n - 2, 2 * n - 3
    totals = t * nodes * width + j
    for v in range(n):
        vstore(down, v * LANES, splat(0.0))
    for k in range(n - 2):
        value = splat(0.0)
        for side in range(2):
            c = np.int64(children[k, side])
            if c >= n:
                value = value + (vload(values, numbers[c, BELOW_SISTER] * width + j) + vload(down, c * LANES))
        vstore(down, (n + k) * LANES, value)
    vstore(up, top * LANES, splat(0.0))
    for k in range(n - 3, -1, -1):
        u = n + k
        for side in range(2):
            v, w = np.int64(children[k, side]), np.int64(children[k, 1 - side])
            value = splat(0.0)
            if w >= n:
                value = value + (vload(values, numbers[w, BELOW_UP] * width + j) + vload(down, w * LANES))
            if u != top:
                column = ABOVE_FIRST if side == 1 else ABOVE_SECOND
                value = value + (vload(values, numbers[u, column] * width + j) + vload(up, u * LANES))
            vstore(up, v * LANES, value)
    largest = splat(-np.inf)
    for v in range(1, nodes):
        value = vload(values, numbers[v, ROOT] * width + j) + (vload(down, v * LANES) + vload(up, v * LANES))
        if v >= n:
            value = value + vload(values, numbers[v, BELOW_ROOT] * width + j)
        if v != top:
            value = value + vload(values, numbers[v, ABOVE_ROOT] * width + j)
        vstore(q.rooting, totals + v * width, value)
        largest = vmax(largest, value)
    total = splat(0.0)
    for v in range(1, nodes):
        below = vload(q.rooting, totals + v * width) - largest
        share = where_positive(below - splat(NEGLIGIBLE), vexp(below))
        vstore(q.rooting, totals + v * width, share)
        total = total + share
    inverse = splat(1.0) / total
    vstore(q.rooting, totals, splat(0.0))
    for v in range(1, nodes):
        vstore(q.rooting, totals + v * width, vload(q.rooting, totals + v * width) * inverse)
    vstore(q.log_q, t * width + j, largest + vlog(total))


@kernel
@allocates
def evaluate(lanes, table, touched, q):
    """Log-probabilities of all trees under lanes[0] ... lanes[1]-1, from a table of logits, flat [n_params * W]."""
    _normalise(lanes, table, touched, q)
    nodes = q.children.shape[1] * 2 + 2
    down, up = np.empty(nodes * LANES), np.empty(nodes * LANES)
    for t in range(q.children.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            _log_q_tree(t, j, touched.numbers[t], q, down, up)


@inner_kernel
def share_of_lanes(chunk, chunks, width):
    """The lanes of one of several chunks, in whole vectors."""
    blocks = width // LANES
    return chunk * blocks // chunks * LANES, (chunk + 1) * blocks // chunks * LANES


@parallel_kernel
def evaluate_in_parallel(chunks, table, touched, q):
    """evaluate of all lanes, in `chunks` parts at once."""
    for chunk in prange(chunks):
        evaluate(share_of_lanes(chunk, chunks, q.width), table, touched, q)


@kernel
def _add_counts(at, counts, value):
    vstore(counts, at, vload(counts, at) + value)


@kernel
def _count_tree(t, j, numbers, q, upstream, inside, counts):
    """Add upstream * P(PCSP is used | tree) of one tree to counts [U * W], in the eight lanes from j on. What it adds for
    ABSENT means nothing.
    """
    children, width = q.children[t], np.int64(q.width)
    n = children.shape[0] + 2
    nodes, top = 2 * n - 2, 2 * n - 3
    rooting, weight = t * nodes * width + j, vload(upstream, t * width + j)
    for v in range(n):
        vstore(inside, v * LANES, vload(q.rooting, rooting + v * width))
    for k in range(n - 2):
        below = vload(inside, children[k, 0] * LANES) + vload(inside, children[k, 1] * LANES)
        vstore(inside, (n + k) * LANES, vload(q.rooting, rooting + (n + k) * width) + below)
    for v in range(1, nodes):
        at_v = weight * vload(q.rooting, rooting + v * width)
        _add_counts(numbers[v, ROOT] * width + j, counts, at_v)
        if v >= n:
            _add_counts(numbers[v, BELOW_ROOT] * width + j, counts, at_v)
        if v != top:
            _add_counts(numbers[v, ABOVE_ROOT] * width + j, counts, at_v)
    for k in range(n - 2):
        u = n + k
        for side in range(2):
            v, w = np.int64(children[k, side]), np.int64(children[k, 1 - side])
            in_v, in_w = vload(inside, v * LANES), vload(inside, w * LANES)
            if v >= n:
                outside = vmax(splat(0.0), splat(1.0) - in_v - in_w)
                _add_counts(numbers[v, BELOW_SISTER] * width + j, counts, weight * outside)
                _add_counts(numbers[v, BELOW_UP] * width + j, counts, weight * in_w)
            if u != top:
                column = ABOVE_FIRST if side == 1 else ABOVE_SECOND
                _add_counts(numbers[u, column] * width + j, counts, weight * in_v)


@kernel
@allocates
def gradient(lanes, touched, q, upstream, counts, found):
    """Gradient of sum_t upstream[t, lane] * log q(tau_t) with respect to the logits of all members of touched groups.

    upstream flat [T * W]; counts flat [U * W] is work space; found flat [M * W] is written.
    """
    width, nodes = np.int64(q.width), q.children.shape[1] * 2 + 2
    inside, totals = np.empty(nodes * LANES), np.zeros(touched.groups.shape[0] * width)
    for u in range(touched.used.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            vstore(counts, u * width + j, splat(0.0))
    for t in range(q.children.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            _count_tree(t, j, touched.numbers[t], q, upstream, inside, counts)
    for u in range(FIRST, touched.used.shape[0]):
        group = touched.owner[u] * width
        for j in range(lanes[0], lanes[1], LANES):
            _add_counts(group + j, totals, vload(counts, u * width + j))
    for g in range(touched.groups.shape[0]):
        for j in range(lanes[0], lanes[1], LANES):
            at = g * width + j
            vstore(totals, at, splat(0.0) - vload(totals, at) * vload(q.inverse, at))
        for m in range(touched.starts[g], touched.starts[g + 1]):
            for j in range(lanes[0], lanes[1], LANES):
                slope = widened(q.weights, m * width + j) * vload(totals, g * width + j)
                vstore(found, m * width + j, narrow_as(slope, found))
    for u in range(FIRST, touched.used.shape[0]):
        group = touched.owner[u]
        member = touched.starts[group] + touched.used[u] - touched.groups[group, 0]
        for j in range(lanes[0], lanes[1], LANES):
            slope = widened(found, member * width + j) + vload(counts, u * width + j)
            vstore(found, member * width + j, narrow_as(slope, found))


@parallel_kernel
def gradient_in_parallel(chunks, touched, q, upstream, counts, found):
    """gradient of all lanes, in `chunks` parts at once."""
    for chunk in prange(chunks):
        gradient(share_of_lanes(chunk, chunks, q.width), touched, q, upstream, counts, found)

"""Subsplit Bayesian networks over unrooted topologies: draw, log-probability, gradient.

The arrays of a support and of an encoded batch are described at the head of vbpi_mix/phylo/sbn/support.py. Every
kernel works tree by tree or component by component, so its result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, vexp, vload, vlog, vstore

# Columns of the parameter numbers of a node (see support.py): where each PCSP of the edge above it is found.
ROOT, BELOW_ROOT, BELOW_SISTER, BELOW_UP, ABOVE_ROOT, ABOVE_FIRST, ABOVE_SECOND = range(7)
COLUMNS = 7


class SupportArrays(NamedTuple):
    """The arrays of a support that kernels read (support.py says what is in them)."""

    split_size: Any
    legs: Any
    clade_start: Any
    clade_subsplit: Any
    root_parameter: Any
    port_start: Any
    port_child: Any
    twin: Any
    first_clade_parameter: Any
    first_entry_parameter: Any


@kernel
def find_entry(port, child_port, support):
    """Number of the PCSP entry port -> child_port, or -1; entries of a port are sorted by child."""
    low, high = support.port_start[port], support.port_start[port + 1]
    last = high
    while low < high:
        middle = (low + high) // 2
        if support.port_child[middle] < child_port:
            low = middle + 1
        else:
            high = middle
    if low < last and support.port_child[low] == child_port:
        return low
    return np.int64(-1)


@kernel
def entry_parameter(entry, port, sister, support):
    """Parameter of a PCSP entry, given which of the two other legs of the parent is the sister (0 or 1)."""
    start = support.port_start[port]
    size = support.port_start[port + 1] - start
    return support.first_entry_parameter + 2 * start + sister * size + (entry - start)


@kernel
def number_parameters(children, splits, tripartitions, entries, support, parameters, rows):
    """Parameter numbers [2n-2, 7] and feature rows [E, 3] of one encoded tree; -1 where the support has none."""
    n = children.shape[0] + 2
    top = 2 * n - 3
    n_splits = support.split_size.shape[0]
    parameters[:] = -1
    rows[:] = -1
    for v in range(1, 2 * n - 2):
        parameters[v, ROOT] = splits[v]
        rows[v - 1, 0] = splits[v]
        if v >= n and tripartitions[v] >= 0:
            subsplit = 3 * tripartitions[v]
            parameters[v, BELOW_ROOT] = support.root_parameter[subsplit]
            rows[v - 1, 1] = n_splits + subsplit
    for k in range(n - 2):
        u = n + k
        if tripartitions[u] < 0:
            continue
        for side in range(2):
            v = children[k, side]
            port = 3 * tripartitions[u] + 1 + side
            parameters[v, ABOVE_ROOT] = support.root_parameter[port]
            rows[v - 1, 2] = n_splits + port
            entry = entries[v]
            if entry < 0:
                continue
            # The other legs of leg 1 are 2 (the sibling) and 0 (up), in this order; those of leg 2 are 0 and 1.
            parameters[v, BELOW_SISTER] = entry_parameter(entry, port, side, support)
            parameters[v, BELOW_UP] = entry_parameter(entry, port, 1 - side, support)
            back, below = support.twin[entry], 3 * tripartitions[v]
            parameters[v, ABOVE_FIRST] = entry_parameter(back, below, 0, support)
            parameters[v, ABOVE_SECOND] = entry_parameter(back, below, 1, support)
    # The pendant edge of taxon 0 has one primary subsplit pair, that of the top.
    rows[top - 1, 2] = -1


@kernel
def _choose(probabilities, first, size, u):
    """Position of a categorical draw among probabilities[first : first + size], by inversion of u in [0, 1)."""
    if size == 1:
        return 0
    cumulative = 0.0
    last = 0
    for i in range(size):
        p = probabilities[first + i]
        if p > 0.0:
            last = i
        cumulative += p
        if u < cumulative:
            return i
    return last


@kernel
def draw_tree(probabilities, uniforms, support, children, splits, tripartitions, entries):
    """Draw one topology by ancestral sampling from a rootsplit outwards, and encode it hung from taxon 0."""
    n = children.shape[0] + 2
    n_splits = support.split_size.shape[0]
    tripartitions[:] = -1
    entries[:] = -1
    used = 1
    root = _choose(probabilities, 0, n_splits, uniforms[0])
    below_root = np.int64(-1)
    if support.split_size[root] > 1:
        start = support.clade_start[2 * root]
        size = support.clade_start[2 * root + 1] - start
        chosen = _choose(probabilities, support.first_clade_parameter + start, size, uniforms[used])
        below_root = support.clade_subsplit[start + chosen] // 3
        used += 1
    # The side of taxon 0: walk from the root edge up to the top; up_ports[i] is the port towards where we came from.
    up_ports = np.empty(n, np.int64)
    length = 0
    if support.split_size[root] < n - 1:
        start = support.clade_start[2 * root + 1]
        size = support.clade_start[2 * root + 2] - start
        chosen = _choose(probabilities, support.first_clade_parameter + start, size, uniforms[used])
        used += 1
        port = np.int64(support.clade_subsplit[start + chosen])
        up_ports[0] = port
        length = 1
        while support.split_size[support.legs[3 * (port // 3)]] < n - 1:
            # Up through leg 0; the sister is the leg that is neither 0 nor the one we came by.
            leg = port % 3
            up = 3 * (port // 3)
            sister = 1 if leg == 1 else 0
            start, size = support.port_start[up], support.port_start[up + 1] - support.port_start[up]
            at = support.first_entry_parameter + 2 * start + sister * size
            chosen = _choose(probabilities, at, size, uniforms[used])
            used += 1
            port = np.int64(support.port_child[start + chosen])
            up_ports[length] = port
            length += 1
    # Expand from the top; numbers fall, so that children are smaller than their parents.
    stack_tripartition = np.empty(n, np.int64)
    stack_slot = np.empty(n, np.int64)
    stack_chain = np.empty(n, np.int64)
    next_node = 2 * n - 3
    depth = 0
    splits[2 * n - 3] = n_splits - 1
    stack_slot[0] = -1
    if length > 0:
        stack_tripartition[0] = up_ports[length - 1] // 3
        stack_chain[0] = length - 1
    else:
        stack_tripartition[0] = below_root
        stack_chain[0] = -1
    depth = 1
    while depth > 0:
        depth -= 1
        tripartition, slot, chain = stack_tripartition[depth], stack_slot[depth], stack_chain[depth]
        node = next_node
        next_node -= 1
        tripartitions[node] = tripartition
        if slot >= 0:
            children[slot // 2, slot % 2] = node
            port = 3 * tripartitions[n + slot // 2] + 1 + slot % 2
            splits[node] = support.legs[port]
            entries[node] = find_entry(port, 3 * tripartition, support)
        came_by = up_ports[chain] % 3 if chain >= 0 else 0
        for side in range(2):
            leg = 1 + side
            child_port = 3 * tripartition + leg
            split = support.legs[child_port]
            child_slot = 2 * (node - n) + side
            if support.split_size[split] == 1:
                # Splits are sorted by size, then by taxon: split k - 1 is the pendant edge of taxon k.
                children[node - n, side] = split + 1
                splits[split + 1] = split
                continue
            stack_slot[depth] = child_slot
            if chain >= 0 and leg == came_by:
                if chain > 0:
                    stack_tripartition[depth] = up_ports[chain - 1] // 3
                    stack_chain[depth] = chain - 1
                else:
                    stack_tripartition[depth] = below_root
                    stack_chain[depth] = -1
            else:
                start, size = support.port_start[child_port], support.port_start[child_port + 1] - support.port_start[child_port]
                # Off the walk the root lies beyond leg 0, so the sister is the sibling; on it, the sister is leg 0.
                sister = side if chain < 0 else 1 - side
                at = support.first_entry_parameter + 2 * start + sister * size
                chosen = _choose(probabilities, at, size, uniforms[used])
                used += 1
                stack_tripartition[depth] = support.port_child[start + chosen] // 3
                stack_chain[depth] = -1
            depth += 1


@parallel_kernel
def draw_topologies(probabilities, component, uniforms, support, children, splits, tripartitions, entries, parameters, rows):
    """Draw T topologies; tree t from component[t].

    probabilities float64 [A, n_params]; component int64 [T]; uniforms float64 [T, n-1], in [0, 1). Filled: children
    int32 [T, n-2, 2] and the encoding (support.py).
    """
    for t in prange(children.shape[0]):
        draw_tree(
            probabilities[component[t]], uniforms[t], support, children[t], splits[t], tripartitions[t], entries[t]
        )
        number_parameters(
            children[t], splits[t], tripartitions[t], entries[t], support, parameters[t], rows[t]
        )


@kernel
def number_batch(children, splits, tripartitions, entries, support, parameters, rows):
    """number_parameters for every tree of a batch."""
    for t in range(children.shape[0]):
        number_parameters(children[t], splits[t], tripartitions[t], entries[t], support, parameters[t], rows[t])


@parallel_kernel
def normalise_groups(logits, groups, log_probabilities, probabilities):
    """Log-softmax and softmax of every group of two or more parameters.

    logits float64 [A, n_params]; groups int64 [G, 2], first and last + 1 of each. log_probabilities must come in as
    zeros; it and probabilities, both float64 [A, n_params], are filled. A parameter alone in its group has
    probability 1.
    """
    for a in prange(logits.shape[0]):
        _normalise(logits[a], groups, log_probabilities[a], probabilities[a])


@kernel
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


@kernel
def _log(log_probabilities, parameter):
    return log_probabilities[parameter] if parameter >= 0 else -np.inf


@kernel
def _rootings(children, parameters, log_probabilities, down, up, totals):
    """Log-probability of the tree rooted at each edge, totals [2n-2] (entry 0 unused); returns their log-sum.

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
    for v in range(1, 2 * n - 2):
        value = _log(log_probabilities, parameters[v, ROOT]) + up[v] + down[v]
        if v >= n:
            value += _log(log_probabilities, parameters[v, BELOW_ROOT])
        if v != top:
            value += _log(log_probabilities, parameters[v, ABOVE_ROOT])
        totals[v] = value
        largest = max(largest, value)
    if largest == -np.inf:
        return largest
    total = 0.0
    for v in range(1, 2 * n - 2):
        total += np.exp(totals[v] - largest)
    return largest + np.log(total)


@kernel
def log_q_tree(children, parameters, log_probabilities, evaluated, down, up, log_q, rooting):
    """One tree: log_q [R] and rooting [R, 2n-2]; down and up [2n-2] are work space."""
    for r in range(evaluated.shape[0]):
        totals = rooting[r]
        value = _rootings(children, parameters, log_probabilities[evaluated[r]], down, up, totals)
        log_q[r] = value
        totals[0] = 0.0
        for v in range(1, totals.shape[0]):
            totals[v] = np.exp(totals[v] - value) if value > -np.inf else 0.0


@parallel_kernel
def log_q_forward(children, parameters, log_probabilities, evaluated, log_q, rooting):
    """log q_j(tau) of T topologies under R components, and the posterior of where each tree is rooted.

    children int32 [T, n-2, 2]; parameters int32 [T, 2n-2, 7]; log_probabilities float64 [A, n_params]; evaluated
    int64 [R]. Filled: log_q float64 [T, R]; rooting float64 [T, R, 2n-2] (zero where log q is minus infinity).
    """
    nodes = children.shape[1] * 2 + 2
    for t in prange(children.shape[0]):
        down, up = np.empty(nodes), np.empty(nodes)
        log_q_tree(children[t], parameters[t], log_probabilities, evaluated, down, up, log_q[t], rooting[t])


@kernel
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


@kernel
def expected_counts(children, parameters, rooting, weights, counts):
    """Sum of the expected PCSP counts of T trees with weights [T]; rooting float64 [T, 2n-2]; counts [n_params]."""
    inside = np.empty(children.shape[1] * 2 + 2)
    for t in range(children.shape[0]):
        add_expected_counts(children[t], parameters[t], rooting[t], weights[t], inside, counts)

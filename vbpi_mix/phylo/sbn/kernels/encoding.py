"""How a topology is written in the numbers of a support: what kernels read of the support, and what they fill.

The arrays are described at the head of vbpi_mix/phylo/sbn/support.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vbpi_mix.accelerate import inner_kernel, kernel

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


class Encoding(NamedTuple):
    """The arrays of T encoded topologies (support.py says what is in them)."""

    children: Any
    splits: Any
    tripartitions: Any
    entries: Any
    parameters: Any
    rows: Any


@inner_kernel
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


@inner_kernel
def entry_parameter(entry, port, sister, support):
    """Parameter of a PCSP entry, given which of the two other legs of the parent is the sister (0 or 1)."""
    start = support.port_start[port]
    size = support.port_start[port + 1] - start
    return support.first_entry_parameter + 2 * start + sister * size + (entry - start)


@inner_kernel
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
            entry = np.int64(entries[v])
            if entry < 0:
                continue
            # The other legs of leg 1 are 2 (the sibling) and 0 (up), in this order; those of leg 2 are 0 and 1.
            parameters[v, BELOW_SISTER] = entry_parameter(entry, port, side, support)
            parameters[v, BELOW_UP] = entry_parameter(entry, port, 1 - side, support)
            back, below = support.twin[entry], 3 * tripartitions[v]
            parameters[v, ABOVE_FIRST] = entry_parameter(back, below, np.int64(0), support)
            parameters[v, ABOVE_SECOND] = entry_parameter(back, below, np.int64(1), support)
    # The pendant edge of taxon 0 has one primary subsplit pair, that of the top.
    rows[top - 1, 2] = -1


@inner_kernel
def number_tree(t, support, encoding):
    """number_parameters for tree t of a batch."""
    number_parameters(
        encoding.children[t], encoding.splits[t], encoding.tripartitions[t], encoding.entries[t], support,
        encoding.parameters[t], encoding.rows[t],
    )  # fmt: skip


@kernel
def number_batch(support, encoding):
    """number_parameters for every tree of a batch."""
    for t in range(encoding.children.shape[0]):
        number_tree(t, support, encoding)

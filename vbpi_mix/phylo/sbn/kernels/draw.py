"""Topologies drawn from subsplit Bayesian networks, already encoded in the numbers of the support.

The arrays of a support and of an encoded batch are described at the head of vbpi_mix/phylo/sbn/support.py. Every tree
is worked on by one thread in one order, so results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, inner_kernel, kernel, parallel_kernel
from vbpi_mix.phylo.sbn.kernels.encoding import find_entry, number_tree


class Network(NamedTuple):
    """A network to draw from: its probabilities float64 [n_params].

    Where they are not known yet, `width` is positive, and they are made group by group as draws come to them, from logits in
    column `lane` of a flat table [n_params * width]; ready bool [n_params] says of the first parameter of each group whether
    it is done.
    """

    probabilities: Any
    ready: Any
    table: Any
    width: Any
    lane: Any


@kernel
def _make_ready(network, first, size):
    """Probabilities of the group of `size` parameters from `first` on."""
    probabilities, table = network.probabilities, network.table
    largest = -np.inf
    for i in range(first, first + size):
        largest = max(largest, np.float64(table[i * network.width + network.lane]))
    total = 0.0
    for i in range(first, first + size):
        probabilities[i] = np.exp(np.float64(table[i * network.width + network.lane]) - largest)
        total += probabilities[i]
    for i in range(first, first + size):
        probabilities[i] /= total
    network.ready[first] = True


@kernel
def _choose(network, first, size, u):
    """Position of a categorical draw among probabilities[first : first + size], by inversion of u in [0, 1)."""
    if size == 1:
        return 0
    if network.width > 0 and not network.ready[first]:
        _make_ready(network, first, size)
    probabilities = network.probabilities
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
def _draw_beyond(network, port, sister, u, support):
    """The subsplit drawn to divide the clade beyond a port, given which other leg is the sister (0 or 1)."""
    start = support.port_start[port]
    size = support.port_start[port + 1] - start
    at = support.first_entry_parameter + 2 * start + sister * size
    return np.int64(support.port_child[start + _choose(network, at, size, u)])


@kernel
def _draw_below_root(network, clade, u, support):
    """The subsplit drawn to divide a clade that is a side of the rootsplit."""
    start = support.clade_start[clade]
    size = support.clade_start[clade + 1] - start
    return np.int64(
        support.clade_subsplit[start + _choose(network, support.first_clade_parameter + start, size, u)]
    )


@kernel
def _draw_walk(network, uniforms, support, up_ports):
    """Draw the root edge and what lies between it and the top, the neighbour of taxon 0.

    Returns the tripartition below the root edge (-1: a taxon), how many ports the walk up has, and how many uniforms
    were used; up_ports[i] is the port of the i-th tripartition of the walk towards where we came from.
    """
    n_splits = support.split_size.shape[0]
    root = _choose(network, np.int64(0), n_splits, uniforms[0])
    used = 1
    below_root = np.int64(-1)
    if support.split_size[root] > 1:
        below_root = _draw_below_root(network, 2 * root, uniforms[used], support) // 3
        used += 1
    length = 0
    # The last split is the pendant edge of taxon 0.
    if root < n_splits - 1:
        port = _draw_below_root(network, 2 * root + 1, uniforms[used], support)
        used += 1
        up_ports[0] = port
        length = 1
        while support.legs[3 * (port // 3)] < n_splits - 1:
            # Up through leg 0; the sister is the leg that is neither 0 nor the one we came by.
            sister = 1 if port % 3 == 1 else 0
            port = _draw_beyond(network, 3 * (port // 3), sister, uniforms[used], support)
            used += 1
            up_ports[length] = port
            length += 1
    return below_root, length, used


@inner_kernel
@allocates
def draw_tree(network, uniforms, support, children, splits, tripartitions, entries):
    """Draw one topology by ancestral sampling from a rootsplit outwards, and encode it hung from taxon 0."""
    n = children.shape[0] + 2
    tripartitions[:] = -1
    entries[:] = -1
    up_ports = np.empty(n, np.int64)
    below_root, length, used = _draw_walk(network, uniforms, support, up_ports)
    # Expand from the top; numbers fall, so that children are smaller than their parents. `chain` is the place of a
    # tripartition in the walk, or -1 off it.
    stack_tripartition = np.empty(n, np.int64)
    stack_slot = np.empty(n, np.int64)
    stack_chain = np.empty(n, np.int64)
    node = 2 * n - 2
    splits[2 * n - 3] = support.split_size.shape[0] - 1
    stack_slot[0] = -1
    stack_chain[0] = length - 1
    stack_tripartition[0] = up_ports[length - 1] // 3 if length > 0 else below_root
    depth = 1
    while depth > 0:
        depth -= 1
        tripartition, slot, chain = stack_tripartition[depth], stack_slot[depth], stack_chain[depth]
        node -= 1
        tripartitions[node] = tripartition
        if slot >= 0:
            children[slot // 2, slot % 2] = node
            port = 3 * tripartitions[n + slot // 2] + 1 + slot % 2
            splits[node] = support.legs[port]
            entries[node] = find_entry(port, 3 * tripartition, support)
        came_by = up_ports[chain] % 3 if chain >= 0 else 0
        for side in range(2):
            child_port = 3 * tripartition + 1 + side
            split = support.legs[child_port]
            if support.split_size[split] == 1:
                # Splits are sorted by size, then by taxon: split k - 1 is the pendant edge of taxon k.
                children[node - n, side] = split + 1
                splits[split + 1] = split
                continue
            stack_slot[depth] = 2 * (node - n) + side
            if chain >= 0 and 1 + side == came_by:
                stack_tripartition[depth] = up_ports[chain - 1] // 3 if chain > 0 else below_root
                stack_chain[depth] = chain - 1
            else:
                # Off the walk the root lies beyond leg 0, so the sister is the sibling; on it, the sister is leg 0.
                sister = side if chain < 0 else 1 - side
                beyond = _draw_beyond(network, child_port, sister, uniforms[used], support)
                used += 1
                stack_tripartition[depth] = beyond // 3
                stack_chain[depth] = -1
            depth += 1


@inner_kernel
@allocates
def known(probabilities):
    """The network of these probabilities [n_params]."""
    return Network(probabilities, np.empty(0, np.bool_), np.empty(0, probabilities.dtype), 0, 0)


@kernel
@allocates
def draw_topologies(probabilities, component, uniforms, support, encoding):
    """Draw T topologies; tree t from component[t]. Fills the encoding.

    probabilities float64 [A, n_params]; component int64 [T]; uniforms float64 [T, n-1], in [0, 1).
    """
    for t in range(component.shape[0]):
        draw_tree(
            known(probabilities[component[t]]), uniforms[t], support, encoding.children[t], encoding.splits[t],
            encoding.tripartitions[t], encoding.entries[t],
        )  # fmt: skip
        number_tree(t, support, encoding)


@kernel
@allocates
def draw_from_table(first, last, sampled, network, uniforms, support, encoding):
    """Draw the trees of components sampled[first] ... sampled[last-1], equally many of each. Fills the encoding.

    network: of the flat table and its width; nothing else of it is read. sampled int64 [S]; uniforms [T, n-1].
    """
    size, particles = network.table.shape[0] // network.width, uniforms.shape[0] // sampled.shape[0]
    for s in range(first, last):
        own = Network(np.empty(size), np.zeros(size, np.bool_), network.table, network.width, sampled[s])
        for t in range(s * particles, (s + 1) * particles):
            draw_tree(
                own, uniforms[t], support, encoding.children[t], encoding.splits[t], encoding.tripartitions[t],
                encoding.entries[t],
            )  # fmt: skip
            number_tree(t, support, encoding)


@parallel_kernel
def draw_from_table_in_parallel(chunks, sampled, network, uniforms, support, encoding):
    """The same of all, components in `chunks` parts at once."""
    count = sampled.shape[0]
    for chunk in prange(chunks):
        draw_from_table(
            chunk * count // chunks, (chunk + 1) * count // chunks, sampled, network, uniforms, support, encoding
        )

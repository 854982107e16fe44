"""Kernels over batches of topologies: canonical numbering, clades, distinct topologies, stepwise addition.

`children` int32 [T, n-2, 2] is laid out as docs/data-model.md says: row k holds the children of node n+k, the
last row is the top, the neighbour of taxon 0.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import allocates, inner_kernel, kernel


@inner_kernel
@allocates
def number_canonically(first, second, top, n_taxa, children, relabel):
    """Canonical form of one tree that hangs from taxon 0.

    first, second: int32 [>= nodes], the children of every internal node under any numbering; top: the
    neighbour of taxon 0. Fills children int32 [n-2, 2] and relabel int32 [>= nodes], old node to new node.
    """
    internal = n_taxa - 2
    order = np.empty(internal, np.int32)
    smallest = np.empty(relabel.size, np.int32)
    inside = np.zeros(relabel.size, np.int32)
    for taxon in range(n_taxa):
        smallest[taxon] = taxon
        relabel[taxon] = taxon
    # `order` serves as its own queue: parents stand before their children.
    order[0] = top
    filled = 1
    for k in range(internal):
        for child in (first[order[k]], second[order[k]]):
            if child >= n_taxa:
                order[filled] = child
                filled += 1
    for k in range(internal - 1, -1, -1):
        node = order[k]
        smallest[node] = min(smallest[first[node]], smallest[second[node]])
        inside[node] = 1 + inside[first[node]] + inside[second[node]]
    # A postorder walk gives a clade with m internal nodes m consecutive numbers, its own node the last.
    relabel[top] = n_taxa + internal - 1
    for k in range(internal):
        node = order[k]
        left, right = first[node], second[node]
        if smallest[right] < smallest[left]:
            left, right = right, left
        if right >= n_taxa:
            relabel[right] = relabel[node] - 1
        if left >= n_taxa:
            relabel[left] = relabel[node] - 1 - inside[right]
        children[relabel[node] - n_taxa, 0] = relabel[left]
        children[relabel[node] - n_taxa, 1] = relabel[right]


@kernel
@allocates
def canonicalise_batch(children, canonical, relabel):
    """Fill canonical int32 [T, n-2, 2] and relabel int32 [T, 2n-2], old node to new.

    The internal nodes of `children` may have any numbers, except that the top is the last.
    """
    trees, internal, _ = children.shape
    n_taxa = internal + 2
    first = np.empty(n_taxa + internal, np.int32)
    second = np.empty(n_taxa + internal, np.int32)
    for t in range(trees):
        for k in range(internal):
            first[n_taxa + k] = children[t, k, 0]
            second[n_taxa + k] = children[t, k, 1]
        number_canonically(first, second, n_taxa + internal - 1, n_taxa, canonical[t], relabel[t])


@kernel
def clade_bits(children, bits):
    """Fill bits uint64 [T, 2n-2, W], zero before: bit k of a node says that taxon k is below it."""
    trees, internal, _ = children.shape
    n_taxa = internal + 2
    words = bits.shape[2]
    for t in range(trees):
        for taxon in range(n_taxa):
            bits[t, taxon, taxon >> 6] = np.uint64(1) << np.uint64(taxon & 63)
        for k in range(internal):
            for word in range(words):
                left = bits[t, children[t, k, 0], word]
                bits[t, n_taxa + k, word] = left | bits[t, children[t, k, 1], word]


@kernel
def index_distinct(rows, slots, leaders, index):
    """Number the distinct rows of int32 [N, M] in the order in which they first occur; returns how many.

    slots int32 [a power of two above 2 N], filled with -1, is the hash table; leaders int64 [N] receives the
    first row of each distinct one, index int32 [N] the number of every row. Equal hashes are compared in
    full.
    """
    mask = slots.size - 1
    found = 0
    for r in range(rows.shape[0]):
        # FNV-1a kept to 32 bits, so that no product overflows int64, compiled or not.
        code = np.int64(2166136261)
        for m in range(rows.shape[1]):
            code = ((code ^ np.int64(rows[r, m])) * 16777619) & 0xFFFFFFFF
        # The low bits of a product depend on low bits only; the high ones are mixed in.
        slot = (code ^ (code >> 15)) & mask
        while slots[slot] >= 0:
            leader = leaders[slots[slot]]
            same = True
            for m in range(rows.shape[1]):
                if rows[leader, m] != rows[r, m]:
                    same = False
                    break
            if same:
                break
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = found
            leaders[found] = r
            found += 1
        index[r] = slots[slot]
    return found


@kernel
@allocates
def attach_taxa(choices, children):
    """Grow trees by stepwise addition: choices int64 [T, n-3] into canonical children int32 [T, n-2, 2].

    Taxon k = 3 ... n-1 is hung into edge choices[t, k-3] of the 2k-3 edges there are. Edges are counted by
    the node below them: first taxa 1 ... k-1, then the internal nodes in the order in which they were made.
    """
    trees, internal, _ = children.shape
    n_taxa = internal + 2
    parent = np.empty(2 * n_taxa - 2, np.int32)
    child = np.empty((2, 2 * n_taxa - 2), np.int32)
    relabel = np.empty(2 * n_taxa - 2, np.int32)
    for t in range(trees):
        top = np.int32(n_taxa)
        parent[1] = parent[2] = top
        parent[top] = -1
        child[0, top], child[1, top] = 1, 2
        for taxon in range(3, n_taxa):
            edge = choices[t, taxon - 3]
            below = np.int32(edge + 1 if edge < taxon - 1 else n_taxa + edge - (taxon - 1))
            node = np.int32(n_taxa + taxon - 2)
            above = parent[below]
            parent[node] = above
            if above < 0:
                top = node
            elif child[0, above] == below:
                child[0, above] = node
            else:
                child[1, above] = node
            child[0, node], child[1, node] = below, taxon
            parent[below] = parent[taxon] = node
        number_canonically(child[0], child[1], np.int64(top), n_taxa, children[t], relabel)

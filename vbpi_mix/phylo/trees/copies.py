"""Identical sequences: what a tree sample cannot know of them, put right.

Copies of one sequence can change places in a tree without changing its likelihood. A program that drops copies and puts them
back, as IQ-TREE does, joins them in the same way in every tree; so does one that joins what is at distance 0 in the order of
the file. Here every way to join them gets the same probability.

Shapes: N trees, U distinct topologies, n taxa, g copies, P ways to join them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vbpi_mix.phylo.trees.newick import LabelReader, byte_array, some_names, to_newick
from vbpi_mix.phylo.trees.sample import TreeSample, by_weight
from vbpi_mix.phylo.trees.topology import (
    canonicalise,
    clade_bitsets,
    enumerate_topologies,
    random_topologies,
    unique_topologies,
)

# Each tree of a sample stands for all ways, if they and the trees are few; else for one of them at random.
_WAYS_OF_A_TREE, _TREES_IN_ALL = 15, 20_000
_COPIES_LISTED, _WAYS_DRAWN = 5, 1_000


def identical_sequences(states: np.ndarray) -> list[tuple[int, ...]]:
    """Groups of at least 3 taxa with the same row of state sets, [n, sites]; two can be joined in one way only."""
    groups: dict[bytes, list[int]] = {}
    for taxon, row in enumerate(states):
        groups.setdefault(np.ascontiguousarray(row).tobytes(), []).append(taxon)
    # If all taxa are copies of one, every topology is as good as another, and a sample cannot be put right.
    return [tuple(group) for group in groups.values() if 3 <= len(group) < states.shape[0]]


def join_copies_uniformly(sample: TreeSample, states: np.ndarray, seed: int) -> TreeSample:
    """The sample with every way to join identical sequences equally probable; itself, if there are fewer than 3 of any.

    states: of the sequences, in the order of the sample's taxa. Where the copies are a group of a tree, that group is resolved
    in every way, or in ways drawn by `seed`; where they are not, they change places at random. The new sample says so in its
    notes, and has no branch lengths; one whose notes say so is left as it is.
    """
    rng = np.random.default_rng([seed, 1])
    for group in identical_sequences(states):
        names = some_names([sample.taxa[k] for k in group])
        note = f"{len(group)} sequences are identical: {names}; whatever the trees say, each way to join them is as probable"
        if note in sample.notes:
            continue
        sample = replace(_joined(sample, np.array(group), rng), notes=(*sample.notes, note))
    return sample


def _joined(sample: TreeSample, group: np.ndarray, rng: np.random.Generator) -> TreeSample:
    ways = _ways(group.size, rng)
    each = ways.shape[0] if ways.shape[0] <= min(_WAYS_OF_A_TREE, _TREES_IN_ALL // sample.tree_topology.size) else 1
    topology = np.repeat(sample.tree_topology, each)
    tree_weights = np.repeat(sample.tree_weights / each, each)
    way = np.tile(np.arange(each), sample.tree_topology.size)
    if each < ways.shape[0]:
        way = rng.integers(ways.shape[0], size=topology.size)
    cells, cell = np.unique(topology.astype(np.int64) * ways.shape[0] + way, return_inverse=True)
    of_cell, way_of_cell = cells // ways.shape[0], cells % ways.shape[0]
    children, index = unique_topologies(_with_ways(sample.children[of_cell], group, ways[way_of_cell], rng))
    index = index[cell]
    children, weights, tree_topology = by_weight(children, np.bincount(index, tree_weights, children.shape[0]), index)
    return replace(
        sample, children=children, weights=weights, tree_topology=tree_topology, tree_weights=tree_weights, lengths=None
    )


def _ways(copies: int, rng: np.random.Generator) -> np.ndarray:
    """Ways to join g copies with the rest of a tree: all, or some at random; topologies int32 [P, g-1, 2] of g+1 taxa."""
    if copies <= _COPIES_LISTED:
        return enumerate_topologies(copies + 1)
    return random_topologies(copies + 1, _WAYS_DRAWN, rng)


def _with_ways(children: np.ndarray, group: np.ndarray, ways: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Topologies int32 [T, n-2, 2] with a group of copies joined in the ways int32 [T, g-1, 2]; canonical."""
    children = children.copy()
    n_taxa = children.shape[1] + 2
    # Taxon 0 is above all nodes: if it is one of the copies, the others in the tree are a clade.
    below = np.setdiff1d(np.arange(n_taxa), group) if group[0] == 0 else group
    wanted = np.zeros(-(-n_taxa // 64), dtype=np.uint64)
    np.bitwise_or.at(wanted, below // 64, np.uint64(1) << (below % 64).astype(np.uint64))
    found = (clade_bitsets(children) == wanted).all(axis=2)
    together = np.flatnonzero(found.any(axis=1))
    node = found[together].argmax(axis=1)[:, None]
    inner = np.arange(group.size - 1)
    if group[0] == 0:
        # Nodes of a clade have consecutive numbers, of which its own is the last; the copies have the others.
        inside = below.size - 1
        free = n_taxa + inner + np.where(n_taxa + inner < node - inside + 1, 0, inside)
        leaves = np.concatenate([np.broadcast_to(group, (node.size, group.size)), node], axis=1)
    else:
        free = node - (group.size - 2) + inner
        leaves = np.concatenate([np.full_like(node, -1), np.broadcast_to(group, (node.size, group.size))], axis=1)
    number = np.concatenate([leaves, free], axis=1)
    values = ways[together].reshape(node.size, 2 * inner.size)
    rows = np.take_along_axis(number, values, axis=1).reshape(node.size, inner.size, 2)
    children[together[:, None], free - n_taxa] = rows
    children = canonicalise(children)[0]
    apart = np.flatnonzero(~found.any(axis=1))
    if apart.size:
        children[apart] = _in_other_places(children[apart], group.tolist(), rng)
    return children


def _in_other_places(children: np.ndarray, group: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Topologies int32 [T, n-2, 2] in which the taxa of a group have changed places at random."""
    names = [str(k) for k in range(children.shape[1] + 2)]
    texts = []
    for tree in children:
        placed = list(names)
        for here, there in zip(group, rng.permutation(group).tolist(), strict=True):
            placed[here] = names[there]
        texts.append(to_newick(tree, placed))
    stops = np.cumsum([len(text) for text in texts])
    starts = np.concatenate([[0], stops[:-1]])
    return LabelReader(names).parse(byte_array("".join(texts).encode()), starts, stops, "tree sample").children

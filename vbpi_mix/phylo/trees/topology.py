"""Topologies as integer arrays: canonical form, distinct ones, clades, and all or random ones.

Layout: docs/data-model.md. A batch of T unrooted binary topologies of n taxa is `children` int32 [T, n-2, 2];
row k holds the children of node n+k, and the last row is the top, the neighbour of taxon 0. Edge v-1 is the
edge above node v. Newick goes in and out by `parse_newick` and `to_newick`.
"""

from __future__ import annotations

import itertools

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.kernels import topology as kernels
from vbpi_mix.phylo.trees.newick import parse_newick, to_newick

__all__ = [
    "canonicalise",
    "clade_bitsets",
    "enumerate_topologies",
    "parse_newick",
    "random_topologies",
    "random_topology",
    "to_newick",
    "unique_topologies",
]

_ENUMERABLE_TAXA = 9


def canonicalise(children: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical form of a batch, and the new number of every node.

    children: int32 [T, n-2, 2] in which internal nodes may have any numbers, except that the top is the last.
    Returns canonical children int32 [T, n-2, 2] and relabel int32 [T, 2n-2], old node number to new. Data of
    the edge above old node v belong to the edge above node relabel[t, v].
    """
    children = np.ascontiguousarray(children, dtype=np.int32)
    canonical = np.empty_like(children)
    relabel = np.empty((children.shape[0], 2 * children.shape[1] + 2), dtype=np.int32)
    kernels.canonicalise_batch(children, canonical, relabel)
    return canonical, relabel


def unique_topologies(children: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct topologies of a batch in canonical form.

    children: int32 [N, n-2, 2]. Returns the U distinct ones, int32 [U, n-2, 2], in the order in which they
    first occur, and index int32 [N], which of them each tree is.
    """
    children = np.ascontiguousarray(children, dtype=np.int32)
    rows = children.reshape(children.shape[0], 2 * children.shape[1])
    slots = np.full(1 << (2 * rows.shape[0] + 1).bit_length(), -1, dtype=np.int32)
    leaders = np.empty(rows.shape[0], dtype=np.int64)
    index = np.empty(rows.shape[0], dtype=np.int32)
    found = kernels.index_distinct(rows, slots, leaders, index)
    return children[leaders[:found]], index


def clade_bitsets(children: np.ndarray) -> np.ndarray:
    """Clades below all nodes: uint64 [T, 2n-2, W], W = ceil(n/64); bit k of a node is taxon k.

    children: int32 [T, n-2, 2], children numbered before their parents. Taxon 0 has only itself.
    """
    children = np.ascontiguousarray(children, dtype=np.int32)
    n_taxa = children.shape[1] + 2
    bits = np.zeros((children.shape[0], 2 * n_taxa - 2, -(-n_taxa // 64)), dtype=np.uint64)
    kernels.clade_bits(children, bits)
    return bits


def random_topologies(n_taxa: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` independent uniform topologies, canonical int32 [count, n-2, 2].

    Taxa are added one by one, each to an edge chosen uniformly, which makes each of the
    (2n-5)!! unrooted topologies equally likely.
    Raises TreeError below 3 taxa.
    """
    _check_taxa(n_taxa)
    edges = 2 * np.arange(3, n_taxa) - 3
    return _grow(n_taxa, rng.integers(0, edges, size=(count, n_taxa - 3)))


def random_topology(n_taxa: int, rng: np.random.Generator) -> np.ndarray:
    """One topology, uniform over the (2n-5)!! unrooted ones; canonical int32 [n-2, 2]."""
    return random_topologies(n_taxa, 1, rng)[0]


def enumerate_topologies(n_taxa: int) -> np.ndarray:
    """All (2n-5)!! unrooted topologies, canonical int32 [(2n-5)!!, n-2, 2].

    Raises TreeError below 3 taxa and above 9, where they are too many to hold.
    """
    _check_taxa(n_taxa)
    if n_taxa > _ENUMERABLE_TAXA:
        raise TreeError(f"{n_taxa} taxa have too many topologies to list; at most {_ENUMERABLE_TAXA} taxa")
    choices = list(itertools.product(*(range(2 * taxon - 3) for taxon in range(3, n_taxa))))
    return _grow(n_taxa, np.array(choices, dtype=np.int64).reshape(len(choices), n_taxa - 3))


def _grow(n_taxa: int, choices: np.ndarray) -> np.ndarray:
    children = np.empty((choices.shape[0], n_taxa - 2, 2), dtype=np.int32)
    kernels.attach_taxa(choices, children)
    return children


def _check_taxa(n_taxa: int) -> None:
    if n_taxa < 3:
        raise TreeError(f"{n_taxa} taxa asked for; an unrooted topology needs at least 3")

"""Distinct clades of many topologies, numbered: what support, split frequencies and encoding begin with.

The clades of T topologies of n taxa are T (2n-3) rows of ceil(n/64) words. All at once they would be the largest thing in
memory, as they grow with the square of the taxa, so that a few topologies are looked at at a time, and what is kept are the
distinct ones. Rows are told apart by a hash table; to sort them word by word takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vbpi_mix.phylo.trees.kernels.rows import number_rows
from vbpi_mix.phylo.trees.topology import clade_bitsets

# Words of clades that are in memory at one time.
WORDS_AT_ONCE = 1 << 22


def number_clades(children: np.ndarray, nodes: slice) -> tuple[np.ndarray, np.ndarray]:
    """The distinct clades below some nodes of topologies, uint64 [M, W] as they first come, and their numbers, int32 [T, k].

    children: int32 [T, n-2, 2], children numbered before their parents. nodes: k of the numbers 0 ... 2n-3.
    """
    n_taxa = children.shape[1] + 2
    width = len(range(*nodes.indices(2 * n_taxa - 2)))
    numbers = np.empty((children.shape[0], width), np.int32)
    found = np.empty((0, -(-n_taxa // 64)), np.uint64)
    for some, bits in clades_by_trees(children, nodes):
        # What is known comes first and keeps its numbers.
        rows = np.concatenate([found, bits])
        codes, first = number(rows)
        numbers[some] = codes[found.shape[0] :].reshape(numbers[some].shape)
        found = rows[first]
    return found, numbers


def clades_by_trees(children: np.ndarray, nodes: slice) -> Iterator[tuple[slice, np.ndarray]]:
    """Clades uint64 [t k, W] below k nodes of each of t topologies, as many as WORDS_AT_ONCE allows, and which they are."""
    n_taxa, words = children.shape[1] + 2, -(-(children.shape[1] + 2) // 64)
    at_once = max(1, WORDS_AT_ONCE // (2 * n_taxa * words))
    for start in range(0, children.shape[0], at_once):
        some = slice(start, start + at_once)
        yield some, clade_bitsets(children[some])[:, nodes].reshape(-1, words)


def number(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows of uint64 [N, W], int64 [N], as they first come; and where each number comes first."""
    codes, first = np.empty(rows.shape[0], np.int64), np.empty(rows.shape[0], np.int64)
    slots = np.full(2 << max(1, rows.shape[0]).bit_length(), -1, np.int32)
    count = number_rows(np.ascontiguousarray(rows), slots, codes, first)
    return codes, first[:count].copy()


def find_rows(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Position of each row of uint64 [N, W] in a table [M, W] of distinct rows, or -1; int32 [N]."""
    # The rows of the table are distinct and come first, so that their numbers are their positions.
    codes = number(np.concatenate([table, rows]))[0][table.shape[0] :]
    return np.where(codes < table.shape[0], codes, -1).astype(np.int32)

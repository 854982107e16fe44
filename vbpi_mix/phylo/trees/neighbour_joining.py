"""A tree to begin with: neighbour joining (Saitou and Nei 1987) of the shares of sites at which two taxa differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vbpi_mix.sizes import check_memory

# Of pairs of taxa: the distances, those of inner nodes too, and what is made of them in a step.
_DOUBLES_OF_PAIR = 7


def pairwise_differences(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Share of weighted sites at which two taxa have no state in common, [n, n], from states [n, P], bit sets, and weights
    [P] of each part. ConfigError, with the estimate, if these and what joins them are more than the memory.
    """
    n_taxa = parts[0][0].shape[0]
    check_memory(_DOUBLES_OF_PAIR * 8 * n_taxa**2, f"the distances of {n_taxa:,} taxa")
    apart, total = np.zeros((n_taxa, n_taxa)), 0.0
    for states, weights in parts:
        total += float(weights.sum())
        for k in range(n_taxa):
            apart[k] += ((states & states[k]) == 0) @ weights
    return apart / max(total, 1.0)


def neighbour_joining(distances: np.ndarray) -> np.ndarray:
    """The topology, int32 [n-2, 2], of distances [n, n]: children of internal nodes, hanging from taxon 0."""
    n_taxa = distances.shape[0]
    d = np.zeros((2 * n_taxa - 2, 2 * n_taxa - 2))
    d[:n_taxa, :n_taxa] = distances
    active = list(range(n_taxa))
    adjacent: dict[int, list[int]] = {}
    while len(active) > 3:
        own = d[np.ix_(active, active)]
        sums = own.sum(axis=1)
        criterion = (len(active) - 2) * own - sums[:, None] - sums[None, :]
        np.fill_diagonal(criterion, np.inf)
        a, b = divmod(int(np.argmin(criterion)), len(active))
        i, j, new = active[a], active[b], n_taxa + len(adjacent)
        d[new, active] = d[active, new] = 0.5 * (d[i, active] + d[j, active] - d[i, j])
        adjacent[new] = [i, j]
        active = [k for k in active if k not in (i, j)] + [new]
    centre = n_taxa + len(adjacent)
    adjacent[centre] = active
    neighbours: dict[int, list[int]] = {node: [] for node in range(2 * n_taxa - 2)}
    for node, others in adjacent.items():
        for other in others:
            neighbours[node].append(other)
            neighbours[other].append(node)
    return _hang_from_first(neighbours, n_taxa)


def _hang_from_first(neighbours: dict[int, list[int]], n_taxa: int) -> np.ndarray:
    """children int32 [n-2, 2] of the tree that hangs from taxon 0, inner nodes numbered from the leaves up."""
    order: list[tuple[int, int]] = []
    stack = [(neighbours[0][0], 0)]
    while stack:
        node, parent = stack.pop()
        if node >= n_taxa:
            order.append((node, parent))
            stack += [(child, node) for child in neighbours[node] if child != parent]
    children = np.empty((n_taxa - 2, 2), dtype=np.int32)
    number: dict[int, int] = {}
    for k, (node, parent) in enumerate(reversed(order)):
        number[node] = n_taxa + k
        below = sorted(number.get(child, child) for child in neighbours[node] if child != parent)
        children[k] = below
    return children

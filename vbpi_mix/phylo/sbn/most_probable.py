"""The most probable topology of a mixture of subsplit Bayesian networks, with a bound that proves it.

A network draws rooted trees: a rootsplit, then subsplits below it, each given its parent and sister. The most probable
rooted tree below a subsplit is found by dynamic programming over clades, the smaller first, and with it every rooted tree of
probability t or more is listed without a dead end: a partial tree is kept if its best completion is that probable. An
unrooted topology is as probable as its 2n-3 rootings together, of which no recursion knows the largest sum. But one that was
listed in no component has no rooting of probability t in any, so that it is no more probable than

    max over topologies of  sum over its edges e of  sum over a of  pi_a min(t, M[a, e]),

pi_a the weight of component a and M[a, e] its most probable tree with its root on e; and this maximum is again a recursion
over clades. t is lowered until the best topology listed is no less probable than that bound, or until too many trees are listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.averages import average
from vbpi_mix.phylo.sbn.support import SubsplitSupport
from vbpi_mix.phylo.trees.topology import canonicalise

# Rooted trees of one component listed at most, times the number of taxa: about a second for all.
MOST_NODES = 2_000_000
# t falls by this factor from one listing to the next.
LOWERING = 4.0
# Sums in another order differ in their last bits.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class MostProbable:
    """children: int32 [n-2, 2], canonical, with its probability. bound: no topology is more probable than that."""

    children: np.ndarray
    probability: float
    bound: float

    @property
    def proven(self) -> bool:
        """Whether no topology can be more probable; else it is the best that was found."""
        return self.bound <= self.probability * (1 + _ROUNDING)


def most_probable_topology(
    support: SubsplitSupport, logits: np.ndarray, most: int | None = None, log_weights: np.ndarray | None = None
) -> MostProbable:
    """Of the mixture of networks with logits float64 [A, n_params]. most: rooted trees listed of a component. log_weights:
    [A], None if uniform."""
    most = max(1_000, MOST_NODES // support.n_taxa) if most is None else most
    networks = [_Network(support, row) for row in sbn.normalise(logits, support)[0]]
    roots = np.exp([network.root for network in networks])
    # Never more than one; and before any is listed no more than the best rootings of each edge together.
    unlisted = min(1.0, _heaviest(support, average(roots, log_weights, 0)))
    threshold = float(roots.max(axis=1).min())
    while True:
        listings = [network.trees(np.log(threshold), most) for network in networks]
        children = topologies_of(support, np.unique(np.concatenate([each.tripartitions for each in listings]), axis=0))
        probabilities = np.exp(sbn.log_probability(logits, support, support.encode(children)))
        probabilities = average(probabilities, log_weights)
        at = int(np.argmax(probabilities))
        whole = all(each.whole for each in listings)
        if whole:
            unlisted = min(unlisted, _heaviest(support, average(np.minimum(threshold, roots), log_weights, 0)))
        found = float(probabilities[at])
        best = MostProbable(children[at], found, max(found, unlisted))
        if best.proven or not whole:
            return best
        threshold /= LOWERING


@dataclass(frozen=True, eq=False)
class Listing:
    """Rooted trees by their tripartitions int32 [N, n-2], sorted in each row, and log-probabilities float64 [N]: two trees of
    the same topology differ in their root. whole: whether these are all that were asked for, else the best found."""

    tripartitions: np.ndarray
    log_probabilities: np.ndarray
    whole: bool


def rooted_trees(support: SubsplitSupport, logits: np.ndarray, least: float, most: int) -> Listing:
    """Those of log-probability `least` or more of the network with logits float64 [n_params], `most` at most."""
    return _Network(support, sbn.normalise(logits[None], support)[0][0]).trees(least, most)


def every_topology(
    support: SubsplitSupport, logits: np.ndarray, most: int, log_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """All topologies that a mixture with logits float64 [A, n_params] can draw, canonical int32 [U, n-2, 2], and their
    probabilities float64 [U]; None if they have more than `most` rooted trees. log_weights: [A], None if uniform."""
    # Every network draws the same trees.
    network = _Network(support, sbn.normalise(logits[:1], support)[0][0])
    if network.count > most:
        return None
    listing = network.trees(-np.inf, most)
    children = topologies_of(support, np.unique(listing.tripartitions, axis=0))
    probabilities = np.exp(sbn.log_probability(logits, support, support.encode(children)))
    return children, average(probabilities, log_weights)


def topologies_of(support: SubsplitSupport, tripartitions: np.ndarray) -> np.ndarray:
    """Canonical children int32 [N, n-2, 2] of trees given by their tripartitions int [N, n-2]."""
    n, legs = support.n_taxa, support.legs.reshape(-1, 3).astype(np.int64)
    # Splits are sorted by size: in the order of leg 0 no node comes before its children, and the top is last.
    rows = np.take_along_axis(tripartitions, np.argsort(legs[tripartitions, 0], axis=1), axis=1)
    above, below = legs[rows, 0], legs[rows, 1:]
    # All rows are searched at once: the splits of each row are shifted past those of the row before.
    shift = np.arange(len(rows))[:, None] * support.n_splits
    place = np.searchsorted((above + shift).ravel(), (below + shift[:, :, None]).ravel()).reshape(below.shape)
    node = place - np.arange(len(rows))[:, None, None] * (n - 2) + n
    # The pendant edge of taxon k is split k - 1.
    children = np.where(support.split_size[below] == 1, below + 1, node)
    return canonicalise(children.astype(np.int32))[0]


class _Network:
    """The best completions of one network with log-probabilities float64 [n_params].

    What is still to be divided is an item: 2p + g is the clade beyond port p, its sister as group g of the port has it, and
    n_items_of_ports + c the clade c as a side of the rootsplit. Options start[i] ... start[i + 1] of item i are subsplits
    `child` with log-probabilities `log_p`; best: float64 [items], of the best option with all below it, 0 of a single taxon.
    below: float64 [3t], of everything below a subsplit. root: float64 [n_splits], of the best tree with its root there.
    count: how many rooted trees there are.
    """

    def __init__(self, support: SubsplitSupport, log_p: np.ndarray) -> None:
        self._n_taxa = support.n_taxa
        self._of_ports = 2 * support.legs.size
        item, child, parameter = _options(support)
        order = np.argsort(item, kind="stable")
        self._child, self._log_p = child[order], log_p[parameter[order]]
        count = np.bincount(item, minlength=self._of_ports + 2 * support.n_splits)
        self._start = np.concatenate([[0], np.cumsum(count)])
        self._below, self._best, self.count = self._complete(support, item[order])
        clades = self._best[self._of_ports :].reshape(-1, 2)
        self.root = log_p[: support.n_splits] + clades.sum(axis=1)

    def _complete(self, support: SubsplitSupport, item: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """The recursion over clades, the smaller first: below and best, and how many trees there are."""
        legs = np.arange(support.legs.size) % 3
        size = np.where(legs == 0, support.split_size[support.legs], support.n_taxa - support.split_size[support.legs])
        below = np.empty(size.size)
        best = np.where(np.diff(self._start) > 0, -np.inf, 0.0)
        ways, ways_below = np.where(np.diff(self._start) > 0, 0.0, 1.0), np.empty(size.size)
        by_size, options = np.argsort(size, kind="stable"), np.argsort(size[self._child], kind="stable")
        for m in np.unique(size).tolist():
            subsplits = by_size[slice(*np.searchsorted(size[by_size], (m, m + 1)))]
            below[subsplits] = best[_items_below(subsplits)].sum(axis=1)
            ways_below[subsplits] = ways[_items_below(subsplits)].prod(axis=1)
            some = options[slice(*np.searchsorted(size[self._child[options]], (m, m + 1)))]
            np.maximum.at(best, item[some], self._log_p[some] + below[self._child[some]])
            np.add.at(ways, item[some], ways_below[self._child[some]])
        return below, best, float(ways[self._of_ports :].reshape(-1, 2).prod(axis=1).sum())

    def trees(self, least: float, most: int) -> Listing:
        """All trees of log-probability `least` or more; where they are more than `most`, the best found."""
        roots = np.flatnonzero(self.root >= least - _ROUNDING)
        value, whole = self.root[roots], True
        nodes = np.empty((roots.size, self._n_taxa - 2), np.int32)
        open_items = np.full((roots.size, self._n_taxa), -1, np.int32)
        depth = np.zeros(roots.size, np.int64)
        self._push(open_items, depth, self._of_ports + 2 * roots[:, None] + np.arange(2))
        for k in range(self._n_taxa - 2):
            item = open_items[np.arange(depth.size), depth - 1]
            count = np.diff(self._start)[item]
            row = np.repeat(np.arange(item.size), count)
            option = np.arange(row.size) - np.repeat(np.cumsum(count) - count, count) + self._start[item[row]]
            reached = value[row] - self._best[item[row]] + self._log_p[option] + self._below[self._child[option]]
            kept = np.flatnonzero(reached >= least - _ROUNDING)
            if kept.size > most:
                kept, whole = kept[np.argpartition(-reached[kept], most)[:most]], False
            row, child, value = row[kept], self._child[option[kept]], reached[kept]
            nodes, open_items, depth = nodes[row], open_items[row], depth[row] - 1
            nodes[:, k] = child // 3
            self._push(open_items, depth, _items_below(child))
        return Listing(np.sort(nodes, axis=1), value, whole)

    def _push(self, open_items: np.ndarray, depth: np.ndarray, items: np.ndarray) -> None:
        """Put the items [N, 2] that are not single taxa on top of the open ones of each row."""
        for column in range(2):
            rows = np.flatnonzero(np.diff(self._start)[items[:, column]] > 0)
            open_items[rows, depth[rows]] = items[rows, column]
            depth[rows] += 1


def _items_below(subsplits: np.ndarray) -> np.ndarray:
    """The two items that subsplits int64 [N] leave to be divided; [N, 2].

    Seen from leg j the clades are those beyond legs j+1 and j+2, each the other's sister. Group 0 of a leg has the next leg as
    sister, group 1 the one after.
    """
    node, leg = subsplits - subsplits % 3, subsplits % 3
    return np.stack([2 * (node + (leg + 1) % 3), 2 * (node + (leg + 2) % 3) + 1], axis=1)


def _options(support: SubsplitSupport) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, subsplit and parameter of every way to divide a clade."""
    counts = np.diff(support.port_start)
    port = np.repeat(np.arange(counts.size), counts)
    first = support.first_entry_parameter + support.port_start[port] + np.arange(port.size)
    clade = np.repeat(np.arange(2 * support.n_splits), np.diff(support.clade_start))
    item = np.concatenate([2 * port, 2 * port + 1, 2 * support.legs.size + clade])
    child = np.concatenate([support.port_child, support.port_child, support.clade_subsplit])
    parameter = np.concatenate([first, first + counts[port], support.root_parameter[support.clade_subsplit]])
    return item, child, parameter


def _heaviest(support: SubsplitSupport, weights: np.ndarray) -> float:
    """The largest sum of weights [n_splits], one for each edge, of a topology made of the support's tripartitions."""
    legs = support.legs.reshape(-1, 3).astype(np.int64)
    below = np.where(support.split_size == 1, 0.0, -np.inf)
    order = np.argsort(support.split_size[legs[:, 0]], kind="stable")
    size = support.split_size[legs[order, 0]]
    for m in np.unique(size).tolist():
        some = order[slice(*np.searchsorted(size, (m, m + 1)))]
        reached = (weights + below)[legs[some, 1:]].sum(axis=1)
        np.maximum.at(below, legs[some, 0], reached)
    return float(weights[-1] + below[-1])

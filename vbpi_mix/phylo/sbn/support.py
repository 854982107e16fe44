"""The subsplit support of a tree sample: every rootsplit and PCSP of every rooting of its topologies.

An internal node of an unrooted topology parts the taxa into three clades, its *tripartition*. Seen from its three
sides it is three subsplits, one of each union of two of the clades. Two tripartitions that are neighbours across an
edge give four PCSPs with a subsplit as parent (two directions, two sisters), and every subsplit one more, whose
parent is the rootsplit on its edge. So the PCSPs of all 2n-3 rootings are found from the n-2 tripartitions and
n-3 neighbourhoods of the tree, without looking at any rooting (docs/data-model.md).

Numbers
    split s          an edge; `split_bits[s]` is its side without taxon 0. Sorted by size, then by taxa: split k-1 is
                     the pendant edge of taxon k, and the last split that of taxon 0.
    clade c          2s is that side of split s, 2s+1 its complement.
    tripartition t   `legs[3t + j]`, j = 0, 1, 2: the splits of its edges. Leg 0 leads towards taxon 0; legs 1 and 2
                     lead away from it, in the order of their splits.
    subsplit h       3t + j: tripartition t seen from leg j. It divides the complement of what lies beyond leg j.
    port             3t + j again, as the parent: leg j of t, leading to a clade that is divided next.
    entry e          a neighbourhood in one direction: port -> the subsplit that divides the clade beyond it. The
                     entries of a port are port_start[port] ... port_start[port + 1]; port_child[e] is the subsplit and
                     twin[e] the same neighbourhood in the other direction.

Parameters (one logit each, in this order; a *group* is consecutive parameters that are normalised together)
    group_start[g] ... group_start[g + 1] is group g; `groups` int64 [G, 2] are the bounds of those with two or more
    parameters, `alone` the parameters of the others, whose probability is always 1.
    [0, n_splits)                   rootsplits: one group
    first_clade_parameter ...       subsplits of clade c given that it is a side of the rootsplit: a group per clade
    first_entry_parameter ...       subsplits beyond a port: for each port two groups, one for each sister. The other
                                    legs of leg j are (j+1) mod 3 and (j+2) mod 3; the sister is the first in the
                                    first group, the second in the second.

Encoded topologies (T trees): children int32 [T, n-2, 2] with the children of a node in the order of its legs 1 and 2;
splits, tripartitions, entries int32 [T, 2n-2] of each node and the edge above it (entry: from the parent's port down to
the node); parameters int32 [T, 2n-2, 7], the columns of kernels/encoding.py; rows int32 [T, E, 3], the features of each
edge: its split, and the primary subsplit pairs at its lower and upper end (n_splits + subsplit). -1: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vbpi_mix.errors import SupportError
from vbpi_mix.phylo.sbn.kernels.encoding import COLUMNS, Encoding, SupportArrays, number_batch
from vbpi_mix.phylo.trees.clades import clades_by_trees, find_rows, number_clades
from vbpi_mix.sizes import check_memory


@dataclass(frozen=True, eq=False)
class EncodedTopologies:
    """A batch of T topologies in the numbers of a support (layout: head of this file)."""

    children: np.ndarray
    splits: np.ndarray
    tripartitions: np.ndarray
    entries: np.ndarray
    parameters: np.ndarray
    rows: np.ndarray

    @staticmethod
    def empty(n_trees: int, n_taxa: int) -> EncodedTopologies:
        """Arrays to be filled by a kernel."""
        nodes = 2 * n_taxa - 2
        return EncodedTopologies(
            children=np.empty((n_trees, n_taxa - 2, 2), np.int32),
            splits=np.empty((n_trees, nodes), np.int32),
            tripartitions=np.empty((n_trees, nodes), np.int32),
            entries=np.empty((n_trees, nodes), np.int32),
            parameters=np.empty((n_trees, nodes, COLUMNS), np.int32),
            rows=np.empty((n_trees, nodes - 1, 3), np.int32),
        )

    @property
    def arrays(self) -> Encoding:
        """What the kernels read and fill."""
        return Encoding(self.children, self.splits, self.tripartitions, self.entries, self.parameters, self.rows)

    def take(self, which: np.ndarray | slice) -> EncodedTopologies:
        """Some of them, by their numbers."""
        return EncodedTopologies(
            self.children[which], self.splits[which], self.tripartitions[which], self.entries[which],
            self.parameters[which], self.rows[which],
        )  # fmt: skip

    def __len__(self) -> int:
        return self.children.shape[0]


@dataclass(frozen=True, eq=False)
class SubsplitSupport:
    """Splits, tripartitions and their neighbourhoods, as flat arrays (layout: head of this file)."""

    n_taxa: int
    split_bits: np.ndarray
    split_size: np.ndarray
    legs: np.ndarray
    clade_start: np.ndarray
    clade_subsplit: np.ndarray
    root_parameter: np.ndarray
    port_start: np.ndarray
    port_child: np.ndarray
    twin: np.ndarray
    group_start: np.ndarray
    groups: np.ndarray
    alone: np.ndarray

    @cached_property
    def arrays(self) -> SupportArrays:
        """What the kernels read."""
        return SupportArrays(
            split_size=self.split_size,
            legs=self.legs,
            clade_start=self.clade_start,
            clade_subsplit=self.clade_subsplit,
            root_parameter=self.root_parameter,
            port_start=self.port_start,
            port_child=self.port_child,
            twin=self.twin,
            first_clade_parameter=self.first_clade_parameter,
            first_entry_parameter=self.first_entry_parameter,
        )

    @property
    def n_splits(self) -> int:
        """Number of splits, which is the number of rootsplits."""
        return self.split_size.shape[0]

    @property
    def n_tripartitions(self) -> int:
        """Number of tripartitions; three subsplits each."""
        return self.legs.shape[0] // 3

    @property
    def first_clade_parameter(self) -> int:
        """Parameter of the first subsplit whose parent is a rootsplit."""
        return self.n_splits

    @property
    def first_entry_parameter(self) -> int:
        """Parameter of the first PCSP whose parent is a subsplit."""
        return self.n_splits + self.legs.shape[0]

    @property
    def n_params(self) -> int:
        """Rootsplits and PCSPs: logits of one component."""
        return self.first_entry_parameter + 2 * self.port_child.shape[0]

    @property
    def n_features(self) -> int:
        """Rows of a branch feature table: splits, then primary subsplit pairs."""
        return self.n_splits + self.legs.shape[0]

    @property
    def pendant_features(self) -> np.ndarray:
        """bool [n_features]: whether the edges that have a feature are pendant."""
        smaller = np.minimum(self.split_size, self.n_taxa - self.split_size)
        return np.concatenate([smaller == 1, smaller[self.legs] == 1])

    @cached_property
    def group_of(self) -> np.ndarray:
        """int32 [n_params]: the number in `groups` of the group of each parameter, -1 for those that are alone."""
        numbers = np.full(self.n_params, -1, np.int32)
        sizes = self.groups[:, 1] - self.groups[:, 0]
        members = np.arange(sizes.sum()) + np.repeat(self.groups[:, 0] - (np.cumsum(sizes) - sizes), sizes)
        numbers[members] = np.repeat(np.arange(sizes.size, dtype=np.int32), sizes)
        return numbers

    def encode(self, children: np.ndarray) -> EncodedTopologies:
        """Topologies in the numbers of this support.

        children: int32 [T, n-2, 2], any valid numbering. What the support does not hold is -1, and gives
        log q = -inf. Raises SupportError if the number of taxa differs, or they take more than the memory.
        """
        n_trees, internal = children.shape[0], children.shape[1]
        if internal + 2 != self.n_taxa:
            raise SupportError(f"topologies of {internal + 2} taxa do not fit a support of {self.n_taxa} taxa")
        numbers = n_trees * (2 * self.n_taxa - 2) * (COLUMNS + 7)
        check_memory(numbers * np.dtype(np.int32).itemsize, f"{n_trees:,} topologies of {self.n_taxa:,} taxa", SupportError)
        encoded = EncodedTopologies.empty(n_trees, self.n_taxa)
        for array in (encoded.splits, encoded.tripartitions, encoded.entries):
            array[:] = -1
        for some, bits in clades_by_trees(children, slice(1, None)):
            encoded.splits[some, 1:] = find_rows(bits, self.split_bits).reshape(-1, 2 * self.n_taxa - 3)
        encoded.children[:] = _leg_order(children, encoded.splits)
        encoded.tripartitions[:, self.n_taxa :] = _find_tripartitions(encoded, self.legs, self.n_splits)
        _find_entries(encoded, self.port_start, self.port_child)
        self.number_parameters(encoded)
        return encoded

    def number_parameters(self, encoded: EncodedTopologies) -> None:
        """Fill the parameter and feature numbers of topologies whose other arrays are set."""
        number_batch(self.arrays, encoded.arrays)


def build_support(children: np.ndarray) -> SubsplitSupport:
    """The support of U topologies, int32 [U, n-2, 2]: independent of their order and numbering.

    Raises SupportError if there are no topologies.
    """
    if children.shape[0] == 0:
        raise SupportError("a support needs at least one topology; the tree sample is empty")
    n_taxa = children.shape[1] + 2
    found, numbers = number_clades(children, slice(1, None))
    split_bits, split_size, place = _sorted_splits(found)
    splits = np.full((children.shape[0], 2 * n_taxa - 2), -1, np.int32)
    splits[:, 1:] = place[numbers]
    ordered = _leg_order(children, splits)
    n_splits = split_size.shape[0]
    keys, tripartition = np.unique(_child_keys(ordered, splits, n_splits), return_inverse=True)
    tripartition = tripartition.reshape(children.shape[0], -1)
    legs = np.empty((keys.size, 3), np.int32)
    legs[:, 1], legs[:, 2] = keys // n_splits, keys % n_splits
    legs[tripartition.ravel(), 0] = splits[:, n_taxa:].ravel()
    port_start, port_child, twin = _entries(ordered, tripartition, n_taxa, keys.size)
    flat_legs = np.ascontiguousarray(legs.ravel())
    return SubsplitSupport(
        n_taxa=n_taxa,
        split_bits=split_bits,
        split_size=split_size,
        legs=flat_legs,
        port_start=port_start,
        port_child=port_child,
        twin=twin,
        **derived_arrays(n_splits, flat_legs, port_start),
    )


def derived_arrays(n_splits: int, legs: np.ndarray, port_start: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a support that follow from legs [3t] and port_start [3t + 1], by name."""
    clade_start, clade_subsplit, root_parameter = _clades(legs, n_splits)
    group_start = _groups(n_splits, clade_start, port_start)
    bounds = np.stack([group_start[:-1], group_start[1:]], axis=1)
    size = np.diff(group_start)
    return {
        "clade_start": clade_start,
        "clade_subsplit": clade_subsplit,
        "root_parameter": root_parameter,
        "group_start": group_start,
        "groups": np.ascontiguousarray(bounds[size > 1]),
        "alone": bounds[size == 1, 0].copy(),
    }


def _find(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Position in `known` (distinct) of each of `wanted`, or -1; int32."""
    if known.size == 0:
        return np.full(wanted.shape, -1, np.int32)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), known.size - 1)
    found = order[place]
    return np.where(known[found] == wanted, found, -1).astype(np.int32)


def _sorted_splits(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits by size, then by taxa from the highest word; with their sizes, and the new place of each, int32."""
    size = np.bitwise_count(bits).sum(axis=1).astype(np.int32)
    order = np.lexsort((*(bits[:, word] for word in range(bits.shape[1])), size))
    place = np.empty(order.size, np.int32)
    place[order] = np.arange(order.size, dtype=np.int32)
    return np.ascontiguousarray(bits[order]), size[order], place


def _splits_of_children(children: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Splits [T, n-2, 2] above the children [T, n-2, 2] of every internal node; splits [T, 2n-2] of all nodes."""
    by_node = np.take_along_axis(splits, children.reshape(children.shape[0], -1), axis=1)
    return by_node.reshape(children.shape)


def _leg_order(children: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Children with the one of the smaller split first; unknown splits (-1) stay where they are."""
    by_child = _splits_of_children(children, splits)
    swap = by_child[..., 0] > by_child[..., 1]
    return np.where(swap[..., None], children[..., ::-1], children).astype(np.int32)


def _child_keys(ordered: np.ndarray, splits: np.ndarray, n_splits: int) -> np.ndarray:
    """first split * n_splits + second split of the children of every internal node; int64 [T, n-2]."""
    by_child = _splits_of_children(ordered, splits)
    return by_child[..., 0].astype(np.int64) * n_splits + by_child[..., 1]


def _find_tripartitions(encoded: EncodedTopologies, legs: np.ndarray, n_splits: int) -> np.ndarray:
    known = legs[1::3].astype(np.int64) * n_splits + legs[2::3]
    by_child = _splits_of_children(encoded.children, encoded.splits)
    keys = _child_keys(encoded.children, encoded.splits, n_splits)
    return np.where((by_child >= 0).all(axis=2), _find(keys, known), -1)


def _neighbourhoods(ordered: np.ndarray, tripartition: np.ndarray, n_taxa: int) -> tuple[np.ndarray, ...]:
    """For every internal edge of every tree: its tree, lower node, upper port and lower subsplit."""
    tree, k, side = np.nonzero(ordered >= n_taxa)
    lower = ordered[tree, k, side]
    port = 3 * tripartition[tree, k].astype(np.int64) + 1 + side
    below = 3 * tripartition[tree, lower - n_taxa].astype(np.int64)
    return tree, lower, port, below


def _entries(ordered: np.ndarray, tripartition: np.ndarray, n_taxa: int, n: int) -> tuple[np.ndarray, ...]:
    """port_start int64 [3n+1], port_child int64 [M], twin int64 [M]: neighbourhoods in both directions."""
    _, _, port, below = _neighbourhoods(ordered, tripartition, n_taxa)
    keys = np.unique(port * (3 * n) + below)
    down, up = keys // (3 * n), keys % (3 * n)
    parent, child = np.concatenate([down, up]), np.concatenate([up, down])
    order = np.lexsort((child, parent))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    half = keys.size
    twin = np.empty(order.size, np.int64)
    twin[place[:half]], twin[place[half:]] = place[half:], place[:half]
    start = np.zeros(3 * n + 1, np.int64)
    np.cumsum(np.bincount(parent, minlength=3 * n), out=start[1:])
    return start, child[order], twin


def _find_entries(encoded: EncodedTopologies, port_start: np.ndarray, port_child: np.ndarray) -> None:
    n_taxa = encoded.children.shape[1] + 2
    ports = port_start.size - 1
    parent = np.repeat(np.arange(ports, dtype=np.int64), np.diff(port_start))
    tree, lower, port, below = _neighbourhoods(encoded.children, encoded.tripartitions[:, n_taxa:], n_taxa)
    known = (port >= 0) & (below >= 0)
    found = _find(np.where(known, port * ports + below, -1), parent * ports + port_child)
    encoded.entries[tree, lower] = found


def _clades(legs: np.ndarray, n_splits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subsplits by the clade they divide: start int64 [2 n_splits + 1], subsplit int64 [3t]; and their parameters."""
    leg = np.arange(legs.size) % 3
    # Seen from leg 0 the clade without taxon 0 is divided; seen from a leg that leads away, the complement.
    clade = 2 * legs.astype(np.int64) + (leg != 0)
    order = np.argsort(clade, kind="stable")
    start = np.zeros(2 * n_splits + 1, np.int64)
    np.cumsum(np.bincount(clade, minlength=2 * n_splits), out=start[1:])
    parameter = np.empty(legs.size, np.int64)
    parameter[order] = n_splits + np.arange(legs.size)
    return start, order.astype(np.int64), parameter


def _groups(n_splits: int, clade_start: np.ndarray, port_start: np.ndarray) -> np.ndarray:
    """Boundaries of the groups; int64."""
    clades = n_splits + clade_start[:-1][np.diff(clade_start) > 0]
    size = np.diff(port_start)
    used = size > 0
    first = n_splits + clade_start[-1] + 2 * port_start[:-1][used]
    sisters = np.stack([first, first + size[used]], axis=1).ravel()
    last = n_splits + clade_start[-1] + 2 * port_start[-1]
    return np.concatenate([[0], clades, sisters, [last]]).astype(np.int64)

"""Split frequencies: of weighted topologies, exactly of a mixture of SBNs; how far sets are apart.

Only internal edges count, n-3 in each topology: the split of a pendant edge is in every tree. A split is
named by its side without taxon 0, as bits: uint64 [W], W = ceil(n/64), bit k is taxon k. Sets of splits are
sorted by size, then by taxa from the highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import SubsplitSupport
from vbpi_mix.phylo.trees.clades import number, number_clades

MINIMUM_FREQUENCY = 0.1
# Sums of the same weights in another order differ in their last bits.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class SplitFrequencies:
    """M internal splits of trees on n taxa, with their frequencies: bits [M, W], frequencies float64 [M]."""

    n_taxa: int
    bits: np.ndarray
    frequencies: np.ndarray

    def __len__(self) -> int:
        return self.bits.shape[0]


@dataclass(frozen=True, eq=False)
class SplitTable:
    """Splits of R sets together: bits [M, W], frequencies float64 [R, M]; 0 where a set lacks one."""

    n_taxa: int
    bits: np.ndarray
    frequencies: np.ndarray

    def frequent(self, minimum: float = MINIMUM_FREQUENCY) -> np.ndarray:
        """Which splits have a frequency of `minimum` or more in at least one set; bool [M]."""
        return np.asarray((self.frequencies >= minimum - _ROUNDING).any(axis=0))

    def members(self, taxa: Sequence[str]) -> list[tuple[str, ...]]:
        """Names of the taxa on the smaller side of each split; of equal sides, the one without taxon 0."""
        numbers = np.arange(self.n_taxa)
        inside = (self.bits[:, numbers >> 6] >> (numbers & 63).astype(np.uint64)) & np.uint64(1)
        turned = 2 * inside.sum(axis=1) > self.n_taxa
        sides = inside.astype(bool) ^ turned[:, None]
        return [tuple(taxa[int(k)] for k in np.flatnonzero(side)) for side in sides]


def split_frequencies(children: np.ndarray, weights: np.ndarray) -> SplitFrequencies:
    """The share of the weight of U topologies that has each split; splits of weight zero are left out.

    children: int32 [U, n-2, 2], any valid numbering; weights: float64 [U], at least 0, with a positive sum.
    """
    n_taxa = children.shape[1] + 2
    distinct, index = number_clades(children, slice(n_taxa, -1))
    shares = weights / weights.sum()
    frequencies = np.bincount(index.ravel(), np.repeat(shares, index.shape[1]), distinct.shape[0])
    return _sorted(n_taxa, distinct, frequencies)


def sbn_split_frequencies(
    support: SubsplitSupport, logits: np.ndarray, log_weights: np.ndarray | None = None
) -> SplitFrequencies:
    """Exact split frequencies of a mixture of A SBNs with logits float64 [A, n_params]. log_weights: [A], None if uniform.

    An SBN draws rooted trees. The unrooted topology has a split exactly if one of its sides is a clade of the
    rooted tree; both are only if the root is on it. So P(split) = P(clade) + P(other side) - P(rootsplit).
    """
    log_probabilities, _ = sbn.normalise(logits, support)
    probabilities = np.exp(log_probabilities)
    order = _DescentOrder(support)
    total = np.zeros(support.n_splits)
    # Times A: of a uniform mixture 1, which changes no digit.
    scale = np.ones(len(logits)) if log_weights is None else np.exp(log_weights) * len(logits)
    for of_component, share in zip(probabilities, scale, strict=True):
        subsplits = order.subsplit_probabilities(of_component)
        clades = np.bincount(order.clade, subsplits, 2 * support.n_splits).reshape(-1, 2)
        total += share * (clades.sum(axis=1) - of_component[: support.n_splits])
    internal = (support.split_size > 1) & (support.split_size < support.n_taxa - 1)
    return _sorted(support.n_taxa, support.split_bits[internal], total[internal] / probabilities.shape[0])


def unite(*sets: SplitFrequencies) -> SplitTable:
    """Several sets of splits of the same taxa, side by side."""
    bits = np.concatenate([each.bits for each in sets])
    index, first = number(bits)
    bits = bits[first]
    frequencies = np.zeros((len(sets), bits.shape[0]))
    stops = np.cumsum([len(each) for each in sets])
    for row, each, part in zip(frequencies, sets, np.split(index, stops[:-1]), strict=True):
        row[part] = each.frequencies
    order = _order(bits)
    return SplitTable(sets[0].n_taxa, bits[order], frequencies[:, order])


def average_standard_deviation(table: SplitTable, minimum: float = MINIMUM_FREQUENCY) -> float:
    """ASDSF of R >= 2 sets: the mean over splits of the standard deviation of their frequencies.

    Splits count that have a frequency of `minimum` or more in at least one set. The standard deviation
    divides by R - 1, as MrBayes has it; of two sets it is |difference| / sqrt(2). 0 if no split counts.
    """
    counted = table.frequencies[:, table.frequent(minimum)]
    return float(counted.std(axis=0, ddof=1).mean()) if counted.shape[1] else 0.0


def largest_difference(table: SplitTable) -> tuple[float, int]:
    """The largest range of a split's frequencies over the sets, and which split it is (-1: there is none)."""
    if table.bits.shape[0] == 0:
        return 0.0, -1
    differences = np.ptp(table.frequencies, axis=0)
    at = int(np.argmax(differences))
    return float(differences[at]), at


class _DescentOrder:
    """The PCSPs of a support by the size of the clade that they divide, largest first.

    clade: int64 [3t], the clade that each subsplit divides. A step is (parents, children, parameters), all
    int64.
    """

    def __init__(self, support: SubsplitSupport) -> None:
        self._support = support
        subsplits = np.arange(support.legs.size)
        # Seen from leg 0 the side without taxon 0 is divided, else the complement.
        self.clade = 2 * support.legs.astype(np.int64) + (subsplits % 3 != 0)
        side = support.split_size[support.legs]
        size = np.where(subsplits % 3 == 0, side, support.n_taxa - side)
        parents, children, parameters = self._pcsps()
        by_size = np.argsort(-size[children], kind="stable")
        stops = np.flatnonzero(np.diff(size[children][by_size])) + 1
        steps = np.split(by_size, stops) if by_size.size else []
        self._steps = [(parents[step], children[step], parameters[step]) for step in steps]

    def _pcsps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parent and child subsplit, and parameter, of every PCSP whose parent is a subsplit."""
        support = self._support
        sizes = np.diff(support.port_start)
        ports = np.repeat(np.arange(sizes.size), sizes)
        offset = np.arange(ports.size) - support.port_start[ports]
        first = support.first_entry_parameter + 2 * support.port_start[ports] + offset
        node, leg = ports - ports % 3, ports % 3
        # In the first group of a port leg + 1 is the sister, the parent seen from leg + 2; then the reverse.
        parents = np.concatenate([node + (leg + 2) % 3, node + (leg + 1) % 3])
        return parents, np.tile(support.port_child, 2), np.concatenate([first, first + sizes[ports]])

    def subsplit_probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """How probable each subsplit is in a rooted tree of one SBN; float64 [3t] from float64 [n_params]."""
        support = self._support
        mass = probabilities[support.legs] * probabilities[support.root_parameter]
        for parents, children, parameters in self._steps:
            np.add.at(mass, children, mass[parents] * probabilities[parameters])
        return mass


def _sorted(n_taxa: int, bits: np.ndarray, frequencies: np.ndarray) -> SplitFrequencies:
    present = frequencies > 0
    bits, frequencies = bits[present], np.minimum(frequencies[present], 1.0)
    order = _order(bits)
    return SplitFrequencies(n_taxa, bits[order], frequencies[order])


def _order(bits: np.ndarray) -> np.ndarray:
    size = np.bitwise_count(bits).sum(axis=1)
    return np.lexsort((*(bits[:, word] for word in range(bits.shape[1])), size))

"""The prior of topologies: uniform over those that have given splits.

Splits that do not contradict each other are those of one tree, the *constraint tree*, whose nodes may have any degree. A
topology has them all exactly if it resolves that tree, and a node of degree d is resolved in (2d-5)!! ways, independently
of the others: so allowed topologies are counted and drawn node by node. Without splits the constraint tree is a star, and
every topology is allowed; with n-3 of them it is resolved, and the topology is fixed.

Subsplits of allowed topologies make allowed topologies only, so a support built from them needs no constraint of its own.
Let C | C' be a split that all have. Rooted anywhere, each has C or C' as a clade, so each side of a rootsplit or the other
holds one of them, say C; and a subsplit of a clade X that strictly contains C comes from a topology that has X and C as
clades, so one of its two parts contains C. Descending from the root, C is reached.

Shapes: T trees, n taxa, W = ceil(n / 64).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.clades import clades_by_trees
from vbpi_mix.phylo.trees.newick import newick_words
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, random_topologies


@dataclass(frozen=True)
class TopologyPrior:
    """Uniform over the unrooted binary topologies of n taxa that have all `splits`.

    splits: each by its side without taxon 0, of 2 to n-2 taxa; distinct, and none in conflict with another, which
    constraints.py sees to; smaller ones first.
    """

    n_taxa: int
    splits: tuple[frozenset[int], ...] = ()

    @classmethod
    def of(cls, n_taxa: int, groups: list[frozenset[int]]) -> TopologyPrior:
        """From groups of taxa, given by either side of their splits, in any order and perhaps more than once."""
        everything = frozenset(range(n_taxa))
        sides = {everything - group if 0 in group else group for group in groups}
        return cls(n_taxa, tuple(sorted(sides, key=lambda side: (len(side), sorted(side)))))

    @property
    def free(self) -> bool:
        """Whether every topology is allowed."""
        return not self.splits

    @property
    def fixed(self) -> bool:
        """Whether the splits leave a single topology."""
        return not self.free and len(self.splits) == self.n_taxa - 3

    @property
    def log_probability(self) -> float:
        """log p(tau) of each allowed topology: minus the log of their number."""
        # Of a free prior, the terms in the order in which they have always been summed.
        return -sum(sum(math.log(k) for k in range(3, 2 * len(below) - 2, 2)) for below in self._nodes)

    @property
    def count(self) -> int:
        """How many topologies are allowed."""
        return math.prod(k for below in self._nodes for k in range(3, 2 * len(below) - 2, 2))

    def carriers(self, children: np.ndarray) -> np.ndarray:
        """The nodes above which there is an edge that has one of the splits: bool [T, 2n-2].

        children: int32 [T, n-2, 2], canonical.
        """
        found = np.zeros((children.shape[0], 2 * self.n_taxa - 2), dtype=bool)
        for some, clades in clades_by_trees(children, slice(None)) if self.splits else ():
            for bits in self._bits:
                found[some] |= (clades == bits).all(axis=1).reshape(-1, found.shape[1])
        return found

    def allows(self, children: np.ndarray) -> np.ndarray:
        """Which topologies have all splits: bool [T]; children int32 [T, n-2, 2], canonical."""
        return np.asarray(self.carriers(children).sum(axis=1) == len(self.splits))

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent topologies from this prior, canonical int32 [count, n-2, 2]."""
        if self.free:
            return random_topologies(self.n_taxa, count, rng)
        children = np.empty((count, self.n_taxa - 2, 2), dtype=np.int32)
        filled = 0
        top: dict[int, int] = {}
        for k, below in enumerate(self._nodes):
            # A node and what hangs from it, resolved as a tree of so many taxa, the one above it being the first.
            resolved = random_topologies(len(below) + 1, count, rng)
            size = resolved.shape[1]
            hanging = [each if isinstance(each, int) else top[each[0]] for each in below]
            number = np.array([-1, *hanging, *range(self.n_taxa + filled, self.n_taxa + filled + size)], np.int32)
            children[:, filled : filled + size] = number[resolved]
            filled += size
            top[k] = self.n_taxa + filled - 1
        return canonicalise(children)[0]

    def restrict(self, sample: TreeSample) -> tuple[TreeSample, int]:
        """The trees of a sample that are allowed, and how many are not. Raises TreeError if none is."""
        kept = self.allows(sample.children)
        if kept.all():
            return sample, 0
        dropped = int((~kept[sample.tree_topology]).sum())
        if not sample.weights[kept].sum() > 0:
            raise TreeError(
                f"none of the {sample.tree_topology.size:,} trees of the sample has the groups of taxa asked for: give others"
                " or have a sample made"
            )
        return sample.only(kept), dropped

    def newick(self, names: tuple[str, ...]) -> str:
        """The constraint tree, unrooted; names: of the taxa."""
        words = newick_words(names)
        text: list[str] = []
        for below in self._nodes:
            parts = [words[names[each]] if isinstance(each, int) else text[each[0]] for each in below]
            text.append(f"({','.join(parts)})")
        return f"({words[names[0]]},{text[-1][1:]};"

    def mrbayes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """MrBayes's commands, without brlenspr; names: of the taxa, as MrBayes knows them."""
        if self.free:
            return ("prset topologypr=uniform;",)
        groups = [f"constraint group{k} = {' '.join(names[i] for i in sorted(side))};" for k, side in enumerate(self.splits)]
        named = ",".join(f"group{k}" for k in range(len(self.splits)))
        return (*groups, f"prset topologypr=constraints({named});")

    @cached_property
    def _bits(self) -> np.ndarray:
        """The splits as bit sets, uint64 [G, W]."""
        bits = np.zeros((len(self.splits), -(-self.n_taxa // 64)), dtype=np.uint64)
        for row, side in zip(bits, self.splits, strict=True):
            for taxon in side:
                row[taxon >> 6] |= np.uint64(1) << np.uint64(taxon & 63)
        return bits

    @cached_property
    def _nodes(self) -> tuple[tuple[int | tuple[int], ...], ...]:
        """The nodes of the constraint tree, children before parents, the neighbour of taxon 0 last; of each what hangs from
        it, which is one less than its degree: taxa as numbers, nodes as (number,)."""
        found: list[tuple[int | tuple[int], ...]] = []
        tops: dict[int, frozenset[int]] = {}
        for side in (*self.splits, frozenset(range(1, self.n_taxa))):
            inside = [k for k, other in tops.items() if other < side]
            loose = side.difference(*(tops.pop(k) for k in inside))
            tops[len(found)] = side
            found.append((*sorted(loose), *((k,) for k in inside)))
        return tuple(found)

"""The majority-rule consensus tree of given splits, their frequencies and mean branch lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbpi_mix.phylo.report import libraries
from vbpi_mix.phylo.trees.newick import newick_word, newick_words

MAJORITY = 0.5


@dataclass(frozen=True)
class ConsensusClade:
    """A clade of a consensus tree: one taxon, or the clades in it. Name of the taxon, else empty; frequency: the share of
    trees that have its split; length: the mean, over those trees, of the branch above it."""

    name: str
    frequency: float
    length: float
    clades: tuple[ConsensusClade, ...] = ()

    def names(self) -> list[str]:
        """Of the taxa in it."""
        return [name for clade in self.clades for name in clade.names()] if self.clades else [self.name]

    def newick(self, word: Callable[[str], str] = newick_word) -> str:
        """With the frequency as label of an inner node; word: of a taxon's name."""
        if not self.clades:
            return f"{word(self.name)}:{self.length:.8g}"
        inner = ",".join(clade.newick(word) for clade in self.clades)
        return f"({inner}){self.frequency:.4g}:{self.length:.8g}"


@dataclass(frozen=True)
class Consensus:
    """An unrooted majority-rule consensus tree, as the clades around a node; the first is the first taxon."""

    clades: tuple[ConsensusClade, ...]

    def newick(self) -> str:
        """One line, ending in a semicolon: frequencies of splits as node labels, mean branch lengths."""
        words = newick_words([name for clade in self.clades for name in clade.names()])
        return f"({','.join(clade.newick(words.__getitem__) for clade in self.clades)});"

    def __str__(self) -> str:
        return self.newick()

    def to_dendropy(self) -> Any:
        """A `dendropy.Tree`, rooted if it is bifurcating at the top: frequencies are labels of nodes and `prob` annotations."""
        return libraries.to_dendropy(self)

    def to_biopython(self) -> Any:
        """A `Bio.Phylo` tree with frequencies as confidences. ConfigError if biopython is not installed."""
        return libraries.to_biopython(self)

    def to_ete3(self) -> Any:
        """An `ete3.Tree` with frequencies as support. ConfigError if ete3 is not installed."""
        return libraries.to_ete3(self)


def majority_rule(bits: np.ndarray, frequencies: np.ndarray, lengths: np.ndarray, taxa: tuple[str, ...]) -> Consensus:
    """The tree of the splits in more than half of the trees.

    bits: uint64 [M, W], the side of each split without taxon 0, sorted by size, pendant edges (frequency 1) among
    them, as `SubsplitSupport.split_bits` has them. frequencies, lengths: float64 [M].
    """
    kept = [s for s in range(frequencies.size) if frequencies[s] > MAJORITY]
    members = {s: _members(bits[s]) for s in kept}
    below: dict[int, list[int]] = {s: [] for s in kept}
    # Splits are sorted by size, so the first larger clade that holds a clade is its parent; the last is everything
    # but taxon 0.
    for i, s in enumerate(kept[:-1]):
        parent = next(larger for larger in kept[i + 1 :] if members[s] < members[larger])
        below[parent].append(s)

    def clade(split: int) -> ConsensusClade:
        name = taxa[min(members[split])] if len(members[split]) == 1 else ""
        inner = tuple(clade(s) for s in below[split])
        return ConsensusClade(name, float(frequencies[split]), float(lengths[split]), inner)

    top = kept[-1]
    first = ConsensusClade(taxa[0], 1.0, float(lengths[top]))
    return Consensus((first, *(clade(s) for s in below[top])))


def _members(bits: np.ndarray) -> frozenset[int]:
    return frozenset(
        64 * word + bit for word, value in enumerate(bits) for bit in range(64) if int(value) >> bit & 1
    )

"""The majority-rule consensus tree of given splits, their frequencies and mean branch lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.trees.newick import newick_word

MAJORITY = 0.5


def majority_rule_newick(
    bits: np.ndarray, frequencies: np.ndarray, lengths: np.ndarray, taxa: tuple[str, ...]
) -> str:
    """Newick of the splits in more than half of the trees, frequencies as node labels.

    bits: uint64 [M, W], the side of each split without taxon 0, sorted by size, pendant edges (frequency 1) among
    them, as `SubsplitSupport.split_bits` has them. frequencies, lengths: float64 [M].
    """
    kept = [s for s in range(frequencies.size) if frequencies[s] > MAJORITY]
    tree = _Tree({s: _members(bits[s]) for s in kept}, {s: [] for s in kept}, frequencies, lengths, taxa)
    # Splits are sorted by size, so the first larger clade that holds a clade is its parent; the last is everything
    # but taxon 0.
    for i, s in enumerate(kept[:-1]):
        parent = next(larger for larger in kept[i + 1 :] if tree.members[s] < tree.members[larger])
        tree.below[parent].append(s)
    top = kept[-1]
    inner = ",".join(tree.clade(s) for s in tree.below[top])
    return f"({newick_word(taxa[0])}:{lengths[top]:.8g},{inner});\n"


@dataclass(frozen=True, eq=False)
class _Tree:
    """The taxa of each split that is kept, and the splits just below it."""

    members: dict[int, frozenset[int]]
    below: dict[int, list[int]]
    frequencies: np.ndarray
    lengths: np.ndarray
    taxa: tuple[str, ...]

    def clade(self, split: int) -> str:
        """Newick of what is below an edge, and its length."""
        if len(self.members[split]) == 1:
            return f"{newick_word(self.taxa[min(self.members[split])])}:{self.lengths[split]:.8g}"
        inner = ",".join(self.clade(s) for s in self.below[split])
        return f"({inner}){self.frequencies[split]:.4g}:{self.lengths[split]:.8g}"


def _members(bits: np.ndarray) -> frozenset[int]:
    return frozenset(
        64 * word + bit for word, value in enumerate(bits) for bit in range(64) if int(value) >> bit & 1
    )

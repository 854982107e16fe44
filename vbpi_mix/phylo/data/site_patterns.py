"""Site patterns: the distinct columns of an alignment and how often each occurs.

The likelihood of an alignment is a product over sites, so equal columns are computed once. Columns are
compared as sets of nucleotides: a gap, `?` and `N` are the same state. A column in which every taxon is
missing is kept; its likelihood is 1 for every tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.data.alignment import Alignment


@dataclass(frozen=True, eq=False)
class SitePatterns:
    """P distinct columns of an alignment of n taxa.

    states: uint8 [n, P], C-contiguous, sets of nucleotides as bits A=1, C=2, G=4, T=8, missing 15.
    weights: float64 [P], the number of sites with this pattern.
    """

    states: np.ndarray
    weights: np.ndarray


def compress(alignment: Alignment) -> SitePatterns:
    """Merge equal columns.

    The patterns are sorted by the states of taxon 0, then of taxon 1, and so on, so the result does not
    depend on the order of the sites.
    """
    states, counts = np.unique(alignment.states, axis=1, return_counts=True)
    return SitePatterns(np.ascontiguousarray(states, dtype=np.uint8), counts.astype(np.float64))

"""Site patterns: the distinct columns of an alignment and how often each occurs.

The likelihood of an alignment is a product over sites, so equal columns are computed once. Columns are compared as sets of
states: for nucleotides a gap, `?` and `N` are the same state. A column in which every taxon is missing is kept; its
likelihood is 1 for every tree. Excluded sites are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import DNA, Alphabet


@dataclass(frozen=True, eq=False)
class SitePatterns:
    """P distinct columns of an alignment of n taxa.

    states: [n, P] of the alphabet's dtype (uint8 for nucleotides), C-contiguous, state sets as bits: for nucleotides A=1,
    C=2, G=4, T=8, missing 15.
    weights: float64 [P], the number of sites with this pattern.
    alphabet: of all columns.
    """

    states: np.ndarray
    weights: np.ndarray
    alphabet: Alphabet = DNA


def compress(alignment: Alignment, sites: np.ndarray | None = None) -> SitePatterns:
    """Merge equal columns of these sites (int, counted from 0; default all), the excluded ones left out.

    The patterns are sorted by the states of taxon 0, then of taxon 1, and so on, so the result does not depend on the order
    of the sites. Raises AlignmentError if no site is left, or if those left are of several alphabets.
    """
    chosen = alignment.included if sites is None else np.setdiff1d(sites, alignment.excluded)
    if not chosen.size:
        raise AlignmentError("no site is left: every one is excluded; leave some in")
    which = np.unique(alignment.alphabet_of[chosen])
    if which.size > 1:
        names = " and ".join(alignment.alphabets[k].name for k in which)
        raise AlignmentError(f"the alignment mixes {names} characters, and one model fits one kind; make each a part")
    alphabet = alignment.alphabets[which[0]]
    states, counts = np.unique(alignment.states[:, chosen], axis=1, return_counts=True)
    return SitePatterns(np.ascontiguousarray(states, dtype=alphabet.dtype), counts.astype(np.float64), alphabet)

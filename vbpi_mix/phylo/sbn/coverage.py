"""Which topologies a support holds, and what share of a sample they are."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport


def in_support(encoded: EncodedTopologies) -> np.ndarray:
    """Which encoded topologies have every rootsplit and PCSP of every rooting in the support; bool [T].

    An SBN gives some probability to a few more: a topology of which two neighbouring subsplits were never
    seen together can still be drawn, rooted on the edge between them.
    """
    n_taxa = encoded.children.shape[1] + 2
    # Those of all rootings are known if the tripartitions and their neighbourhoods are; the top has no upper.
    nodes = (encoded.tripartitions[:, n_taxa:] >= 0).all(axis=1)
    return np.asarray(nodes & (encoded.entries[:, n_taxa:-1] >= 0).all(axis=1))


def coverage(support: SubsplitSupport, children: np.ndarray, weights: np.ndarray) -> float:
    """The share of the weight of topologies int32 [U, n-2, 2] that the support holds; weights float64 [U].

    Raises SupportError if the number of taxa differs.
    """
    return float(weights[in_support(support.encode(children))].sum() / weights.sum())

"""An answer of three draws that are written down, small enough to work out by hand.

Shares 1/2, 1/4, 1/4; {b, c} is in the first two, {c, d} in the third, so each number of a file is a sum of three terms.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.report.answer import weighted_answer
from vbpi_mix.phylo.report.export_draws import ExportDraws, Trace
from vbpi_mix.phylo.report.export_files import Exported
from vbpi_mix.phylo.report.weighted import WeightedTrees, Weighting
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.newick import parse_newick
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies

TAXA = ("a", "b", "c", "d")
DRAWS = (
    "(a:0.5,d:0.4,(b:0.1,c:0.2):0.3);",
    "(a:0.1,d:0.2,(b:0.3,c:0.4):0.5);",
    "(a:0.2,b:0.1,(c:0.3,d:0.6):0.4);",
)
SHARES = np.array([0.5, 0.25, 0.25])
TRACE = Trace(("LnL", "LnPr", "TL"), np.array([[-10.5, 2.25, 1.5], [-11.5, 3.0, 1.6], [-12.25, 1.0, 1.5]]))


def read_canonical(texts, taxa=TAXA):
    """Children int32 [N, n-2, 2], canonical, and lengths [N, E] of trees in Newick form."""
    children, lengths = [], []
    for text in texts:
        given, of_edges = parse_newick(text, taxa)
        canonical, relabel = canonicalise(given[None])
        placed = np.empty(of_edges.size)
        placed[relabel[0, 1:] - 1] = of_edges
        children.append(canonical[0])
        lengths.append(placed)
    return np.stack(children), np.stack(lengths)


def exported(rooting=None):
    """All that is exported of them; the sample has the first, the third and the second."""
    children, lengths = read_canonical(DRAWS)
    distinct, topology = unique_topologies(children)
    support = build_support(distinct)
    splits = support.encode(distinct).splits[:, 1:]
    trees = WeightedTrees(
        distinct, np.log([0.6, 0.4]), splits, topology, np.zeros(3, int), lengths, np.log(SHARES), support.split_bits
    )
    answer = weighted_answer(trees, Weighting(SHARES, np.zeros(3, int), 0.0, 0.0))
    draws = ExportDraws("weighted", distinct, splits, topology, lengths, SHARES)
    return Exported(TAXA, answer, draws, draws.take(np.array([0, 2, 1])), TRACE, None, rooting)

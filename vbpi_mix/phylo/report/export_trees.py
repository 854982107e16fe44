"""Trees as text with what is known of their edges: NEXUS and Newick, for FigTree and its kin.

Annotations are those of MrBayes's .con.tre: `[&prob=..]` after a node, of the edge above it, and `[&length_mean=..]` after
that edge's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.consensus import MAJORITY, Consensus
from vbpi_mix.phylo.report.export_draws import ExportDraws
from vbpi_mix.phylo.report.hpd import Spread, spread
from vbpi_mix.phylo.report.rooting import Edge, Rooting, edges_of, root, tree_of
from vbpi_mix.phylo.trees.newick import newick_words, to_newick
from vbpi_mix.phylo.trees.nexus import nexus_words

DIGITS = 8
# FigTree shows what it is told to show; other programs pass over the block.
_FIGTREE = """begin figtree;
   set nodeLabels.isShown=true;
   set nodeLabels.displayAttribute="prob";
   set nodeLabels.significantDigits=3;
end;
"""


@dataclass(frozen=True)
class EdgeFacts:
    """Of a split: its probability with its Monte Carlo error, and its branch lengths over the trees that have it."""

    probability: float
    error: float
    lengths: Spread


Facts = Mapping[frozenset[str], EdgeFacts]
Mark = Callable[[Edge], str]


def consensus_facts(answer: Answer, draws: ExportDraws, taxa: Sequence[str]) -> Facts:
    """Of the edges of the consensus, by the taxa on the side without the first one."""
    rows = np.flatnonzero(answer.splits.frequencies > MAJORITY)
    return _facts(answer, draws, taxa, rows)


def best_tree(answer: Answer, draws: ExportDraws, taxa: Sequence[str]) -> tuple[Consensus, Facts]:
    """The most probable of the topologies met, with mean branch lengths of the draws that have it; and what is known of its
    edges, whose lengths are those of the same draws."""
    wanted = answer.children[0]
    (number,) = np.flatnonzero((draws.children == wanted).all(axis=(1, 2)))
    rows = np.flatnonzero(draws.topology == number)
    own = ExportDraws(
        draws.source, draws.children[[number]], draws.splits[[number]], np.zeros(rows.size, dtype=int),
        draws.lengths[rows], draws.shares[rows],
    )  # fmt: skip
    splits = own.splits[0]
    facts = _facts(answer, own, taxa, splits)
    means = own.shares @ own.lengths / own.shares.sum()
    return tree_of(wanted, means, taxa, answer.splits.frequencies[splits]), facts


def _facts(answer: Answer, draws: ExportDraws, taxa: Sequence[str], rows: np.ndarray) -> Facts:
    found = {}
    for k in rows.tolist():
        side = frozenset(name for t, name in enumerate(taxa) if int(answer.split_bits[k, t // 64]) >> (t % 64) & 1)
        lengths = spread(*draws.lengths_of(k))
        found[side] = EdgeFacts(float(answer.splits.frequencies[k]), float(answer.splits.frequency_errors[k]), lengths)
    return found


def tree_text(tree: Consensus, word: Callable[[str], str], mark: Mark) -> str:
    """Newick of any tree. word: of a taxon's name. mark: what follows a node, its edge's length among it."""
    edges = edges_of(tree)
    parts: list[list[str]] = [[] for _ in edges]
    top: list[str] = []
    for k in reversed(range(len(edges))):
        clade = edges[k].clade
        inner = f"({','.join(reversed(parts[k]))})" if clade.clades else word(clade.name)
        (top if edges[k].above < 0 else parts[edges[k].above]).append(inner + mark(edges[k]))
        parts[k] = []
    return f"({','.join(reversed(top))});"


def plain_mark(edge: Edge) -> str:
    """The length alone."""
    return f":{_number(edge.clade.length)}"


def label_mark(edge: Edge) -> str:
    """The frequency as label of an inner node, and the length."""
    label = f"{edge.clade.frequency:.4g}" if edge.clade.clades else ""
    return f"{label}:{_number(edge.clade.length)}"


def annotation_mark(facts: Facts, taxa: Sequence[str]) -> Mark:
    """Probability and branch length with their uncertainty."""

    def mark(edge: Edge) -> str:
        known = facts[_side(edge, taxa)]
        of_node = f"[&prob={known.probability:.6g},prob_error={_error(known.error)}]"
        mean, spread_of = known.lengths.mean, known.lengths
        # Of an edge with the root on it there is a part on either side.
        part = edge.clade.length / mean if mean > 0 else 1.0
        numbers = [_number(part * x) for x in (mean, spread_of.median, spread_of.hpd_lower, spread_of.hpd_upper)]
        of_edge = f"[&length_mean={numbers[0]},length_median={numbers[1]},length_95%HPD={{{numbers[2]},{numbers[3]}}}]"
        return f"{of_node}:{_number(edge.clade.length)}{of_edge}"

    return mark


def _side(edge: Edge, taxa: Sequence[str]) -> frozenset[str]:
    return edge.members if taxa[0] not in edge.members else frozenset(taxa) - edge.members


def sampled_trees(draws: ExportDraws, names: Sequence[str], rooting: Rooting | None) -> Iterable[str]:
    """Newick of each draw, with lengths; names: of the taxa, as the file has them; rooting: by these names."""
    rounded = _rounded(draws.lengths)
    words = newick_words(names)
    for k, number in enumerate(draws.topology.tolist()):
        children, lengths = draws.children[number], rounded[k]
        if rooting is None:
            yield to_newick(children, names, lengths)
        else:
            yield tree_text(root(tree_of(children, lengths, names), rooting).tree, words.__getitem__, plain_mark)


def nexus_tree(taxa: Sequence[str], tree: str, comment: str) -> str:
    """A NEXUS file of one annotated tree; FigTree is told to show probabilities."""
    return nexus_trees(taxa, [tree], comment, taxa_block=True) + _FIGTREE


def nexus_trees(taxa: Sequence[str], trees: Iterable[str], comment: str, taxa_block: bool = False) -> str:
    """A NEXUS file of trees, each `NAME = [&U] NEWICK` with numbers of taxa, after a comment and a table of names."""
    words = nexus_words(taxa)
    lines = ["#NEXUS", f"[{comment.translate({91: '(', 93: ')'})}]"]
    if taxa_block:
        labels = [f"      {words[name]}" for name in taxa]
        lines += ["begin taxa;", f"   dimensions ntax={len(taxa)};", "   taxlabels", *labels, "   ;", "end;"]
    table = ",\n".join(f"      {k} {words[name]}" for k, name in enumerate(taxa, start=1))
    lines += ["begin trees;", "   translate", f"{table};"]
    return "\n".join([*lines, *(f"   tree {tree}" for tree in trees), "end;", ""])


def _rounded(lengths: np.ndarray) -> np.ndarray:
    """To DIGITS significant digits, so that they are written in few characters."""
    digits = np.floor(np.log10(np.maximum(lengths, 1e-200)))
    scale = 10.0 ** (DIGITS - 1 - digits)
    return np.asarray(np.round(lengths * scale) / scale)


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"


def _error(value: float) -> str:
    """Rounding errors are 0."""
    return f"{value:.3g}" if value > 1e-12 else "0"

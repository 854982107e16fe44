"""The family of files that `vbpi-mix export` writes, as texts; what each holds: docs/files.md.

Formats differ in the sample of trees, the trace and the two single trees. `.trprobs`, `.splits.csv` and `.parameters.csv` are
the same in all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.consensus import Consensus
from vbpi_mix.phylo.report.export_draws import ExportDraws, Trace
from vbpi_mix.phylo.report.export_nexml import nexml, tokens
from vbpi_mix.phylo.report.export_trees import (
    Facts,
    annotation_mark,
    best_tree,
    consensus_facts,
    label_mark,
    nexus_tree,
    nexus_trees,
    sampled_trees,
    tree_text,
)
from vbpi_mix.phylo.report.hpd import spread
from vbpi_mix.phylo.report.parameters import reported_values
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root
from vbpi_mix.phylo.trees.newick import newick_words

COMMON = (".trprobs", ".splits.csv", ".parameters.csv")
# Format: endings of the sample, the trace, the consensus and the most probable tree.
ENDINGS = {
    "mrbayes": (".t", ".p", ".con.tre", ".map.tre"),
    "beast": (".trees", ".log", ".con.tre", ".map.tre"),
    "newick": (".nwk", ".p", ".con.nwk", ".map.nwk"),
    "nexml": (".xml", ".p", ".con.xml", ".map.xml"),
}


def endings(form: str) -> tuple[str, ...]:
    """Of all files of a format. ConfigError for one that is not known."""
    if form not in ENDINGS:
        raise ConfigError(f"format {form!r} is not known: choose one of {', '.join(ENDINGS)}")
    return (*ENDINGS[form], *COMMON)


@dataclass(frozen=True, eq=False)
class Exported:
    """What is exported. answer: as given, with all its draws; sample: of them, equally weighted, with their trace in step."""

    taxa: tuple[str, ...]
    answer: Answer
    draws: ExportDraws
    sample: ExportDraws
    trace: Trace
    characters: CharacterModel | None = None
    rooting: Rooting | None = None

    def texts(self, form: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """Text of each file by its ending; and remarks on where roots are."""
        consensus, best = self._trees()
        made = _FORMATS[form](self, consensus, best)
        texts = dict(zip(ENDINGS[form], made, strict=True))
        texts |= dict(zip(COMMON, self._tables(), strict=True))
        remarks = [
            f"{what}: {tree.rooted.remark}" for what, tree in (("consensus", consensus), ("most probable tree", best))
            if tree.rooted.remark
        ]  # fmt: skip
        return texts, tuple(remarks)

    def _trees(self) -> tuple[KnownTree, KnownTree]:
        consensus = self.answer.consensus(self.taxa)
        of_consensus = consensus_facts(self.answer, self.draws, self.taxa)
        best, of_best = best_tree(self.answer, self.draws, self.taxa)
        return self._known(consensus, of_consensus), self._known(best, of_best)

    def _known(self, tree: Consensus, facts: Facts) -> KnownTree:
        rooted = Rooted(tree) if self.rooting is None else root(tree, self.rooting)
        return KnownTree(rooted, facts, "[&U]" if self.rooting is None else "[&R]")

    def _tables(self) -> tuple[str, str, str]:
        answer, taxa = self.answer, self.taxa
        return answer.trprobs(taxa), answer.splits_csv(taxa), _parameters_csv(self)

    @property
    def source(self) -> str:
        """Where the draws come from, a sentence for comments in files."""
        number = f"{len(self.sample):,} of {len(self.draws):,} draws"
        if self.answer.source == "weighted":
            return f"{number} from a mixture fitted by vbpi-mix, resampled by their importance weights"
        return f"{number} from a mixture fitted by vbpi-mix, not weighted, as the weights cannot be relied on"


@dataclass(frozen=True)
class KnownTree:
    """A tree with what is known of its edges. mark: [&U] or [&R]."""

    rooted: Rooted
    facts: Facts
    mark: str


def _comments(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, str]:
    """Of the two single trees."""
    answer = exported.answer
    how = "weighted" if answer.source == "weighted" else "not weighted, as the weights cannot be relied on"
    of = f"{answer.draws:,} draws from a mixture fitted by vbpi-mix, {how}"
    p, error = answer.topologies.probabilities[0], answer.topologies.errors[0]
    one = f"Majority-rule consensus of {of}; mean branch lengths"
    two = f"The most probable topology of {of}: probability {p:.6g}, error {error:.2g}; mean branch lengths given it"
    remarks = [f". {tree.rooted.remark}" if tree.rooted.remark else "" for tree in (consensus, best)]
    return one + remarks[0], two + remarks[1]


def _annotated(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, str]:
    """NEXUS of the two single trees."""
    taxa = exported.taxa
    number = {name: str(k) for k, name in enumerate(taxa, start=1)}
    comments = _comments(exported, consensus, best)
    texts = []
    for name, tree, comment in (("consensus", consensus, comments[0]), ("most_probable", best, comments[1])):
        newick = tree_text(tree.rooted.tree, number.__getitem__, annotation_mark(tree.facts, taxa))
        texts.append(nexus_tree(taxa, f"{name} = {tree.mark} {newick}", comment))
    return texts[0], texts[1]


def _mrbayes(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, ...]:
    numbers = [str(k + 1) for k in range(len(exported.taxa))]
    # MrBayes's own samples are unrooted, and sumt takes rooted ones for trees with a clock.
    trees = (f"gen.{k} = [&U] {text}" for k, text in enumerate(sampled_trees(exported.sample, numbers, None)))
    sample = nexus_trees(exported.taxa, trees, exported.source)
    trace = exported.trace
    table = _table(("Gen", *trace.names), trace.values, f"[ID: {exported.source}]")
    return sample, table, *_annotated(exported, consensus, best)


def _beast(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, ...]:
    """BEAST's trees have a root: at the first taxon if nothing was asked."""
    numbers = [str(k + 1) for k in range(len(exported.taxa))]
    number = dict(zip(exported.taxa, numbers, strict=True))
    asked = Rooting((exported.taxa[0],)) if exported.rooting is None else exported.rooting
    rooting = Rooting(tuple(number[name] for name in asked.outgroup))
    trace = exported.trace
    joint = trace.column("LnL") + trace.column("LnPr")
    texts = sampled_trees(exported.sample, numbers, rooting)
    trees = (f"STATE_{k} = [&R] {text}" for k, text in enumerate(texts))
    sample = nexus_trees(exported.taxa, trees, exported.source, taxa_block=True)
    names = ("state", "posterior", "likelihood", "prior", "treeLength", *trace.names[3:])
    # BEAST writes two lines before the head, and RWTY passes over two.
    head = f"# {exported.source}\n# equally weighted draws, none of them burn-in"
    table = _table(names, np.column_stack([joint, trace.values]), head)
    return sample, table, *_annotated(exported, consensus, best)


def _newick(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, ...]:
    sample = "".join(f"{text}\n" for text in sampled_trees(exported.sample, exported.taxa, exported.rooting))
    trace = exported.trace
    table = _table(("Gen", *trace.names), trace.values, f"[ID: {exported.source}]")
    words = newick_words(exported.taxa)
    singles = [tree_text(tree.rooted.tree, words.__getitem__, label_mark) + "\n" for tree in (consensus, best)]
    return sample, table, *singles


def _nexml(exported: Exported, consensus: KnownTree, best: KnownTree) -> tuple[str, ...]:
    taxa, trace, rooting = exported.taxa, exported.trace, exported.rooting
    words = tokens(len(taxa))
    word = dict(zip(taxa, words, strict=True))
    renamed = None if rooting is None else Rooting(tuple(word[name] for name in rooting.outgroup))
    sample = nexml(list(sampled_trees(exported.sample, words, renamed)), taxa, rooting is not None, exported.source)
    table = _table(("Gen", *trace.names), trace.values, f"[ID: {exported.source}]")
    singles = []
    for tree, comment in zip((consensus, best), _comments(exported, consensus, best), strict=True):
        text = tree_text(tree.rooted.tree, word.__getitem__, annotation_mark(tree.facts, taxa))
        singles.append(nexml([text], taxa, rooting is not None, comment))
    return sample, table, *singles


_FORMATS: Mapping[str, Callable[[Exported, KnownTree, KnownTree], tuple[str, ...]]] = {
    "mrbayes": _mrbayes, "beast": _beast, "newick": _newick, "nexml": _nexml,
}  # fmt: skip


def _table(names: Sequence[str], values: np.ndarray, comment: str) -> str:
    """Tab-separated, after lines of comment and one of names; the first column counts."""
    rows = [f"{k}\t" + "\t".join(f"{value:.10g}" for value in row) for k, row in enumerate(values.tolist())]
    return "\n".join([comment, "\t".join(names), *rows, ""])


def _parameters_csv(exported: Exported) -> str:
    """Of all draws: mean with its Monte Carlo error, standard deviation, median, and 95% intervals."""
    draws, answer = exported.draws, exported.answer
    _, values = reported_values(draws.lengths, draws.theta, exported.characters)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["name", "partition", "mean", "error", "sd", "median", "lower", "upper", "hpd_lower", "hpd_upper", "source"]
    writer.writerow(names)
    for k, known in enumerate(answer.parameters):
        found = spread(values[:, k], draws.shares)
        numbers = (known.mean, known.error, known.sd, found.median, known.lower, known.upper, found.hpd_lower, found.hpd_upper)
        writer.writerow([known.name, known.partition or "", *(f"{x:.8g}" for x in numbers), answer.source])
    return text.getvalue()

"""The answer of a fit as values: splits, branch lengths and topologies with Monte Carlo errors, and its files.

It is made of weighted draws, or it is the fit's own: split frequencies and probabilities of topologies are then exact, with
errors of zero, and only mean branch lengths come from draws.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.report.consensus import MAJORITY, Consensus, majority_rule
from vbpi_mix.phylo.report.parameters import ParameterSummary, reported_values, summarise
from vbpi_mix.phylo.report.summaries import PosteriorTrees, topology_probabilities
from vbpi_mix.phylo.report.weighted import (
    SplitEstimates,
    TopologyEstimates,
    WeightedTrees,
    Weighting,
    split_estimates,
    topology_estimates,
)
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, SplitTable, sbn_split_frequencies
from vbpi_mix.phylo.trees.nexus import trprobs

# More would make files of tens of megabytes of a diffuse posterior, in which no single topology means anything.
MOST_TOPOLOGIES = 10_000
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Answer:
    """source: "weighted" or "fit". draws: from how many trees. split_bits: uint64 [M, W], pendant splits too, sorted by size,
    with their `splits`. children: int32 [U, n-2, 2], distinct and canonical, the most probable first, with `topologies`.
    parameters: tree length, and what the substitution model learned.
    """

    source: str
    draws: int
    split_bits: np.ndarray
    splits: SplitEstimates
    children: np.ndarray
    topologies: TopologyEstimates
    parameters: tuple[ParameterSummary, ...]

    @property
    def n_taxa(self) -> int:
        """n."""
        return self.children.shape[1] + 2

    @cached_property
    def internal(self) -> np.ndarray:
        """The internal splits of positive frequency, by number, the most frequent first; int64."""
        size = np.bitwise_count(self.split_bits).sum(axis=1)
        kept = (size > 1) & (size < self.n_taxa - 1) & (self.splits.frequencies > 0)
        order = np.argsort(-self.splits.frequencies, kind="stable")
        return order[kept[order]]

    def frequencies(self) -> SplitFrequencies:
        """Internal splits as a set that others can be compared with."""
        rows = np.sort(self.internal)
        return SplitFrequencies(self.n_taxa, self.split_bits[rows], self.splits.frequencies[rows])

    def consensus(self, taxa: tuple[str, ...]) -> Consensus:
        """Majority rule: frequencies as node labels, mean branch lengths."""
        return majority_rule(self.split_bits, self.splits.frequencies, self.splits.lengths, taxa)

    @property
    def resolved(self) -> int:
        """How many internal splits the consensus has, of n - 3."""
        return int((self.splits.frequencies[self.internal] > MAJORITY).sum())

    def members(self, rows: np.ndarray, taxa: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Names of the taxa on the smaller side of these splits."""
        return SplitTable(self.n_taxa, self.split_bits[rows], self.splits.frequencies[None, rows]).members(taxa)

    def splits_csv(self, taxa: tuple[str, ...]) -> str:
        """Internal splits, the most probable first, then the edges of the taxa: probability, mean branch length, errors."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["members", "size", "probability", "error", "length", "length_error", "source"])
        size = np.bitwise_count(self.split_bits).sum(axis=1)
        pendant = np.flatnonzero((size == 1) | (size == self.n_taxa - 1))
        rows = np.concatenate([self.internal, pendant])
        found = self.splits
        for k, members in zip(rows.tolist(), self.members(rows, taxa), strict=True):
            lengths = [_number(found.lengths[k], 8), _number(found.length_errors[k], 3)]
            probability = [_number(found.frequencies[k], 8), _number(found.frequency_errors[k], 3)]
            writer.writerow([" | ".join(members), len(members), *probability, *lengths, self.source])
        return text.getvalue()

    def trprobs(self, taxa: tuple[str, ...]) -> str:
        """The most probable topologies in the manner of MrBayes's sumt; the comment says what they are."""
        listed = min(MOST_TOPOLOGIES, self.children.shape[0])
        what = (
            "weighted by importance: their estimated probabilities"
            if self.source == "weighted"
            else "not weighted, as the weights cannot be relied on: their exact probabilities under it"
        )
        some = "" if listed == self.children.shape[0] else f", the {listed:,} most probable"
        comment = (
            f"Topologies met in {self.draws:,} draws from a mixture fitted by vbpi-mix{some}, {what} (p) and the cumulative "
            "probability (P)"
        )
        return trprobs(self.children[:listed], self.topologies.probabilities[:listed], taxa, comment)


def weighted_answer(trees: WeightedTrees, by: Weighting, characters: CharacterModel | None = None) -> Answer:
    """Of weighted draws. characters: the model whose parameters they carry."""
    splits, topologies = split_estimates(trees, by), topology_estimates(trees, by)
    order = np.argsort(-topologies.probabilities, kind="stable")
    order = order[topologies.probabilities[order] > 0]
    # A sum of shares may pass 1 in its last bits.
    capped = SplitEstimates(
        np.minimum(splits.frequencies, 1.0), splits.frequency_errors, splits.lengths, splits.length_errors
    )
    return Answer(
        "weighted",
        len(trees),
        trees.split_bits,
        capped,
        trees.children[order],
        TopologyEstimates(topologies.probabilities[order], topologies.errors[order]),
        summarise(*reported_values(trees.lengths, trees.theta, characters), by.shares),
    )


def own_answer(mixture: PhyloMixture, trees: PosteriorTrees, characters: CharacterModel | None = None) -> Answer:
    """The fit's own: exact frequencies of splits, and of the topologies met in draws; mean branch lengths of the draws, and the
    parameters of the model that they carry."""
    children, probabilities = topology_probabilities(mixture, trees.children)
    return Answer(
        "fit",
        trees.children.shape[0],
        mixture.support.split_bits,
        _own_splits(mixture, trees),
        children,
        TopologyEstimates(probabilities, np.zeros(probabilities.size)),
        summarise(*reported_values(trees.lengths, trees.theta, characters)),
    )


def _own_splits(mixture: PhyloMixture, trees: PosteriorTrees) -> SplitEstimates:
    support = mixture.support
    exact = sbn_split_frequencies(support, mixture.logits.detach().numpy(), mixture.log_shares)
    known = {bits.tobytes(): p for bits, p in zip(exact.bits, exact.frequencies.tolist(), strict=True)}
    internal = (support.split_size > 1) & (support.split_size < support.n_taxa - 1)
    frequencies = np.array(
        [known.get(bits.tobytes(), 0.0) if inner else 1.0 for bits, inner in zip(support.split_bits, internal, strict=True)]
    )
    # Node 0 of a tree is taxon 0, which has no edge above it.
    flat, lengths, size = trees.splits[:, 1:].ravel(), trees.lengths.ravel(), support.n_splits
    count = np.bincount(flat, minlength=size)
    mean = _ratio(np.bincount(flat, lengths, size), count)
    squares = np.bincount(flat, (lengths - mean[flat]) ** 2, size)
    return SplitEstimates(frequencies, np.zeros(size), mean, np.sqrt(_ratio(squares, count * (count - 1))))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """nan where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _number(value: float, digits: int) -> str:
    """Empty for what is not known; rounding errors are 0."""
    if np.isnan(value):
        return ""
    return f"{value:.{digits}g}" if value > _ROUNDING else "0"

"""Two distributions over topologies side by side: a fit or a tree sample against a fit or a tree sample.

The first is judged by the second: KL(second || first).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.assess.divergence import Divergence, TopologyCount, divergence, topologies_for
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.averages import in_proportion
from vbpi_mix.phylo.sbn.splits import (
    MINIMUM_FREQUENCY,
    SplitFrequencies,
    SplitTable,
    average_standard_deviation,
    largest_difference,
    sbn_split_frequencies,
    split_frequencies,
    unite,
)
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies

SHARES = (0.5, 0.95)
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class TopologyDistribution:
    """A distribution over unrooted topologies of the taxa.

    what: a description, such as `tree sample` or `fit, A=4`. children: int32 [U, n-2, 2], distinct and canonical:
    all of a sample, or those drawn from a fit. weights: float64 [U], summing to 1: probabilities, or shares
    of the draws. log_p: float64 [U], exact. draws: how many trees were drawn, 0 for a sample.
    log_probability: log p float64 [T] of any canonical children, -inf where it has none.
    """

    name: str
    what: str
    taxa: tuple[str, ...]
    children: np.ndarray
    weights: np.ndarray
    log_p: np.ndarray
    splits: SplitFrequencies
    draws: int
    log_probability: Callable[[np.ndarray], np.ndarray]


def of_sample(sample: TreeSample, name: str) -> TopologyDistribution:
    """A tree sample as a distribution."""
    present = sample.weights > 0
    children, weights = sample.children[present], sample.weights[present] / sample.weights.sum()
    splits = split_frequencies(children, weights)
    return of_topologies(children, weights, splits, sample.taxa, (name, "tree sample"))


def of_topologies(
    children: np.ndarray, weights: np.ndarray, splits: SplitFrequencies, taxa: tuple[str, ...], names: tuple[str, str]
) -> TopologyDistribution:
    """Given distinct canonical topologies with positive probabilities, and the splits that go with them; names: its name, and
    what it is."""
    log_p = np.log(weights)

    def log_probability(other: np.ndarray) -> np.ndarray:
        # The own ones come first and are distinct, so they keep their numbers.
        _, index = unique_topologies(np.concatenate([children, other]))
        found = index[children.shape[0] :]
        known = found < children.shape[0]
        return np.where(known, log_p[np.where(known, found, 0)], -np.inf)

    return TopologyDistribution(*names, taxa, children, weights, log_p, splits, 0, log_probability)


def of_mixture(
    mixture: PhyloMixture, taxa: tuple[str, ...], name: str, draws: int, seed: int
) -> TopologyDistribution:
    """A fit as a distribution: exact probabilities and split frequencies, and `draws` seeded draws."""
    support, logits = mixture.support, mixture.logits.detach().numpy()

    def log_probability(other: np.ndarray) -> np.ndarray:
        parts = [other[k : k + _CHUNK] for k in range(0, other.shape[0], _CHUNK)]
        return np.concatenate([mixture.log_probability(support.encode(part)) for part in parts])

    children, counts = _draw(mixture, draws, np.random.default_rng(seed))
    log_p = log_probability(children)
    order = np.argsort(-log_p, kind="stable")
    return TopologyDistribution(
        name=name,
        what=f"fit, A={logits.shape[0]}{'' if mixture.log_shares is None else ', learned weights'}",
        taxa=taxa,
        children=children[order],
        weights=counts[order] / draws,
        log_p=log_p[order],
        splits=sbn_split_frequencies(support, logits, mixture.log_shares),
        draws=draws,
        log_probability=log_probability,
    )


def _draw(mixture: PhyloMixture, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct topologies of `draws` draws, spread over the components by their weights, and how often each came."""
    support, logits, log_shares = mixture.support, mixture.logits.detach().numpy(), mixture.log_shares
    log_probabilities, _ = sbn.normalise(logits, support)
    probabilities = np.exp(log_probabilities)
    if log_shares is None:
        component = np.arange(draws) % logits.shape[0]
    else:
        component = in_proportion(log_shares, draws, float(rng.random()))
    found = []
    for first in range(0, draws, _CHUNK):
        part = component[first : first + _CHUNK]
        uniforms = rng.random((part.size, support.n_taxa - 1))
        found.append(canonicalise(sbn.draw_topologies(probabilities, support, part, uniforms).children)[0])
    children, index = unique_topologies(np.concatenate(found))
    return children, np.bincount(index, minlength=children.shape[0])


@dataclass(frozen=True)
class WeightedComparison:
    """asdsf: average standard deviation of split frequencies; total_variation: in [0, 1], over topologies. reliable: whether
    the weighted draws are the answer of their fit."""

    asdsf: float
    total_variation: float
    reliable: bool = True

    def as_dict(self) -> dict[str, float]:
        """Under the keys that `compare` reports."""
        return {"asdsf_weighted": self.asdsf, "total_variation_weighted": self.total_variation}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` finds. table: splits of the first and the second; topologies: per share, of each. weighted: the same by
    weighted draws, None if no side is a run."""

    first: TopologyDistribution
    second: TopologyDistribution
    divergence: Divergence
    table: SplitTable
    asdsf: float
    asdsf_splits: int
    max_split_difference: float
    max_split: int
    topologies: tuple[dict[float, TopologyCount], dict[float, TopologyCount]]
    weighted: WeightedComparison | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite is None."""
        members = self.table.members(self.first.taxa)
        at = self.max_split
        return {
            "kl": _finite(self.divergence.kl),
            "kl_standard_error": self.divergence.standard_error,
            "kl_partial_sum": self.divergence.partial_sum,
            "mass_outside_support": self.divergence.mass_outside,
            "asdsf": self.asdsf,
            "asdsf_splits": self.asdsf_splits,
            "asdsf_minimum_frequency": MINIMUM_FREQUENCY,
            **(self.weighted.as_dict() if self.weighted else {"asdsf_weighted": None, "total_variation_weighted": None}),
            "weighted_reliable": self.weighted.reliable if self.weighted else None,
            "max_split_difference": self.max_split_difference,
            "max_split": list(members[at]) if at >= 0 else None,
            "max_split_frequencies": self.table.frequencies[:, at].tolist() if at >= 0 else None,
            "taxa": len(self.first.taxa),
            "first": self._side(0),
            "second": self._side(1),
        }

    def _side(self, number: int) -> dict[str, Any]:
        side, counts = (self.first, self.second)[number], self.topologies[number]
        return {
            "name": side.name,
            "what": side.what,
            "draws": side.draws,
            "splits": len(side.splits),
            "topologies": side.weights.size,
            **{f"topologies_for_{100 * share:.0f}": count.count for share, count in counts.items()},
            **{
                f"topologies_for_{100 * share:.0f}_estimated": count.estimated
                for share, count in counts.items()
            },
        }

    def rows(self) -> list[tuple[list[str], float, float]]:
        """Splits as (members, first, second), those that differ most first."""
        members = self.table.members(self.first.taxa)
        first, second = self.table.frequencies
        order = np.lexsort((np.arange(first.size), -np.maximum(first, second), -np.abs(first - second)))
        return [(list(members[k]), float(first[k]), float(second[k])) for k in order]


def compare(
    first: TopologyDistribution, second: TopologyDistribution, weighted: WeightedComparison | None = None
) -> Comparison:
    """Compare two distributions; `weighted` is what was found already. Raises TreeError if they are not over the same taxa in
    the same order."""
    check_taxa(first, second)
    log_q = first.log_probability(second.children)
    table = unite(first.splits, second.splits)
    largest, at = largest_difference(table)
    return Comparison(
        first=first,
        second=second,
        divergence=divergence(second.weights, second.log_p, log_q, second.draws),
        table=table,
        asdsf=average_standard_deviation(table),
        asdsf_splits=int(table.frequent().sum()),
        max_split_difference=largest,
        max_split=at,
        topologies=(_counts(first), _counts(second)),
        weighted=weighted,
    )


def _counts(side: TopologyDistribution) -> dict[float, TopologyCount]:
    return {share: topologies_for(share, side.weights, side.log_p) for share in SHARES}


def check_taxa(first: TopologyDistribution, second: TopologyDistribution) -> None:
    """TreeError unless both are over the same taxa in the same order."""
    if first.taxa == second.taxa:
        return
    for one, other in ((first, second), (second, first)):
        extra = [name for name in one.taxa if name not in other.taxa]
        if extra:
            some = ", ".join(repr(name) for name in extra[:5]) + (" ..." if len(extra) > 5 else "")
            raise TreeError(
                f"{one.name} and {other.name} are of different alignments: only {one.name} has {some}"
            )
    raise TreeError(
        f"{first.name} and {second.name} have the same taxa in another order; "
        "make both from the same alignment file"
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

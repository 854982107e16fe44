"""The posterior as weighted draws of a fit: splits, topologies, branch lengths and evidence, a Monte Carlo error each.

N trees are drawn from a mixture q of A components, of each as many as its weight says, and weighted by
w = p(Y, tau, b) / q(tau, b) with the whole mixture in the denominator (deterministic mixture sampling; Owen and Zhou 2000). The
largest weights are smoothed (pareto.py). Every answer is a ratio of weighted sums, sum w f / sum w g, and its variance is that
of the residual w (f - answer g), draws being independent within strata of fixed size (the delta method; Owen, "Monte Carlo
theory, methods and examples", chapters 8 and 9).

Strata are, as `Strata` says,
    components  what was drawn: N/A of each, or N times its weight where weights are learned.
    topologies  afterwards, because q(tau) is known exactly: each topology that is expected 10 times or more among the
                draws is a stratum of probability q(tau), the others are one together. Weights are scaled by q(stratum)
                over the share of draws in it, so that how often a topology happened to be drawn does no longer count:
                p(tau | Y) is in proportion to q(tau) times the mean weight of its draws. What is left is the variance
                of weights within topologies, 1 - ESS/N of it if q has the right topologies.

Layout: topologies [U] are distinct and canonical; draws [N] name theirs by number; edges [E] are in the canonical
numbering, the edge above node v at v - 1, its split the support's number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import torch

from vbpi_mix.pareto import Smoothed, effective_sample_size, smooth
from vbpi_mix.phylo.draws import ComponentSelection, PhyloDraws
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.batches import batches_of
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies
from vbpi_mix.threads import timed_pieces

# Fewer expected draws than this do not make a stratum: its share of draws would be too noisy to divide by.
DRAWS_OF_A_STRATUM = 10


class Strata(Enum):
    """Within which draws are independent and their number is taken as fixed."""

    COMPONENTS = "components"
    TOPOLOGIES = "topologies"


@dataclass(frozen=True, eq=False)
class WeightedTrees:
    """N draws and their log weights (layout: head of this file).

    children: int32 [U, n-2, 2], canonical. log_q: float64 [U], log probability of a topology under the mixture.
    splits: int32 [U, E]. topology, component: int [N]. lengths: float64 [N, E], expected substitutions per site.
    log_weights: float64 [N], not smoothed. split_bits: uint64 [M, W], of the support's splits. theta: float64 [N, D], the
    model's parameters on their unconstrained scale, None for a model without any.
    """

    children: np.ndarray
    log_q: np.ndarray
    splits: np.ndarray
    topology: np.ndarray
    component: np.ndarray
    lengths: np.ndarray
    log_weights: np.ndarray
    split_bits: np.ndarray
    theta: np.ndarray | None = None

    def __len__(self) -> int:
        return self.log_weights.size

    @property
    def n_taxa(self) -> int:
        """n."""
        return self.children.shape[1] + 2

    @cached_property
    def smoothed(self) -> Smoothed:
        """The weights with a smoothed tail, and Pareto k."""
        return smooth(self.log_weights)

    @property
    def effective_sample_size(self) -> float:
        """Of the smoothed weights."""
        return effective_sample_size(self.smoothed.log_weights)


@dataclass(frozen=True, eq=False)
class StratumSums:
    """H strata: the draws in each, `rows`, their count int [H], and sums of their shares and of the squares [H]."""

    rows: list[np.ndarray]
    count: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @staticmethod
    def of(stratum: np.ndarray, shares: np.ndarray) -> StratumSums:
        """From the stratum int [N] and share float64 [N] of each draw."""
        count = np.bincount(stratum)
        rows = np.split(np.argsort(stratum, kind="stable"), np.cumsum(count)[:-1])
        return StratumSums(rows, count, np.bincount(stratum, shares), np.bincount(stratum, shares**2))

    @cached_property
    def factor(self) -> np.ndarray:
        """n/(n-1), float64 [H]."""
        return np.asarray(self.count / np.maximum(self.count - 1, 1))

    @cached_property
    def centre(self) -> np.ndarray:
        """1/n, float64 [H]; 0 of a single draw, whose own size stands for a variance that it cannot show."""
        return np.where(self.count > 1, 1 / np.maximum(self.count, 1), 0.0)

    def variance(self, h: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Of the sum of residuals of stratum h, given their sum and that of their squares, each float64 [M]."""
        return np.asarray(self.factor[h] * np.maximum(second - self.centre[h] * first**2, 0.0))

    def variances(self) -> np.ndarray:
        """Of the sum of shares in each stratum, float64 [H]."""
        return np.asarray(self.factor * np.maximum(self.second - self.centre * self.first**2, 0.0))


@dataclass(frozen=True, eq=False)
class Weighting:
    """Shares float64 [N] of draws, summing to 1, the stratum int [N] of each, and log p(Y) as they have it.

    unmet: the probability under q of strata without a single draw, which are left out.
    """

    shares: np.ndarray
    stratum: np.ndarray
    log_evidence: float
    unmet: float

    @cached_property
    def strata(self) -> StratumSums:
        """Draws by stratum."""
        return StratumSums.of(self.stratum, self.shares)


@dataclass(frozen=True)
class Estimate:
    """A number and its Monte Carlo standard error."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class TopologyEstimates:
    """Posterior probabilities of U topologies and their errors, float64 [U], in the order of WeightedTrees."""

    probabilities: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class SplitEstimates:
    """All M splits of the support, pendant ones too, by their number: float64 [M] each.

    frequencies; lengths: mean branch length over the trees that have the split, nan where none was drawn; and the
    errors of both.
    """

    frequencies: np.ndarray
    frequency_errors: np.ndarray
    lengths: np.ndarray
    length_errors: np.ndarray


def draw_weighted_trees(
    mixture: PhyloMixture,
    log_weights: Callable[[PhyloDraws], torch.Tensor],
    draw: ComponentSelection,
    count: int,
    generator: torch.Generator,
) -> WeightedTrees:
    """At least `count` draws, of each component as many as its weight says; `draw` must name every component (an A2A draw).

    log_weights: log p(Y, tau, b) - log q(tau, b) of draws, [S, K].
    """
    children, lengths, weights, components = [], [], [], []
    theta: list[np.ndarray] = []
    with torch.no_grad(), timed_pieces() as pieces:
        for draws, component in batches_of(mixture, draw, count, generator):
            log_w = log_weights(draws)
            canonical, relabel = canonicalise(draws.topologies.children)
            in_order = np.empty((len(draws.topologies), 2 * canonical.shape[1] + 1))
            own = np.exp(draws.log_lengths.numpy().reshape(in_order.shape))
            np.put_along_axis(in_order, relabel[:, 1:] - 1, own, axis=1)
            children.append(canonical)
            lengths.append(in_order)
            weights.append(log_w.numpy().ravel())
            components.append(component.numpy())
            if draws.theta is not None:
                theta.append(draws.theta.numpy().reshape(len(canonical), -1))
            pieces.ended()
    distinct, topology = unique_topologies(np.concatenate(children))
    encoded = mixture.support.encode(distinct)
    return WeightedTrees(
        children=distinct,
        log_q=mixture.log_probability(encoded),
        splits=encoded.splits[:, 1:],
        topology=topology,
        component=np.concatenate(components),
        lengths=np.concatenate(lengths),
        log_weights=np.concatenate(weights),
        split_bits=mixture.support.split_bits,
        theta=np.concatenate(theta) if theta else None,
    )


def weighting(trees: WeightedTrees, strata: Strata = Strata.TOPOLOGIES) -> Weighting:
    """Shares of the draws by their smoothed weights, scaled by stratum (head of this file)."""
    log_w = trees.smoothed.log_weights
    if strata is Strata.COMPONENTS:
        stratum, unmet = trees.component, 0.0
    else:
        q = np.exp(trees.log_q)
        own = len(trees) * q >= DRAWS_OF_A_STRATUM
        number = np.where(own, np.cumsum(own), 0)
        stratum = number[trees.topology]
        mass = np.concatenate([[max(0.0, 1.0 - q[own].sum())], q[own]])
        count = np.bincount(stratum, minlength=mass.size)
        unmet = float(mass[count == 0].sum())
        scale = mass / np.maximum(count, 1) * len(trees)
        with np.errstate(divide="ignore"):
            log_w = log_w + np.log(scale)[stratum]
    largest = log_w.max()
    weights = np.exp(log_w - largest)
    total = weights.sum()
    return Weighting(weights / total, stratum, float(largest + np.log(total / len(trees))), unmet)


def evidence(by: Weighting) -> Estimate:
    """log p(Y), with the error of the logarithm of a mean."""
    return Estimate(by.log_evidence, float(np.sqrt(by.strata.variances().sum())))


def topology_estimates(trees: WeightedTrees, by: Weighting) -> TopologyEstimates:
    """Posterior probability of each topology that was drawn.

    The residual of a draw is its share times (1 - p) if it has the topology, -p if not; its sums are written out, as
    few topologies have draws in a stratum.
    """
    strata, count = by.strata, trees.log_q.size
    keys, cell = np.unique(trees.topology.astype(np.int64) * strata.count.size + by.stratum, return_inverse=True)
    topology, stratum = np.divmod(keys, strata.count.size)
    first, second = np.bincount(cell, by.shares), np.bincount(cell, by.shares**2)
    p = np.bincount(topology, first, count)
    factor, centre = strata.factor[stratum], strata.centre[stratum]
    own = (1 - 2 * p[topology]) * second - centre * first * (first - 2 * p[topology] * strata.first[stratum])
    variance = p**2 * strata.variances().sum() + np.bincount(topology, factor * own, count)
    return TopologyEstimates(p, np.sqrt(np.maximum(variance, 0.0)))


def split_estimates(trees: WeightedTrees, by: Weighting) -> SplitEstimates:
    """Frequencies and mean branch lengths of the support's splits, in two passes over the draws."""
    n_splits, strata = trees.split_bits.shape[0], by.strata
    p, total = np.zeros(n_splits), np.zeros(n_splits)
    for rows in strata.rows:
        split, share = _edges(trees, by, rows)
        p += np.bincount(split, share, n_splits)
        total += np.bincount(split, share * trees.lengths[rows].ravel(), n_splits)
    met = p > 0
    mean = np.divide(total, p, out=np.full(n_splits, np.nan), where=met)
    p_variance, length_variance = np.zeros(n_splits), np.zeros(n_splits)
    for h, rows in enumerate(strata.rows):
        split, share = _edges(trees, by, rows)
        first, second = np.bincount(split, share, n_splits), np.bincount(split, share**2, n_splits)
        without = np.maximum(strata.second[h] - second, 0.0)
        p_variance += strata.variance(h, first - p * strata.first[h], (1 - p) ** 2 * second + p**2 * without)
        residual = share * (trees.lengths[rows].ravel() - mean[split])
        first, second = np.bincount(split, residual, n_splits), np.bincount(split, residual**2, n_splits)
        length_variance += strata.variance(h, first, second)
    length_errors = np.divide(np.sqrt(length_variance), p, out=np.full(n_splits, np.nan), where=met)
    return SplitEstimates(p, np.sqrt(p_variance), mean, length_errors)


def _edges(trees: WeightedTrees, by: Weighting, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split and share of every edge of the draws `rows`, one after another."""
    splits = trees.splits[trees.topology[rows]]
    return splits.ravel(), np.repeat(by.shares[rows], splits.shape[1])

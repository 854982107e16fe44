"""How certain an answer is of the topology: entropy, how many topologies hold a share of it, taxa that cost certainty.

Of the topologies met in draws two numbers are known: P, the share of the answer that their draws have, and p, their own
probability. For the fit's own answer p is exact; for the weighted one it is q(tau) times the mean weight of its draws over
the evidence, which is right for a topology that was drawn once, too, where P is not. Means over the answer are then sums over P:

    entropy                     -sum P log p, in nats
    topologies in a 95% set     sum P/p over the most probable ones that hold 95% of P, which is their number where all were
                                met, and estimates it where they are too many for that

A taxon costs certainty by as much as the entropy falls when it is pruned from every topology. Pruned topologies add up those of
the answer that differ by this taxon only, so for this the entropy is -sum P log P of the most probable ones. Of a posterior so
diffuse that draws meet most topologies once this is too little: none that would become the same was met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.weighted import Estimate, WeightedTrees, Weighting, weighting
from vbpi_mix.phylo.sbn.most_probable import MostProbable, every_topology, most_probable_topology
from vbpi_mix.phylo.trees.topology import clade_bitsets

SHARES = (0.5, 0.95)
# Rooted trees of a support that is small enough for exact figures.
MOST_ROOTED_TREES = 50_000
# Topologies that taxa are pruned from, at most, and edges times taxa of all of them: about a second.
MOST_PRUNED, MOST_EDGES = 10_000, 80_000_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class CredibleSize:
    """How many topologies hold `share` of the answer, the most probable first. exact: all were met; else an estimate."""

    share: float
    topologies: float
    exact: bool


@dataclass(frozen=True, eq=False)
class Drops:
    """Nats by which the entropy falls when a taxon is pruned, and their Monte Carlo errors, 0 if exact; float64 [n] each."""

    falls: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class Certainty:
    """best: the most probable topology of the fit, None of several fits. entropy: of the answer's topologies, nats, with its
    Monte Carlo error. exact: whether it is of every topology that there is, as the drops then are; else both are estimated from
    draws. sizes: of credible sets. drops: by taxon."""

    best: MostProbable | None
    entropy: float
    entropy_error: float
    exact: bool
    sizes: tuple[CredibleSize, ...]
    drops: Drops

    def rogues(self, taxa: tuple[str, ...], least: float = 0.05, most: int = 10) -> list[tuple[str, Estimate]]:
        """The taxa that cost most certainty, at least `least` nats each, with what they cost and its error, 0 if exact."""
        falls = self.drops.falls
        order = np.argsort(-falls, kind="stable")[:most]
        return [
            (taxa[k], Estimate(float(falls[k]), float(self.drops.errors[k]))) for k in order.tolist() if falls[k] >= least
        ]

    def as_dict(self, taxa: tuple[str, ...]) -> dict[str, Any]:
        """Plain data for summary.json; taxa with what they cost, the costliest first."""
        sets = [{"share": each.share, "topologies": each.topologies, "exact": each.exact} for each in self.sizes]
        best = self.best
        found = {} if best is None else {"probability": best.probability, "bound": best.bound, "proven": best.proven}
        rogues = self.rogues(taxa)
        return {
            "entropy": self.entropy,
            "entropy_error": self.entropy_error,
            "entropy_exact": self.exact,
            "credible_sets": sets,
            **({"most_probable_of_the_fit": found} if found else {}),
            "entropy_drops": {name: drop.value for name, drop in rogues},
            "entropy_drop_errors": {name: drop.error for name, drop in rogues},
        }


def certainty(mixture: PhyloMixture, trees: WeightedTrees, by: Weighting | None) -> Certainty:
    """Of the weighted answer, or of the fit's own if `by` is not given; trees: draws from the mixture."""
    logits = mixture.logits.detach().numpy()
    best = most_probable_topology(mixture.support, logits, log_weights=mixture.log_shares)
    if by is None:
        every = every_topology(mixture.support, logits, MOST_ROOTED_TREES, mixture.log_shares)
        if every is not None:
            return exact_certainty(best, *every)
        trees = unweighted(trees)
        by = weighting(trees)
    share, log_p = topology_shares(trees, by)
    entropy = mean_surprise(trees, by, -log_p)
    drops = entropy_drops(trees.children, share, squared_shares(trees, by))
    sizes = tuple(credible_size(share, log_p, each) for each in SHARES)
    # A rounding error of what is certain is none.
    return Certainty(best, max(0.0, entropy.value), entropy.error, False, sizes, drops)


def exact_certainty(best: MostProbable | None, children: np.ndarray, probabilities: np.ndarray) -> Certainty:
    """Of all topologies int32 [U, n-2, 2] that there are, with their probabilities float64 [U]."""
    met = probabilities > 0
    log_p = np.log(np.where(met, probabilities, 1.0))
    sizes = tuple(credible_size(probabilities[met], log_p[met], each) for each in SHARES)
    drops = entropy_drops(children, probabilities)
    return Certainty(best, max(0.0, float(-(probabilities @ log_p))), 0.0, True, sizes, drops)


def entropy_drops(children: np.ndarray, shares: np.ndarray, squares: np.ndarray | None = None) -> Drops:
    """By how much the entropy of topologies int32 [U, n-2, 2], canonical, with shares float64 [U] falls when each taxon is
    pruned from all. Of more than MOST_PRUNED topologies the most probable count. squares: of `squared_shares`, float64 [U], if
    the shares are those of draws. The fall is a mean of log P' - log P, P' that of the pruned topology, and its error that of
    this mean, to first order."""
    n_taxa = children.shape[1] + 2
    most = min(MOST_PRUNED, MOST_EDGES // (2 * n_taxa * n_taxa))
    kept = np.argsort(-shares, kind="stable")[:most]
    kept = kept[shares[kept] > 0]
    total = shares[kept].sum()
    children, shares = children[kept], shares[kept] / total
    squares = np.zeros(kept.size) if squares is None else squares[kept] / total**2
    log_p, keys = np.log(shares), pruned_keys(children)
    falls, errors = np.empty((2, n_taxa))
    for taxon in range(n_taxa):
        index = np.unique(keys(taxon), return_inverse=True)[1]
        more = np.log(np.bincount(index, shares))[index] - log_p
        falls[taxon] = shares @ more
        errors[taxon] = np.sqrt(squares @ (more - falls[taxon]) ** 2)
    return Drops(falls, errors)


def pruned_keys(children: np.ndarray) -> Callable[[int], np.ndarray]:
    """Of topologies int32 [U, n-2, 2], a function of a taxon: uint64 [U], equal for those that are the same without it.

    A topology is the set of its splits. A split has a random number that is the exclusive or of those of its taxa, scrambled,
    and a topology the sum of its splits' numbers; two that differ have the same sum with probability 2^-64.
    """
    count, n = children.shape[0], children.shape[1] + 2
    words = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    below, parent = np.empty((count, 2 * n - 2), np.uint64), np.empty((count, 2 * n - 2), np.int64)
    below[:, :n] = words
    every = np.arange(count)
    for k in range(n - 2):
        first, second = children[:, k, 0], children[:, k, 1]
        below[:, n + k] = below[every, first] ^ below[every, second]
        parent[every, first] = parent[every, second] = n + k
    members = clade_bitsets(children)[:, 1:]

    def has(taxon: int) -> np.ndarray:
        return np.asarray(members[:, :, taxon >> 6] >> np.uint64(taxon & 63) & np.uint64(1)).astype(bool)

    def keys(taxon: int) -> np.ndarray:
        rest = np.bitwise_xor.reduce(words) ^ words[taxon]
        side = below[:, 1:] ^ (has(taxon) * words[taxon])
        # A split is named by its side without taxon 0, or without taxon 1 where taxon 0 is pruned.
        side = np.where(has(1), side ^ rest, side) if taxon == 0 else side
        numbers = _scrambled(side)
        # Where the taxon was, two edges are one now, and its own is none.
        twice = parent[:, taxon] if taxon else children[:, n - 3, 0]
        own = numbers[:, taxon - 1 if taxon else 2 * n - 4]
        return np.asarray(numbers.sum(axis=1, dtype=np.uint64) - numbers[every, twice - 1] - own)

    return keys


def _scrambled(values: np.ndarray) -> np.ndarray:
    """A fixed scrambling of uint64 (the finaliser of splitmix64; Steele, Lea and Flood 2014), wrapping around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def unweighted(trees: WeightedTrees) -> WeightedTrees:
    """The fit's own draws: each of the same weight."""
    return replace(trees, log_weights=np.zeros(len(trees)))


def mean_surprise(trees: WeightedTrees, by: Weighting, surprise: np.ndarray) -> Estimate:
    """Of -log p float64 [U] over draws: an entropy, with its Monte Carlo error."""
    drawn = surprise[trees.topology]
    mean = float(by.shares @ drawn)
    return Estimate(mean, float(np.sqrt(((by.shares * (drawn - mean)) ** 2).sum())))


def squared_shares(trees: WeightedTrees, by: Weighting) -> np.ndarray:
    """The sum over a topology's draws of their squared shares, float64 [U]."""
    return np.bincount(trees.topology, by.shares**2, trees.log_q.size)


def topology_shares(trees: WeightedTrees, by: Weighting) -> tuple[np.ndarray, np.ndarray]:
    """P and log p of every topology met, float64 [U] (head of this file)."""
    log_w = trees.smoothed.log_weights
    largest = log_w.max()
    size = trees.log_q.size
    total = np.bincount(trees.topology, np.exp(log_w - largest), size)
    with np.errstate(divide="ignore"):
        mean = np.log(total / np.bincount(trees.topology, minlength=size)) + largest
    log_p = trees.log_q + mean - by.log_evidence
    share = np.bincount(trees.topology, by.shares, size)
    # What has no weight at all has no share either.
    return share, np.where(share > 0, log_p, 0.0)


def credible_size(share: np.ndarray, log_p: np.ndarray, wanted: float) -> CredibleSize:
    """How many topologies hold `wanted` of the answer, from P and log p, float64 [U]."""
    order = np.argsort(np.where(share > 0, -log_p, np.inf), kind="stable")
    taken = order[: int(np.searchsorted(np.cumsum(share[order]), wanted * (1 - _ROUNDING))) + 1]
    ratio = share[taken] / np.exp(log_p[taken])
    exact = bool(np.abs(ratio - 1).max() < 1e-6)
    return CredibleSize(wanted, float(taken.size if exact else ratio.sum()), exact)

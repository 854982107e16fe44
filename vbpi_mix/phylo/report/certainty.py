"""How certain an answer is of the topology: entropy, how many topologies hold a share of it, taxa that cost certainty.

Of the topologies met in draws two numbers are known: P, the share of the answer that their draws have, and p, their own
probability. For the fit's own answer p is exact; for the weighted one it is q(tau) times the mean weight of its draws over
the evidence, which is right for a topology that was drawn once, too, where P is not. Means over the answer are then sums over P:

    entropy                     -sum P log p, in nats
    topologies in a 95% set     sum P/p over the most probable ones that hold 95% of P, which is their number where all were
                                met, and estimates it where they are too many for that

A taxon costs certainty by as much as the entropy falls when it is pruned from every topology. Pruned topologies add up those of
the answer that differ by this taxon only, so for this the entropy is -sum P log P of the most probable ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.weighted import WeightedTrees, Weighting, weighting
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
class Certainty:
    """best: the most probable topology of the fit. entropy: of the answer's topologies, nats, with its Monte Carlo error, 0 if
    exact. sizes: of credible sets. drops: float64 [n], the fall of the entropy when a taxon is pruned, nats."""

    best: MostProbable
    entropy: float
    entropy_error: float
    sizes: tuple[CredibleSize, ...]
    drops: np.ndarray

    def rogues(self, taxa: tuple[str, ...], least: float = 0.05, most: int = 10) -> list[tuple[str, float]]:
        """The taxa that cost most certainty, at least `least` nats each, with what they cost."""
        order = np.argsort(-self.drops, kind="stable")[:most]
        return [(taxa[k], float(self.drops[k])) for k in order.tolist() if self.drops[k] >= least]

    def as_dict(self, taxa: tuple[str, ...]) -> dict[str, Any]:
        """Plain data for summary.json; taxa with what they cost, the costliest first."""
        sets = [{"share": each.share, "topologies": each.topologies, "exact": each.exact} for each in self.sizes]
        best = {"probability": self.best.probability, "bound": self.best.bound, "proven": self.best.proven}
        return {
            "entropy": self.entropy,
            "entropy_error": self.entropy_error,
            "credible_sets": sets,
            "most_probable_of_the_fit": best,
            "entropy_drops": dict(self.rogues(taxa)),
        }


def certainty(mixture: PhyloMixture, trees: WeightedTrees, by: Weighting | None) -> Certainty:
    """Of the weighted answer, or of the fit's own if `by` is not given; trees: draws from the mixture."""
    logits = mixture.logits.detach().numpy()
    best = most_probable_topology(mixture.support, logits)
    if by is None:
        every = every_topology(mixture.support, logits, MOST_ROOTED_TREES)
        if every is not None:
            return exact_certainty(best, *every)
        # The fit's own draws, each of the same weight.
        trees = replace(trees, log_weights=np.zeros(len(trees)))
        by = weighting(trees)
    share, log_p = _shares(trees, by)
    surprise = -log_p[trees.topology]
    # A rounding error of what is certain is none.
    entropy = max(0.0, float(by.shares @ surprise))
    error = float(np.sqrt(((by.shares * (surprise - entropy)) ** 2).sum()))
    drops = entropy_drops(trees.children, share)
    return Certainty(best, entropy, error, tuple(_size(share, log_p, each) for each in SHARES), drops)


def exact_certainty(best: MostProbable, children: np.ndarray, probabilities: np.ndarray) -> Certainty:
    """Of all topologies int32 [U, n-2, 2] that there are, with their probabilities float64 [U]."""
    met = probabilities > 0
    log_p = np.log(np.where(met, probabilities, 1.0))
    sizes = tuple(_size(probabilities[met], log_p[met], each) for each in SHARES)
    drops = entropy_drops(children, probabilities)
    return Certainty(best, max(0.0, float(-(probabilities @ log_p))), 0.0, sizes, drops)


def entropy_drops(children: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """By how much the entropy of topologies int32 [U, n-2, 2], canonical, with shares float64 [U] falls when each taxon is
    pruned from all; float64 [n], nats. Of more than MOST_PRUNED topologies the most probable count."""
    n_taxa = children.shape[1] + 2
    most = min(MOST_PRUNED, MOST_EDGES // (2 * n_taxa * n_taxa))
    kept = np.argsort(-shares, kind="stable")[:most]
    children, shares = children[kept], shares[kept] / shares[kept].sum()
    whole = _entropy(shares)
    keys = pruned_keys(children)
    drops = []
    for taxon in range(n_taxa):
        index = np.unique(keys(taxon), return_inverse=True)[1]
        drops.append(whole - _entropy(np.bincount(index, shares)))
    return np.array(drops)


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


def _shares(trees: WeightedTrees, by: Weighting) -> tuple[np.ndarray, np.ndarray]:
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


def _size(share: np.ndarray, log_p: np.ndarray, wanted: float) -> CredibleSize:
    order = np.argsort(np.where(share > 0, -log_p, np.inf), kind="stable")
    taken = order[: int(np.searchsorted(np.cumsum(share[order]), wanted * (1 - _ROUNDING))) + 1]
    ratio = share[taken] / np.exp(log_p[taken])
    exact = bool(np.abs(ratio - 1).max() < 1e-6)
    return CredibleSize(wanted, float(taken.size if exact else ratio.sum()), exact)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive @ np.log(positive)))

"""A support that grows: neighbours of probable topologies that it lacks are weighed, and added where they matter.

A tree sample is finite, and a network gives no probability to what its support does not hold. The topologies one
nearest-neighbour interchange away from probable ones are where the missing mass is: their branch lengths are those of the
neighbour but for one, so that a few Newton steps tell what each is worth (approximation.laplace).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.approximation import GammaApproximations, approximate, laplace
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.widen import nni_neighbours
from vbpi_mix.phylo.sbn.coverage import in_support
from vbpi_mix.phylo.sbn.support import SubsplitSupport, build_support
from vbpi_mix.phylo.trees.credible import credible_set
from vbpi_mix.phylo.trees.topology import clade_bitsets, unique_topologies

# The most probable topologies that hold this share of the posterior are looked around, at most so many in a round.
EXPANDED_MASS = 0.995
EXPANDED_AT_MOST = 200
# Neighbours with less of the posterior than this are not added.
LEAST_PROBABILITY = 1e-6
# Nor does what has less than this count as missing: however many they are, they matter to nothing.
LEAST_COUNTED = 1e-10
# A round that adds less ends it.
ENOUGH = 1e-4
ROUNDS = 4
# Of the split that a neighbour has and its origin lacks: the data hardly want it.
NEW_MODE, NEW_SHAPE = -5.5, 1.0
SCREENING_STEPS = 3


@dataclass(frozen=True, eq=False)
class Growth:
    """What was added to topologies and their approximations, and what is still missing.

    children int32 [G, n-2, 2], canonical, with their approximations; missing: about the share of the posterior that
    neighbours outside the support still have; looked_around: how many topologies were expanded.
    """

    children: np.ndarray
    approximations: GammaApproximations
    missing: float
    looked_around: int


def grow(
    support: SubsplitSupport,
    children: np.ndarray,
    found: GammaApproximations,
    posterior: Posterior,
    rng: np.random.Generator,
    held: np.ndarray,
    at_most: int = EXPANDED_AT_MOST,
    add_at_most: int | None = None,
    rounds: int | None = None,
) -> tuple[SubsplitSupport, Growth]:
    """Add neighbours of topologies int32 [T, n-2, 2], canonical, with approximations, to a support.

    held: int32 [H, n-2, 2], all topologies that the support is of. at_most: how many are looked around in a round;
    add_at_most: how many are added, the best, if there is a limit. Rounds, at most
    `rounds`, continue, from what was added too, until they add less than ENOUGH of the posterior.
    """
    added: list[np.ndarray] = []
    left, left_log_marginal = [children[:0]], [found.log_marginal[:0]]
    expanded = np.zeros(children.shape[0], dtype=bool)
    first = before = children.shape[0]
    last = np.zeros(0, dtype=np.int64)
    for _ in range(ROUNDS if rounds is None else rounds):
        log_total = np.logaddexp.reduce(found.log_marginal)
        chosen = credible_set(np.exp(found.log_marginal - log_total), EXPANDED_MASS)
        chosen = chosen[~expanded[chosen]][:at_most]
        if chosen.size == 0:
            break
        last = chosen
        expanded[chosen] = True
        before = children.shape[0]
        new, origin = _neighbours_outside(support, children[chosen], posterior.topology_prior)
        if new.shape[0] == 0:
            continue
        mode, shape = _carried_over(children, found, chosen[origin], new)
        log_marginal, mode = laplace(new, mode, shape, posterior, SCREENING_STEPS)
        kept = np.exp(log_marginal - log_total) > LEAST_PROBABILITY
        if add_at_most is not None:
            kept[np.argsort(-log_marginal, kind="stable")[add_at_most:]] = False
        counted = ~kept & (np.exp(log_marginal - log_total) > LEAST_COUNTED)
        left.append(new[counted])
        left_log_marginal.append(log_marginal[counted])
        if not kept.any():
            break
        more = approximate(new[kept], posterior, rng, mode[kept], shape[kept])
        children = np.concatenate([children, new[kept]])
        expanded = np.concatenate([expanded, np.zeros(int(kept.sum()), dtype=bool)])
        found = found.joined(more)
        added.append(new[kept])
        support = build_support(np.concatenate([held, *added]))
        if np.exp(more.log_marginal - log_total).sum() < ENOUGH:
            break
    shares = np.exp(found.log_marginal - np.logaddexp.reduce(found.log_marginal))
    # For its share, what was not looked around hides as much as what was last; but we do not extrapolate beyond that.
    hidden = shares[before:].sum() * min(1.0, shares[~expanded].sum() / max(float(shares[last].sum()), 1e-300))
    left_share = np.exp(np.concatenate(left_log_marginal) - np.logaddexp.reduce(found.log_marginal))
    missing = hidden + _outside(support, np.concatenate(left), left_share)
    return support, Growth(children[first:], found.take(slice(first, None)), float(missing), int(expanded.sum()))


def _outside(support: SubsplitSupport, children: np.ndarray, shares: np.ndarray) -> float:
    """The sum of the shares [L] of topologies that the support lacks, each counted once."""
    if shares.size == 0:
        return 0.0
    unique, index = unique_topologies(children)
    outside = ~in_support(support.encode(unique))
    largest = np.zeros(outside.size)
    np.maximum.at(largest, index, shares)
    return float(largest[outside].sum())


def _neighbours_outside(
    support: SubsplitSupport, children: np.ndarray, prior: TopologyPrior
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct neighbours, canonical, that the prior allows and the support lacks, and of which of the topologies each is
    one."""
    neighbours = nni_neighbours(children)
    flat = neighbours.reshape(-1, *children.shape[1:])
    outside = np.flatnonzero(~in_support(support.encode(flat)) & prior.allows(flat))
    new, index = unique_topologies(flat[outside])
    first = np.unique(index, return_index=True)[1]
    return new, outside[first] // neighbours.shape[1]


def _carried_over(
    children: np.ndarray, found: GammaApproximations, origin: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Modes and shapes [G, E] of new topologies, from the edges of their origins that have the same splits."""
    parents, place = np.unique(origin, return_inverse=True)
    known = _keys(children[parents], np.arange(parents.size)).ravel()
    wanted = _keys(new, place)
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known, wanted, sorter=order), known.size - 1)]
    same = known[at] == wanted
    mode, shape = found.mode[parents].ravel()[at], found.shape[parents].ravel()[at]
    return np.where(same, mode, NEW_MODE), np.where(same, shape, NEW_SHAPE)


def _keys(children: np.ndarray, number: np.ndarray) -> np.ndarray:
    """A number uint64 [T, E] for the split of each edge of topology number[t]; two are as good as never the same."""
    bits = clade_bitsets(children)[:, 1:]
    words = np.random.default_rng(0).integers(1, 2**63, bits.shape[2] + 1, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    key = (number.astype(np.uint64) + np.uint64(1))[:, None] * words[-1]
    for word in range(bits.shape[2]):
        mixed = bits[:, :, word] * words[word]
        key = (key ^ mixed ^ (mixed >> np.uint64(29))) * words[word]
    return np.asarray(key)

"""How certain the common answer of several fits is of the topology.

It is the mean of their answers, so that a topology has the mean of what the fits give it. What a fit could draw but did not has
a weighted figure of 0 there, right on average but of no use in a logarithm: p(Y, tau) is then taken from the fits that met it, as
q(tau) times the mean weight of its draws estimates the same number in every fit. Of fits that are not weighted q(tau) is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.certainty import (
    MOST_ROOTED_TREES,
    SHARES,
    Certainty,
    credible_size,
    entropy_drops,
    exact_certainty,
    mean_surprise,
    squared_shares,
    topology_shares,
    unweighted,
)
from vbpi_mix.phylo.report.pooling import pooled_estimate
from vbpi_mix.phylo.report.weighted import WeightedTrees, Weighting, weighting
from vbpi_mix.phylo.sbn.most_probable import every_topology
from vbpi_mix.phylo.trees.topology import unique_topologies


def pooled_certainty(
    mixtures: Sequence[PhyloMixture], trees: Sequence[WeightedTrees], by: Sequence[Weighting] | None
) -> Certainty:
    """Of R fits: of their weighted answers, or of the fits' own if `by` is not given; trees: draws from each."""
    weighted = by is not None
    if by is None:
        exact = _exact(mixtures)
        if exact is not None:
            return exact
        trees = [unweighted(each) for each in trees]
        by = [weighting(each) for each in trees]
    children, index = unique_topologies(np.concatenate([each.children for each in trees]))
    places = np.split(index, np.cumsum([len(each.children) for each in trees])[:-1])
    share, squares = np.zeros((2, len(trees), len(children)))
    log_p = np.full(share.shape, -np.inf)
    for r, (drawn, its, place) in enumerate(zip(trees, by, places, strict=True)):
        share[r, place], known = topology_shares(drawn, its)
        log_p[r, place] = np.where(share[r, place] > 0, known, -np.inf)
        squares[r, place] = squared_shares(drawn, its)
    log_evidence = np.array([each.log_evidence for each in by])
    _fill_in(log_p, places, mixtures, children, log_evidence if weighted else None)
    mean = share.mean(axis=0)
    # What has no share counts for nothing.
    pooled = np.where(mean > 0, np.logaddexp.reduce(log_p, axis=0) - np.log(len(trees)), 0.0)
    entropy = pooled_estimate(
        [mean_surprise(drawn, its, -pooled[place]) for drawn, its, place in zip(trees, by, places, strict=True)]
    )
    drops = entropy_drops(children, mean, squares.sum(axis=0) / len(trees) ** 2)
    sizes = tuple(credible_size(mean, pooled, each) for each in SHARES)
    return Certainty(None, max(0.0, entropy.value), entropy.error, False, sizes, drops)


def _exact(mixtures: Sequence[PhyloMixture]) -> Certainty | None:
    """Of all topologies that the fits can draw; None if they are too many."""
    found = [
        every_topology(each.support, each.logits.detach().numpy(), MOST_ROOTED_TREES, each.log_shares) for each in mixtures
    ]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    children, index = unique_topologies(np.concatenate([each for each, _ in known]))
    probabilities = np.bincount(index, np.concatenate([p for _, p in known])) / len(known)
    return exact_certainty(None, children, probabilities)


def _fill_in(
    log_p: np.ndarray,
    places: Sequence[np.ndarray],
    mixtures: Sequence[PhyloMixture],
    children: np.ndarray,
    log_evidence: np.ndarray | None,
) -> None:
    """Into log_p [R, U], what the fits give topologies that they have not met. log_evidence [R]: of weighted answers."""
    joint = None
    if log_evidence is not None:
        count = np.isfinite(log_p).sum(axis=0)
        joint = np.logaddexp.reduce(log_p + log_evidence[:, None], axis=0) - np.log(np.maximum(count, 1))
    for r, (mixture, place) in enumerate(zip(mixtures, places, strict=True)):
        unmet = np.setdiff1d(np.arange(len(children)), place)
        if unmet.size == 0:
            continue
        log_q = mixture.log_probability(mixture.support.encode(children[unmet]))
        if joint is None or log_evidence is None:
            log_p[r, unmet] = log_q
        else:
            log_p[r, unmet] = np.where(np.isfinite(log_q), joint[unmet] - log_evidence[r], -np.inf)

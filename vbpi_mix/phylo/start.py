"""Where training starts: support, networks and branch features from gamma approximations of the posterior.

The most frequent topologies of the tree sample are approximated one by one (approximation.py), which gives each its share
of the posterior; neighbours that the support lacks are added while they matter (growth.py). Branch features are the
regression of what the base density is nearest to on the features of the edges, all topologies counting alike: what is
learned from rare ones is what keeps the answer right where the fit is not yet. The networks are a mixture fitted by
expectation maximisation to the shares, and not to how often a sample met a topology.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.approximation import GammaApproximations, approximate, refine
from vbpi_mix.phylo.branches.base import BaseDensity
from vbpi_mix.phylo.growth import grow
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn.mixtures import fit_mixture
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport, build_support
from vbpi_mix.phylo.trees.sample import TreeSample

MAX_TOPOLOGIES = 3_000
# The modes of so many, the most frequent, are searched from the same length everywhere; those of the others from what the
# features of their edges have in these.
PILOTS = 300
# Of all approximated topologies together, beyond the first draws of each.
REFINING_DRAWS = 50_000
# Pseudo-observations that pull the features of a rare edge to what is usual.
SHRINKAGE = 0.5
SWEEPS = 20
# A gamma approximation can be far off: no topology is given less than this share of its weight in the sample. What the
# networks make too rare is never drawn, and never learned.
LEAST_SHARE = 1e-4


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What a fit starts from.

    support; features float64 [n_features, C], of the base density; encoded topologies of the support, and their shares of
    the posterior, weights float64 [U]; logits float64 [A, n_params]. added: how many topologies the sample lacked; missing:
    about the share of the posterior that the support lacks, None where it was not looked for.
    """

    support: SubsplitSupport
    features: np.ndarray
    encoded: EncodedTopologies
    weights: np.ndarray
    logits: np.ndarray
    added: int
    missing: float | None


def warm_start(
    sample: TreeSample,
    posterior: Posterior,
    base: BaseDensity,
    n_components: int,
    rng: np.random.Generator,
    *,
    split_only: bool = False,
    growing: bool = True,
    max_topologies: int = MAX_TOPOLOGIES,
) -> WarmStart:
    """Start values from the `max_topologies` most frequent topologies of a sample.

    The weights of those become their shares of the posterior. What the others' change by is what the less frequent half of
    those examined changes by on the whole. split_only: features of splits, and not of primary subsplit pairs.
    """
    support = build_support(sample.children)
    chosen = np.argsort(-sample.weights, kind="stable")[:max_topologies]
    children = sample.children[chosen]
    found = _approximate_all(children, _rows(support.encode(children), split_only), support, posterior, rng)
    added, missing = 0, None
    if growing:
        support, growth = grow(support, children, found, posterior, rng, sample.children)
        children, found = np.concatenate([children, growth.children]), found.joined(growth.approximations)
        added, missing = growth.children.shape[0], growth.missing
    found = refine(children, found, posterior, rng, REFINING_DRAWS)
    encoded = support.encode(np.concatenate([sample.children, children[chosen.size :]]))
    weights = _weights(sample.weights, chosen, found, added)
    values = base.features_of(found)
    which = np.concatenate([chosen, np.arange(sample.weights.size, len(encoded))])
    features = _regress(_rows(encoded.take(which), split_only), values, np.ones(which.size), support)
    logits = fit_mixture(support, encoded, weights, n_components, rng)
    return WarmStart(support, features, encoded, weights, logits, added, missing)


def _weights(sample: np.ndarray, chosen: np.ndarray, found: GammaApproximations, added: int) -> np.ndarray:
    """Shares of the posterior [U + added]: of the chosen, approximated ones, of the others of the sample, of those added."""
    shares = np.exp(found.log_marginal - np.logaddexp.reduce(found.log_marginal))
    weights = np.concatenate([sample / sample.sum(), np.zeros(added)])
    before = weights.copy()
    half = slice(chosen.size // 2, chosen.size)
    rare = before[chosen[half]].sum()
    weights *= shares[half].sum() / rare if rare > 0 else 1.0
    weights[chosen] = shares[: chosen.size]
    weights[sample.size :] = shares[chosen.size :]
    weights = np.maximum(weights / weights.sum(), LEAST_SHARE * before)
    return np.asarray(weights / weights.sum())


def _rows(encoded: EncodedTopologies, split_only: bool) -> np.ndarray:
    """Features of the edges, int32 [T, E, 3], of splits only if asked for."""
    return np.where(np.arange(3) > 0, -1, encoded.rows) if split_only else encoded.rows


def _approximate_all(
    children: np.ndarray, rows: np.ndarray, support: SubsplitSupport, posterior: Posterior, rng: np.random.Generator
) -> GammaApproximations:
    """Of topologies [T, n-2, 2] whose edges have features rows [T, E, 3]."""
    pilots = approximate(children[:PILOTS], posterior, rng)
    if children.shape[0] <= PILOTS:
        return pilots
    values = np.stack([pilots.mode, np.log(pilots.shape)], axis=2)
    features = _regress(rows[:PILOTS], values, np.ones(PILOTS), support)
    guess = np.where(rows[PILOTS:, :, :, None] >= 0, features[rows[PILOTS:]], 0.0).sum(axis=2)
    return pilots.joined(approximate(children[PILOTS:], posterior, rng, guess[:, :, 0], np.exp(guess[:, :, 1])))


def _regress(rows: np.ndarray, values: np.ndarray, importance: np.ndarray, support: SubsplitSupport) -> np.ndarray:
    """Features [n_features, C] whose sums over the rows int32 [T, E, 3] of each edge come near values [T, E, C].

    Backfitting: in turn the splits, the pairs at lower ends and those at upper ends take up what the others leave, each
    shrunk towards zero, and splits towards the mean of their kind (pendant or internal).
    """
    n_features, columns = support.n_features, values.shape[2]
    pendant = support.pendant_features
    weight = np.repeat(importance / importance.max(), rows.shape[1])
    flat, wanted = rows.reshape(-1, 3), values.reshape(-1, columns)
    usual = np.zeros((n_features, columns))
    kind = pendant[flat[:, 0]]
    for which in (False, True):
        mean = np.average(wanted[kind == which], axis=0, weights=weight[kind == which])
        usual[: support.n_splits][pendant[: support.n_splits] == which] = mean
    features = usual.copy()
    present = [flat[:, k] >= 0 for k in range(3)]
    for _ in range(SWEEPS):
        for k in range(3):
            fitted = sum(np.where(present[i][:, None], features[flat[:, i]], 0.0) for i in range(3) if i != k)
            row, w = flat[present[k], k], weight[present[k]]
            left = (wanted - fitted)[present[k]] - usual[row]
            count = np.bincount(row, w, n_features) + SHRINKAGE
            total = np.stack([np.bincount(row, w * left[:, c], n_features) for c in range(columns)], axis=1)
            seen = np.unique(row)
            features[seen] = usual[seen] + (total / count[:, None])[seen]
    return features

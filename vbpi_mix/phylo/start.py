"""Where training starts: branch features and topology weights from gamma approximations of the posterior.

For the most frequent topologies of the tree sample, the posterior of the branch lengths given the topology is approximated
by independent gammas with the mode and the curvature that it has in log-lengths. Substitutions along an edge are nearly
Poisson and the prior is exponential, so that a gamma is what a length's posterior nearly is, down to the edges of length
zero, where a log-normal has too short a tail. Branch features are the regression of the base densities nearest to these on
the features of the edges; the gammas as importance densities estimate each topology's marginal likelihood, so that the networks
start from posterior weights and not from how often a bootstrap met a topology.

Fourment et al. (2020), "19 dubious ways to compute the marginal likelihood of a phylogenetic tree topology", compare
such approximations; here one only has to be a good place to start from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vbpi_mix.phylo.branches.base import BaseDensity, make_base
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

MAX_TOPOLOGIES = 3_000
# The modes of so many, the most frequent, are searched from the same length everywhere; those of the others from what the
# features of their edges have in these.
PILOTS = 300
# Resilient propagation (Riedmiller and Braun 1993): per-coordinate steps that grow while the slope keeps its sign.
CLIMBING_STEPS = 40
NEWTON_STEPS = 5
START = -3.0
FIRST_STEP, LARGEST_STEP = 0.3, 1.0
DIFFERENCE = 1e-3
PROBES = 10
# Of an edge along which nothing changed: the likelihood is bounded at length zero, and the posterior exponential.
LEAST_SHAPE = 1.0
DRAWS = 50
# Pseudo-observations that pull the features of a rare edge to what is usual.
SHRINKAGE = 0.5
SWEEPS = 20
# A gamma approximation can be far off: no topology is given less than this share of its weight in the sample. What the
# networks make too rare is never drawn, and never learned.
LEAST_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class GammaApproximations:
    """Of T topologies: mode of each log-length and shape of each length, [T, E], and the log marginal likelihoods, [T].

    A length has density proportional to b^(shape - 1) exp(-shape b / exp(mode)).
    """

    mode: np.ndarray
    shape: np.ndarray
    log_marginal: np.ndarray

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mode, shape, log marginal likelihood."""
        return self.mode, self.shape, self.log_marginal


@dataclass(frozen=True, eq=False)
class WarmStart:
    """features float64 [n_features, C], as the base density has them, and weights float64 [U] of the sample's topologies."""

    features: np.ndarray
    weights: np.ndarray


def warm_start(
    support: SubsplitSupport,
    encoded: EncodedTopologies,
    weights: np.ndarray,
    posterior: Posterior,
    rng: np.random.Generator,
    split_only: bool = False,
    max_topologies: int = MAX_TOPOLOGIES,
    base: BaseDensity | None = None,
) -> WarmStart:
    """Start values from the `max_topologies` most frequent of the sample's topologies, encoded, with weights [U]; of the
    log-normal, if no other base density is given.

    The weights of those topologies become proportional to their marginal likelihoods. What the others' change by is what
    the less frequent half of those examined changes by on the whole.
    """
    chosen = np.argsort(-weights, kind="stable")[:max_topologies]
    children, rows = encoded.children[chosen], encoded.rows[chosen]
    if split_only:
        rows = np.where(np.arange(3) > 0, -1, rows)
    found = _approximate_all(children, rows, support, posterior, rng)
    shares = np.exp(found.log_marginal - np.logaddexp.reduce(found.log_marginal))
    rare = chosen[chosen.size // 2 :]
    before = weights[rare].sum()
    reweighed = weights * (shares[chosen.size // 2 :].sum() / before if before > 0 else 1.0)
    reweighed[chosen] = shares
    reweighed /= reweighed.sum()
    reweighed = np.maximum(reweighed, LEAST_SHARE * weights / weights.sum())
    reweighed /= reweighed.sum()
    # Probable topologies count more, but no topology counts for nothing.
    importance = shares + 1.0 / chosen.size
    values = (make_base() if base is None else base).features_of(found)
    return WarmStart(_regress(rows, values, importance, support), reweighed)


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
    others = approximate(children[PILOTS:], posterior, rng, guess[:, :, 0], np.exp(guess[:, :, 1]))
    joined = (np.concatenate(pair) for pair in zip(pilots.parts(), others.parts(), strict=True))
    return GammaApproximations(*joined)


def approximate(
    children: np.ndarray,
    posterior: Posterior,
    rng: np.random.Generator,
    mode: np.ndarray | None = None,
    shape: np.ndarray | None = None,
) -> GammaApproximations:
    """Gamma approximations of the posterior of the branch lengths of topologies int32 [T, n-2, 2].

    mode, shape: [T, E], guesses to start from.
    """
    if mode is None or shape is None:
        mode = _climb(children, posterior)
        shape = _precisions(children, mode, posterior, rng)
    mode = mode.copy()
    for _ in range(NEWTON_STEPS):
        slope = posterior.log_joint_slopes(children, mode)
        mode += np.clip(slope / shape, -FIRST_STEP, FIRST_STEP)
    # In log-lengths the curvature of a gamma at its mode is its shape.
    shape = _precisions(children, mode, posterior, rng)
    log_w = _log_weights(children, mode, shape, posterior, rng, DRAWS)
    return GammaApproximations(mode, shape, np.logaddexp.reduce(log_w, axis=0) - np.log(DRAWS))


def _log_weights(
    children: np.ndarray, mode: np.ndarray, shape: np.ndarray, posterior: Posterior, rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Log importance weights [draws, T] of draws from the gammas of each topology."""
    log_w = np.empty((draws, shape.shape[0]))
    log_gamma = torch.lgamma(torch.from_numpy(shape)).numpy()
    for row in log_w:
        unit = rng.standard_gamma(shape)
        log_q = (shape * np.log(unit) - unit - log_gamma).sum(1)
        row[:] = posterior.log_joint(children, np.log(unit / shape) + mode) - log_q
    return log_w


def _climb(children: np.ndarray, posterior: Posterior) -> np.ndarray:
    """Near the modes [T, E] of the log-lengths."""
    edges = 2 * children.shape[1] + 1
    x = np.full((children.shape[0], edges), START)
    step = np.full_like(x, FIRST_STEP)
    before = np.zeros_like(x)
    for _ in range(CLIMBING_STEPS):
        sign = np.sign(posterior.log_joint_slopes(children, x))
        step = np.clip(np.where(sign * before < 0, 0.5, 1.2) * step, 0.0, LARGEST_STEP)
        x += sign * step
        before = sign
    return x


def _precisions(children: np.ndarray, x: np.ndarray, posterior: Posterior, rng: np.random.Generator) -> np.ndarray:
    """Minus the second derivatives [T, E] along each log-length, at least LEAST_SHAPE.

    Means of v * (slope difference along v) over random signs v (Bekas, Kokiopoulou and Saad 2007), which needs no
    evaluation for each edge: distant edges hardly interact, and what neighbours add averages out.
    """
    here = posterior.log_joint_slopes(children, x)
    found = np.zeros_like(x)
    for _ in range(PROBES):
        signs = rng.choice([-1.0, 1.0], size=x.shape)
        there = posterior.log_joint_slopes(children, x + DIFFERENCE * signs)
        found += signs * (here - there) / (DIFFERENCE * PROBES)
    return np.maximum(found, LEAST_SHAPE)


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

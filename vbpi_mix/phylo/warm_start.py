"""Where training starts: branch features and topology weights from normal approximations of the posterior.

For the most frequent topologies of the tree sample, the posterior of the log branch lengths given the topology is
maximised, and approximated by independent normals with the curvature at the mode. Branch features are the regression of
these on the features of the edges; the same normals as importance densities estimate each topology's marginal
likelihood, so that the networks start from posterior weights and not from how often a bootstrap met a topology.

Fourment et al. (2020), "19 dubious ways to compute the marginal likelihood of a phylogenetic tree topology", compare
such approximations; here one only has to be a good place to start from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.branch_lengths import LOG_LENGTH_SHIFT
from vbpi_mix.phylo.likelihood import log_likelihoods, log_likelihoods_and_gradients
from vbpi_mix.phylo.support import EncodedTopologies, SubsplitSupport
from vbpi_mix.phylo.target import PhyloTarget

MAX_TOPOLOGIES = 300
# Resilient propagation (Riedmiller and Braun 1993): per-coordinate steps that grow while the slope keeps its sign.
CLIMBING_STEPS = 40
NEWTON_STEPS = 3
START = -3.0
FIRST_STEP, LARGEST_STEP = 0.3, 1.0
DIFFERENCE = 1e-3
PROBES = 10
# A log-length whose posterior is flat is given no wider a normal than the prior's own, whose sd is about 1.3.
LARGEST_SD = 1.3
DRAWS = 100
# Pseudo-observations that pull the features of a rare edge to what is usual.
SHRINKAGE = 0.5
SWEEPS = 20


@dataclass(frozen=True, eq=False)
class NormalApproximations:
    """Of T topologies: mode and sd of each log-length, [T, E], and the log marginal likelihood of each, [T]."""

    mode: np.ndarray
    sd: np.ndarray
    log_marginal: np.ndarray


@dataclass(frozen=True, eq=False)
class WarmStart:
    """features float64 [n_features, 2] (mean, log sd) and weights float64 [U] of the sample's topologies."""

    features: np.ndarray
    weights: np.ndarray


def warm_start(
    support: SubsplitSupport,
    encoded: EncodedTopologies,
    weights: np.ndarray,
    target: PhyloTarget,
    rng: np.random.Generator,
    split_only: bool = False,
    max_topologies: int = MAX_TOPOLOGIES,
) -> WarmStart:
    """Start values from the `max_topologies` most frequent of the sample's topologies, encoded, with weights [U].

    The weights of those topologies become proportional to their marginal likelihoods. What the others' change by is what
    the less frequent half of those examined changes by on the whole.
    """
    chosen = np.argsort(-weights, kind="stable")[:max_topologies]
    found = approximate(encoded.children[chosen], target, rng)
    shares = np.exp(found.log_marginal - np.logaddexp.reduce(found.log_marginal))
    rare = chosen.size // 2
    reweighed = weights * (shares[rare:].sum() / weights[chosen[rare:]].sum())
    reweighed[chosen] = shares
    reweighed /= reweighed.sum()
    rows = encoded.rows[chosen]
    if split_only:
        rows = np.where(np.arange(3) > 0, -1, rows)
    # Probable topologies count more, but no topology counts for nothing.
    importance = shares + 1.0 / chosen.size
    values = np.stack([found.mode - LOG_LENGTH_SHIFT, np.log(found.sd)], axis=2)
    return WarmStart(_regress(rows, values, importance, support), reweighed)


def approximate(children: np.ndarray, target: PhyloTarget, rng: np.random.Generator) -> NormalApproximations:
    """Normal approximations of the posterior of the log-lengths of topologies int32 [T, n-2, 2]."""
    mode = _climb(children, target)
    precision = _precisions(children, mode, target, rng)
    for _ in range(NEWTON_STEPS):
        _, slope = _log_joint(children, mode, target)
        mode += np.clip(slope / precision, -FIRST_STEP, FIRST_STEP)
    sd = 1.0 / np.sqrt(_precisions(children, mode, target, rng))
    noise = rng.standard_normal((DRAWS, *mode.shape))
    log_q = -0.5 * (noise**2).sum(2) - np.log(sd).sum(1) - 0.5 * mode.shape[1] * np.log(2.0 * np.pi)
    draws = (mode + noise * sd).reshape(-1, mode.shape[1])
    log_p = _values(np.tile(children, (DRAWS, 1, 1)), draws, target).reshape(DRAWS, -1)
    return NormalApproximations(mode, sd, np.logaddexp.reduce(log_p - log_q, axis=0) - np.log(DRAWS))


def _values(children: np.ndarray, x: np.ndarray, target: PhyloTarget) -> np.ndarray:
    """Log joint density [T] at log-lengths [T, E], but for a constant."""
    lengths = np.exp(x)
    return log_likelihoods(children, lengths, target.patterns) + (x - target.branch_length_rate * lengths).sum(1)


def _log_joint(children: np.ndarray, x: np.ndarray, target: PhyloTarget) -> tuple[np.ndarray, np.ndarray]:
    """The same with its derivatives [T, E] in the log-lengths."""
    lengths = np.exp(x)
    value, slope = log_likelihoods_and_gradients(children, lengths, target.patterns)
    rate = target.branch_length_rate
    return value + (x - rate * lengths).sum(1), (slope - rate) * lengths + 1.0


def _climb(children: np.ndarray, target: PhyloTarget) -> np.ndarray:
    """Near the modes [T, E] of the log-lengths."""
    edges = 2 * children.shape[1] + 1
    x = np.full((children.shape[0], edges), START)
    step = np.full_like(x, FIRST_STEP)
    before = np.zeros_like(x)
    for _ in range(CLIMBING_STEPS):
        sign = np.sign(_log_joint(children, x, target)[1])
        step = np.clip(np.where(sign * before < 0, 0.5, 1.2) * step, 0.0, LARGEST_STEP)
        x += sign * step
        before = sign
    return x


def _precisions(children: np.ndarray, x: np.ndarray, target: PhyloTarget, rng: np.random.Generator) -> np.ndarray:
    """Minus the second derivatives [T, E] along each log-length, at least LARGEST_SD^-2.

    Means of v * (slope difference along v) over random signs v (Bekas, Kokiopoulou and Saad 2007), which needs no
    evaluation for each edge: distant edges hardly interact, and what neighbours add averages out.
    """
    _, here = _log_joint(children, x, target)
    found = np.zeros_like(x)
    for _ in range(PROBES):
        signs = rng.choice([-1.0, 1.0], size=x.shape)
        _, there = _log_joint(children, x + DIFFERENCE * signs, target)
        found += signs * (here - there) / (DIFFERENCE * PROBES)
    return np.maximum(found, LARGEST_SD**-2)


def _regress(rows: np.ndarray, values: np.ndarray, importance: np.ndarray, support: SubsplitSupport) -> np.ndarray:
    """Features [n_features, 2] whose sums over the rows int32 [T, E, 3] of each edge come near values [T, E, 2].

    Backfitting: in turn the splits, the pairs at lower ends and those at upper ends take up what the others leave, each
    shrunk towards zero, and splits towards the mean of their kind (pendant or internal).
    """
    n_features = support.n_features
    pendant = support.pendant_features
    weight = np.repeat(importance / importance.max(), rows.shape[1])
    flat, wanted = rows.reshape(-1, 3), values.reshape(-1, 2)
    usual = np.zeros((n_features, 2))
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
            total = np.stack([np.bincount(row, w * left[:, c], n_features) for c in range(2)], axis=1)
            seen = np.unique(row)
            features[seen] = usual[seen] + (total / count[:, None])[seen]
    return features

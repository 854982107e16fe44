"""How good a fit is: its divergence from a sample of topologies, and the tail of its importance weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.trees.credible import count_to_hold

# Pareto k-hat: shares and counts of Vehtari et al. (2024), and of Zhang and Stephens (2009).
_TAIL_SHARE, _TAIL_FACTOR, _TAIL_AT_LEAST = 0.2, 3.0, 5
_GRID_AT_LEAST, _GRID_SPREAD = 30, 3.0
_PRIOR_DRAWS, _PRIOR_SHAPE = 10.0, 0.5


@dataclass(frozen=True)
class Divergence:
    """KL(p || q) over topologies, where q may lack some of those of p.

    mass_outside: share of p on topologies of q-probability zero. kl: that of p restricted to the others and
    renormalised, sum (p/P) log((p/P)/q) with P = 1 - mass_outside; never negative, infinite if P = 0. The
    divergence of p itself is this only where mass_outside is 0, else infinite. partial_sum: sum p log(p/q)
    over the same topologies, not renormalised: P kl + P log P. standard_error: of kl, where p is known from
    draws; 0 where it is a sample.
    """

    kl: float
    partial_sum: float
    mass_outside: float
    standard_error: float


def divergence(weights: np.ndarray, log_p: np.ndarray, log_q: np.ndarray, draws: int = 0) -> Divergence:
    """KL(p || q), exactly over a sample or estimated from draws of p.

    weights: float64 [U], summing to 1: of a sample, p itself; of distinct draws, how often each was drawn.
    log_p, log_q: float64 [U]; -inf where a distribution has nothing. draws: their number, if they are draws.
    """
    inside = (log_q > -np.inf) & (weights > 0)
    outside = float(weights[(log_q == -np.inf) & (weights > 0)].sum())
    mass = float(weights[inside].sum()) if outside else 1.0
    if mass == 0:
        return Divergence(math.inf, 0.0, outside, 0.0)
    ratio = log_p[inside] - log_q[inside]
    shares = weights[inside] / mass
    mean = float(shares @ ratio)
    error = math.sqrt(float(shares @ (ratio - mean) ** 2) / (draws * mass)) if draws else 0.0
    return Divergence(mean - math.log(mass), mass * mean, outside, error)


@dataclass(frozen=True)
class TopologyCount:
    """How many of the most probable topologies hold a share of the mass; `estimated` if not counted."""

    count: int
    estimated: bool


def topologies_for(share: float, weights: np.ndarray, log_p: np.ndarray) -> TopologyCount:
    """The fewest topologies whose probabilities add up to `share`.

    weights, log_p: float64 [U] of distinct topologies, as `divergence` takes them. A sample is counted, and
    so are draws if those that were drawn hold the share; else the number is estimated as the mean of 1/p over
    the draws above the quantile, which is unbiased however few topologies were drawn.
    """
    order = np.argsort(-log_p, kind="stable")
    count = count_to_hold(np.exp(log_p[order]), share)
    if count <= log_p.size:
        return TopologyCount(count, False)
    above = order[: count_to_hold(weights[order], share)]
    return TopologyCount(round(float(np.sum(weights[above] * np.exp(-log_p[above])))), True)


def normalised_perplexity(log_weights: np.ndarray) -> float:
    """exp(entropy of normalised weights) / N, given log weights [N]: 1/N if one has all, 1 if equal."""
    weights = _scaled(log_weights)
    if not weights.any():
        return math.nan
    shares = weights[weights > 0] / weights.sum()
    return float(np.exp(-(shares @ np.log(shares))) / log_weights.size)


def pareto_k(log_weights: np.ndarray) -> float:
    """Pareto k-hat of importance weights, given their logarithms [N] (-inf: a weight of zero).

    The shape of a generalised Pareto distribution fitted to the largest M = min(N/5, 3 sqrt N) weights, less
    the largest that is not among them. Up to 0.5 their variance is finite; up to 0.7 estimates by importance
    sampling can be relied on; above 1 not even their mean is finite. nan with fewer than 25 draws or 5
    weights above the cutoff, and -inf if all weights of the tail are equal, which is as good as can be.
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling", section 3.
    """
    weights = np.sort(_scaled(log_weights))
    tail = math.ceil(min(_TAIL_SHARE * weights.size, _TAIL_FACTOR * math.sqrt(weights.size)))
    if tail < _TAIL_AT_LEAST or not weights.any():
        return math.nan
    cutoff = weights[-tail - 1]
    if weights[-1] == cutoff:
        return -math.inf
    exceedances = weights[-tail:] - cutoff
    exceedances = exceedances[exceedances > 0]
    return _generalised_pareto_shape(exceedances) if exceedances.size >= _TAIL_AT_LEAST else math.nan


def _generalised_pareto_shape(x: np.ndarray) -> float:
    """Shape of a generalised Pareto distribution of which float64 [N], ascending and positive, is a sample.

    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto
    distribution": the mean of theta over a grid, weighted by the profile likelihood, and the shape that goes
    with it; positive is heavy here. Then a weak prior: 10 draws of shape 0.5 more (Vehtari et al. 2024,
    appendix).
    """
    size = x.size
    points = _GRID_AT_LEAST + int(math.sqrt(size))
    quartile = x[int(size / 4 + 0.5) - 1]
    steps = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    theta = 1 / x[-1] + steps / (_GRID_SPREAD * quartile)
    shapes = np.log1p(-theta[:, None] * x).mean(axis=1)
    profile = size * (np.log(-theta / shapes) - shapes - 1)
    posterior = np.exp(profile - profile.max())
    mean = float(posterior @ theta / posterior.sum())
    shape = float(np.log1p(-mean * x).mean())
    return (size * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (size + _PRIOR_DRAWS)


def _scaled(log_weights: np.ndarray) -> np.ndarray:
    """Weights with the largest as 1; all zero if the largest is."""
    largest = log_weights.max(initial=-np.inf)
    return np.exp(log_weights - largest) if largest > -np.inf else np.zeros(log_weights.shape)

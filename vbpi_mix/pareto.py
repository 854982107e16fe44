"""Weights of importance sampling: how far they can be relied on, and their smoothing by a Pareto tail.

Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling", Journal of Machine Learning
Research 25(72). Knows no trees: everything is a function of log weights, float64 [N], -inf for a weight of zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Shares and counts of Vehtari et al. (2024), section 3, and of Zhang and Stephens (2009).
_TAIL_SHARE, _TAIL_FACTOR, _TAIL_AT_LEAST = 0.2, 3.0, 5
_GRID_AT_LEAST, _GRID_SPREAD = 30, 3.0
_PRIOR_DRAWS, _PRIOR_SHAPE = 10.0, 0.5
# Vehtari et al. (2024), section 3.2.4: beyond it no practical number of draws is enough.
_RELIABLE_K = 0.7


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Smoothed weights of N draws.

    log_weights: float64 [N] on the scale of those given, not normalised; `shares` sum to 1. pareto_k: as the
    function `pareto_k` has it. tail: how many weights were fitted and replaced; 0 if they could not be.
    """

    log_weights: np.ndarray
    pareto_k: float
    tail: int

    @property
    def shares(self) -> np.ndarray:
        """Normalised weights, float64 [N]; all zero if all weights are."""
        weights = _scaled(self.log_weights)
        total = weights.sum()
        return weights / total if total > 0 else weights

    @property
    def threshold(self) -> float:
        """The largest Pareto k at which this number of draws is enough."""
        return reliable_pareto_k(self.log_weights.size)

    @property
    def reliable(self) -> bool:
        """Whether Pareto k is known and at most the threshold."""
        return self.pareto_k <= self.threshold


def smooth(log_weights: np.ndarray, relative_efficiency: float = 1.0) -> Smoothed:
    """Replace the largest weights by the quantiles of a generalised Pareto distribution fitted to them.

    log_weights: float64 [N]. relative_efficiency: effective over actual number of draws, 1 if independent. No
    smoothed weight exceeds the largest given. Weights stay as they are where Pareto k is nan or -inf.
    """
    order = np.argsort(log_weights, kind="stable")
    largest = log_weights.max(initial=-np.inf)
    fit = _fit_tail(_scaled(log_weights)[order], relative_efficiency)
    if not math.isfinite(fit.shape):
        return Smoothed(log_weights.copy(), fit.shape, 0)
    positions = (np.arange(fit.size) + 0.5) / fit.size
    quantiles = fit.cutoff + fit.scale * _pareto_quantiles(positions, fit.shape)
    result = log_weights.copy()
    result[order[-fit.size :]] = np.minimum(np.log(quantiles), 0.0) + largest
    return Smoothed(result, fit.shape, fit.size)


def pareto_k(log_weights: np.ndarray, relative_efficiency: float = 1.0) -> float:
    """Pareto k-hat of importance weights, given their logarithms [N] (-inf: a weight of zero).

    The shape of a generalised Pareto distribution fitted to the largest M = min(N/5, 3 sqrt(N/r)) weights, r the
    relative efficiency, less the largest that is not among them. Up to 0.5 their variance is finite; up to 0.7
    estimates by importance sampling can be relied on; above 1 not even their mean is finite. nan with fewer than 25
    draws or 5 weights above the cutoff, and -inf if all weights of the tail are equal, which is as good as can be.
    """
    return _fit_tail(np.sort(_scaled(log_weights)), relative_efficiency).shape


def reliable_pareto_k(draws: int) -> float:
    """The largest Pareto k at which so many draws give a reliable answer: min(1 - 1/log10 N, 0.7).

    Vehtari et al. (2024), section 3.2.4; -inf for fewer than two draws.
    """
    return min(1 - 1 / math.log10(draws), _RELIABLE_K) if draws > 1 else -math.inf


def effective_sample_size(log_weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2, given log weights [N]; nan if all weights are zero."""
    weights = _scaled(log_weights)
    return float(weights.sum() ** 2 / (weights @ weights)) if weights.any() else math.nan


def normalised_perplexity(log_weights: np.ndarray) -> float:
    """exp(entropy of normalised weights) / N, given log weights [N]: 1/N if one has all, 1 if equal."""
    weights = _scaled(log_weights)
    if not weights.any():
        return math.nan
    shares = weights / weights.sum()
    # The smallest weights may round to a share of zero.
    shares = shares[shares > 0]
    return float(np.exp(-(shares @ np.log(shares))) / log_weights.size)


@dataclass(frozen=True)
class _Tail:
    """`size` weights above `cutoff`, less it, as a generalised Pareto distribution; no fit if shape is not finite."""

    shape: float
    scale: float
    cutoff: float
    size: int


def _fit_tail(weights: np.ndarray, relative_efficiency: float) -> _Tail:
    """The tail of float64 [N] in ascending order, the largest 1 (or all 0)."""
    none = _Tail(math.nan, math.nan, 0.0, 0)
    at_most = _TAIL_FACTOR * math.sqrt(weights.size / relative_efficiency)
    tail = math.ceil(min(_TAIL_SHARE * weights.size, at_most))
    if tail < _TAIL_AT_LEAST or not weights.any():
        return none
    cutoff = float(weights[-tail - 1])
    if weights[-1] == cutoff:
        return _Tail(-math.inf, math.nan, cutoff, 0)
    exceedances = weights[-tail:] - cutoff
    exceedances = exceedances[exceedances > 0]
    if exceedances.size < _TAIL_AT_LEAST:
        return none
    shape, scale = _fit_generalised_pareto(exceedances)
    return _Tail(shape, scale, cutoff, exceedances.size)


def _fit_generalised_pareto(x: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution of which float64 [N], ascending and positive, is a sample.

    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto
    distribution": the mean of theta over a grid, weighted by the profile likelihood, and the shape that goes
    with it; positive is heavy here. Then a weak prior on the shape: 10 draws of shape 0.5 more (Vehtari et al. 2024,
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
    return (size * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (size + _PRIOR_DRAWS), -shape / mean


def _pareto_quantiles(positions: np.ndarray, shape: float) -> np.ndarray:
    """Quantiles of the generalised Pareto distribution of scale 1; exponential where the shape is 0."""
    exponential = -np.log1p(-positions)
    quantiles: np.ndarray = np.expm1(shape * exponential) / shape if shape != 0 else exponential
    return quantiles


def _scaled(log_weights: np.ndarray) -> np.ndarray:
    """Weights with the largest as 1; all zero if the largest is."""
    largest = log_weights.max(initial=-np.inf)
    return np.exp(log_weights - largest) if largest > -np.inf else np.zeros(log_weights.shape)

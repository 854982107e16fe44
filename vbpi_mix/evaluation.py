"""Marginal log-likelihoods by importance sampling, for any mixture and any target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError, VbpiMixError
from vbpi_mix.estimators import (
    Estimator,
    Weighted,
    draw_components,
    log_importance_weights,
    miselbo,
    pooled_estimate,
    published_estimate,
)
from vbpi_mix.estimators.interfaces import Target, VariationalMixture
from vbpi_mix.pareto import effective_sample_size
from vbpi_mix.threads import timed_pieces

# Particles drawn at once, of all components together: enough to keep every thread busy, little memory.
PARTICLES_AT_ONCE = 2_000

_DAMAGED = "weights of draws from the mixture are no numbers: its parameters are damaged; fit anew"


@dataclass(frozen=True)
class MarginalLikelihood:
    """Estimates of log p(Y) from the same draws, and what was drawn.

    form  "published": mean over components of the log of the mean weight; "pooled": log of the mean over components
          and samples
    mean, sd  over `repeats` independent estimates (sd is NaN for one repeat)
    importance_samples  K, samples per component and estimate
    """

    form: str
    mean: float
    sd: float
    importance_samples: int
    repeats: int


@dataclass(frozen=True)
class Evaluation:
    """Both forms; the single-sample bound (MISELBO, L = 1) with its standard error; the last repeat's weights.

    effective_sample_size: of all A K weights of a repeat, the mean over repeats. log_weights: [A, K], each with log A pi_a
    added: equally many are drawn of every component, whatever its weight pi_a in the mixture.
    """

    estimates: tuple[MarginalLikelihood, MarginalLikelihood]
    elbo: float
    elbo_standard_error: float
    effective_sample_size: float
    log_weights: Tensor

    @property
    def published(self) -> MarginalLikelihood:
        """The published form: mean over components of the log of the mean weight."""
        return self.estimates[0]

    @property
    def pooled(self) -> MarginalLikelihood:
        """The pooled form: log of the mean weight over components and samples."""
        return self.estimates[1]


def evaluate(
    mixture: VariationalMixture[Any],
    target: Target[Any],
    *,
    importance_samples: int = 1000,
    repeats: int = 100,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Repeat the estimate with K = `importance_samples` of each of the A components, all A in the denominator.

    `progress` is told how many repeats are done, and of how many. Raises ConfigError unless both numbers are at
    least 1.
    """
    for name, value in (("importance samples", importance_samples), ("repeats", repeats)):
        if value < 1:
            raise ConfigError(f"{value} {name} asked for: give at least 1")
    own = mixture.log_weights if isinstance(mixture, Weighted) else None
    own = None if own is None else own.detach()
    published, pooled, bounds, sizes = [], [], [], []
    with timed_pieces() as pieces:
        for repeat in range(repeats):
            log_w = draw_log_weights(mixture, target, importance_samples, generator, own)
            published.append(float(published_estimate(log_w, own)))
            pooled.append(float(pooled_estimate(log_w, own)))
            bounds.append(float(log_w.mean() if own is None else miselbo(log_w, 1, torch.softmax(own, 0))))
            # Each counts for its component.
            counted = log_w if own is None else log_w + (torch.log_softmax(own, 0) + math.log(len(own)))[:, None]
            sizes.append(effective_sample_size(counted.numpy().ravel()))
            pieces.ended()
            if progress is not None:
                progress(repeat + 1, repeats)
    elbo, sd = _moments(bounds)
    error = sd / math.sqrt(repeats) if repeats > 1 else _error_of_bound(log_w, own)
    return Evaluation(
        estimates=(
            MarginalLikelihood("published", *_moments(published), importance_samples, repeats),
            MarginalLikelihood("pooled", *_moments(pooled), importance_samples, repeats),
        ),
        elbo=elbo,
        elbo_standard_error=error,
        effective_sample_size=sum(sizes) / repeats,
        log_weights=counted,
    )


def draw_log_weights(
    mixture: VariationalMixture[Any],
    target: Target[Any],
    samples: int,
    generator: torch.Generator,
    log_weights: Tensor | None = None,
) -> Tensor:
    """Log importance weights [A, K] of K = `samples` draws of each component, all A in the denominator by their log weights
    [A], None if uniform.

    VbpiMixError if some are no numbers: what a mixture has learned is then not what any training leaves.
    """
    draw = draw_components(Estimator.A2A, mixture.n_components, None, generator)
    at_once = max(1, PARTICLES_AT_ONCE // mixture.n_components)
    parts = []
    # What is no number is told below, once, and not by numpy.
    with torch.no_grad(), np.errstate(all="ignore"):
        for first in range(0, samples, at_once):
            try:
                draws = mixture.sample(draw, min(at_once, samples - first), generator)
            except np.linalg.LinAlgError as error:
                raise VbpiMixError(f"{_DAMAGED} ({error})") from error
            densities = target.log_likelihood(draws), target.log_prior(draws), draws.log_q
            parts.append(log_importance_weights(*densities, log_weights=log_weights))
    log_w = torch.cat(parts, dim=1)
    if bool(log_w.isnan().any()):
        raise VbpiMixError(_DAMAGED)
    return log_w


def _error_of_bound(log_w: Tensor, log_weights: Tensor | None) -> float:
    """The standard error of the mean of log w [A, K] over components of these log weights [A], None if uniform."""
    if log_weights is None:
        return float(log_w.std() / math.sqrt(log_w.numel()))
    variances = log_w.var(1) / log_w.shape[1]
    return float((torch.softmax(log_weights, 0) ** 2 * variances).sum().sqrt())


def _moments(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation."""
    series = torch.tensor(values, dtype=torch.float64)
    return float(series.mean()), float(series.std()) if len(values) > 1 else math.nan

"""Model parameters as draws have them: mean, sd and 95% interval of each, by the name that MrBayes's .p files give it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbpi_mix.phylo.models.characters import CharacterModel, ParameterName

TREE_LENGTH = ParameterName("TL", None)
INTERVAL = 0.95


@dataclass(frozen=True)
class ParameterSummary:
    """Posterior mean with its Monte Carlo error, standard deviation, and the ends of the central 95% interval. partition: the
    part of the data that it is of, None if of all. Tree length TL is in expected substitutions per site, summed over edges.
    """

    name: str
    partition: str | None
    mean: float
    error: float
    sd: float
    lower: float
    upper: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for summary.json; what is not a number is null."""
        numbers = {name: getattr(self, name) for name in ("mean", "error", "sd", "lower", "upper")}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"name": self.name, "partition": self.partition, **finite}


def reported_values(
    lengths: np.ndarray, theta: np.ndarray | None, characters: CharacterModel | None
) -> tuple[tuple[ParameterName, ...], np.ndarray]:
    """Names and values [N, k] of draws with lengths [N, E] and parameters theta [N, D]: tree length first."""
    total = lengths.sum(axis=1, keepdims=True)
    if characters is None or theta is None:
        return (TREE_LENGTH,), total
    return (TREE_LENGTH, *characters.names), np.concatenate([total, characters.values(theta)], axis=1)


def summarise(
    names: Sequence[ParameterName], values: np.ndarray, shares: np.ndarray | None = None
) -> tuple[ParameterSummary, ...]:
    """Of values [N, k] of draws with shares [N] that sum to one; equal ones if they are not given."""
    if shares is None:
        shares = np.full(values.shape[0], 1.0 / values.shape[0])
    mean = shares @ values
    residual = values - mean
    # The spread of a weighted mean of independent draws (delta method; Owen, "Monte Carlo theory", chapter 9).
    error = np.sqrt((shares[:, None] ** 2 * residual**2).sum(axis=0))
    sd = np.sqrt(shares @ residual**2)
    tail = 0.5 * (1.0 - INTERVAL)
    found = []
    for k, name in enumerate(names):
        lower, upper = _quantiles(values[:, k], shares, (tail, 1.0 - tail))
        found.append(ParameterSummary(name.name, name.part, float(mean[k]), float(error[k]), float(sd[k]), lower, upper))
    return tuple(found)


def _quantiles(values: np.ndarray, shares: np.ndarray, at: Sequence[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(shares[order])
    places = np.searchsorted(cumulative, np.asarray(at) * cumulative[-1])
    return [float(value) for value in values[order][np.minimum(places, values.size - 1)]]

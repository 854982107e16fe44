"""How good a fit is: its divergence from a sample of topologies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.trees.credible import count_to_hold


@dataclass(frozen=True)
class Divergence:
    """KL(p || q) over topologies, where q may lack some topologies of p.

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

"""What likelihoods read of a model, and the derivatives that they hand back.

Shapes: M distinct parameter vectors of one part, T trees, S states, C rate categories.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rates(NamedTuple):
    """M parameter vectors of one part: Q = V diag(values) V^-1 and the rates of sites.

    Q has one expected substitution per site and unit of length in equilibrium. Every site has the rate of one of C
    categories, by which lengths are multiplied, or does not change at all.

    vectors      float64 [M, S, S], V
    inverse      float64 [M, S, S], V^-1
    values       float64 [M, S], eigenvalues of Q
    frequencies  float64 [M, S], of the states in equilibrium
    rates        float64 [M, C], scaled so that the mean over all sites, the invariant ones included, is what it should be
    weights      float64 [M, C], probabilities of the categories: they sum to 1 - invariant
    invariant    float64 [M], share of sites that do not change
    """

    vectors: np.ndarray
    inverse: np.ndarray
    values: np.ndarray
    frequencies: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    invariant: np.ndarray


class RateSlopes(NamedTuple):
    """Derivatives of T log-likelihoods, each in the parameter vector of its own tree, every entry taken by itself.

    matrix       float64 [T, S, S], in the entries of Q; scaling and reversibility are left to the chain rule
    frequencies  float64 [T, S], as those of the root and of invariant sites, besides what they do through Q
    rates        float64 [T, C]
    weights      float64 [T, C]
    invariant    float64 [T]
    """

    matrix: np.ndarray
    frequencies: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    invariant: np.ndarray

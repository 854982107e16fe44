"""A weighted answer against a tree sample or a fit: split frequencies, and total variation over topologies."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.assess.comparison import TopologyDistribution, WeightedComparison
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, average_standard_deviation, unite


def compare_weighted(
    splits: SplitFrequencies, children: np.ndarray, probabilities: np.ndarray, reference: TopologyDistribution
) -> WeightedComparison:
    """Internal splits, and distinct canonical topologies int32 [U, n-2, 2] with probabilities float64 [U]."""
    return WeightedComparison(
        asdsf=average_standard_deviation(unite(splits, reference.splits)),
        total_variation=total_variation(probabilities, np.exp(reference.log_probability(children))),
    )


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half of sum |p - q| over all topologies, p being 0 on all but the U of float64 [U]; q is exact on them."""
    elsewhere = max(0.0, 1.0 - float(q.sum()))
    return float(np.abs(p - q).sum() + elsewhere) / 2

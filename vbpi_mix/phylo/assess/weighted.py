"""A weighted answer against a tree sample or a fit: split frequencies, and total variation over topologies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.assess.comparison import TopologyDistribution
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, average_standard_deviation, unite


@dataclass(frozen=True)
class WeightedComparison:
    """asdsf: average standard deviation of split frequencies; total_variation: in [0, 1], over topologies."""

    asdsf: float
    total_variation: float

    def as_dict(self) -> dict[str, float]:
        """Under the keys that `compare` reports."""
        return {"asdsf_weighted": self.asdsf, "total_variation_weighted": self.total_variation}


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

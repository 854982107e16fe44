"""The log-normal base density: draws and densities of log-lengths under R components, and their gradient.

The log-length of an edge is z + LOG_LENGTH_SHIFT with z ~ Normal(mean, sd); mean and log sd are sums of learned
features of the edge: its split, and with PSP features also the primary subsplit pairs at its two ends (pendant edges
have one). Zhang and Matsen (2019), "Variational Bayesian phylogenetic inference", section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vbpi_mix.phylo.branches.base import EdgeBatch, LengthApproximation
from vbpi_mix.phylo.branches.kernels import lognormal as kernels
from vbpi_mix.phylo.branches.tabular import Tabular


class LogNormal(Tabular):
    """branches.base.BaseDensity of normal log-lengths, independent given the tree."""

    name = "lognormal"
    columns = ("mean", "log_sd")
    kernels = kernels
    parallel_trees = 32

    def _arrays(self, batch: EdgeBatch, noise: np.ndarray) -> kernels.NormalPass:
        (trees, edges), components = noise.shape, batch.evaluated.size
        return kernels.NormalPass(
            rows=batch.rows,
            own=batch.own,
            evaluated=batch.evaluated,
            noise=noise,
            draws=np.empty((trees, edges)),
            log_q=np.empty((trees, components)),
            means=np.empty((trees, components, edges)),
            precisions=np.empty((trees, components, edges)),
        )

    def _upstream(self, draws: np.ndarray, log_q: np.ndarray) -> tuple[Any, ...]:
        return (kernels.Upstream(draws, log_q),)

    def features_of(self, approximation: LengthApproximation) -> np.ndarray:
        """Mean, less the shift, and log sd [T, E, 2] of the normals with the least KL divergence from normal to gamma."""
        mean, sd = approximation.mode - 0.5 / approximation.shape, 1.0 / np.sqrt(approximation.shape)
        return np.stack([mean - self.shift, np.log(sd)], axis=2)

    def summaries(self, sums: np.ndarray) -> Mapping[str, np.ndarray]:
        """Median and mean length, in expected substitutions per site, and sd of the log-length, of sums [..., 2]."""
        centre, sd = sums[..., 0] + self.shift, np.exp(sums[..., 1])
        return {"median": np.exp(centre), "mean": np.exp(centre + 0.5 * sd**2), "log_sd": sd}

"""The log-normal base density: draws and densities of log-lengths under R components, and their gradient.

The log-length of an edge is z + LOG_LENGTH_SHIFT with z ~ Normal(mean, sd); mean and log sd are sums of learned
features of the edge: its split, and with PSP features also the primary subsplit pairs at its two ends (pendant edges
have one). Zhang and Matsen (2019), "Variational Bayesian phylogenetic inference", section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BasePass, EdgeBatch, LengthApproximation
from vbpi_mix.phylo.branches.kernels import lognormal as kernels
from vbpi_mix.phylo.branches.kernels.profiles import number_distinct

# A branch that has learned nothing has a median of exp(-2) = 0.135 substitutions per site.
LOG_LENGTH_SHIFT = -2.0
# Fewer trees times components than this are worked on by one thread: about 0.1 ms of work.
PARALLEL_TREES = 32


@dataclass(frozen=True, eq=False)
class NormalPass:
    """Draws [T, E] and their log densities [T, R]; the batch, and what kernels.NormalPass holds for the gradient."""

    batch: EdgeBatch
    features_shape: tuple[int, ...]
    arrays: kernels.NormalPass

    @property
    def draws(self) -> np.ndarray:
        """float64 [T, E]."""
        draws: np.ndarray = self.arrays.draws
        return draws

    @property
    def log_q(self) -> np.ndarray:
        """float64 [T, R]."""
        log_q: np.ndarray = self.arrays.log_q
        return log_q


class LogNormal:
    """branches.base.BaseDensity of normal log-lengths, independent given the tree."""

    name = "lognormal"
    columns = ("mean", "log_sd")
    shift = LOG_LENGTH_SHIFT

    def initial_features(self, n_features: int, n_components: int, generator: torch.Generator) -> Tensor:
        """Tables float64 [A, n_features, 2], Xavier-uniform per component."""
        bound = math.sqrt(6.0 / (n_features + 2))
        uniform = torch.rand(n_components, n_features, 2, generator=generator, dtype=torch.float64)
        return (uniform.mul_(2.0).sub_(1.0).mul_(bound)).requires_grad_()

    def noise(self, trees: int, edges: int, generator: torch.Generator) -> np.ndarray:
        """Standard normals [T, E]."""
        return torch.randn(trees, edges, generator=generator, dtype=torch.float64).numpy()

    def sample(self, features: np.ndarray, batch: EdgeBatch, noise: np.ndarray) -> NormalPass:
        """As the contract says, in one pass of a kernel."""
        (trees, edges), components = noise.shape, batch.evaluated.size
        arrays = kernels.NormalPass(
            rows=batch.rows,
            own=batch.own,
            evaluated=batch.evaluated,
            noise=noise,
            draws=np.empty((trees, edges)),
            log_q=np.empty((trees, components)),
            means=np.empty((trees, components, edges)),
            precisions=np.empty((trees, components, edges)),
        )
        chunks = min(batch.threads, trees) if trees * components >= PARALLEL_TREES else 1
        if chunks > 1:
            kernels.sample_in_parallel(chunks, features, arrays)
        else:
            kernels.sample(0, trees, features, arrays)
        return NormalPass(batch, features.shape, arrays)

    def pull_back(self, done: BasePass, draws: np.ndarray, log_q: np.ndarray) -> RowGradient:
        """As the contract says: rows of the first evaluated component, then those of the next."""
        assert isinstance(done, NormalPass)
        batch, n_features = done.batch, done.features_shape[1]
        numbers = np.empty(batch.rows.size, np.int64)
        touched = number_distinct(batch.rows.reshape(-1), np.full(n_features, -1), numbers)
        components = batch.evaluated.size
        tables = np.empty((components, touched.size, 2))
        upstream = kernels.Upstream(draws, log_q)
        several = components > 1 and batch.own.size * components >= PARALLEL_TREES
        run = kernels.pull_back_in_parallel if batch.threads > 1 and several else kernels.pull_back
        run(done.arrays, numbers.reshape(batch.rows.shape), upstream, tables)
        rows = (batch.evaluated[:, None] * n_features + touched).reshape(-1)
        return RowGradient(rows, tables.reshape(-1, 2))

    def features_of(self, approximation: LengthApproximation) -> np.ndarray:
        """Mean, less the shift, and log sd [T, E, 2] of the normals with the least KL divergence from normal to gamma."""
        mean, sd = approximation.mode - 0.5 / approximation.shape, 1.0 / np.sqrt(approximation.shape)
        return np.stack([mean - self.shift, np.log(sd)], axis=2)

    def summaries(self, sums: np.ndarray) -> Mapping[str, np.ndarray]:
        """Median and mean length, in expected substitutions per site, and sd of the log-length, of sums [..., 2]."""
        centre, sd = sums[..., 0] + self.shift, np.exp(sums[..., 1])
        return {"median": np.exp(centre), "mean": np.exp(centre + 0.5 * sd**2), "log_sd": sd}

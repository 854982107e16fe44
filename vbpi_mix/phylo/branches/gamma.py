"""The gamma base density: draws and densities of lengths under R components, and their gradient.

A length is exp(mode + shift) G / shape with G ~ Gamma(shape); mode and log shape are sums of learned features of the edge.
With an exponential prior and substitutions that are nearly Poisson this is nearly what a length's posterior is, down to
edges along which nothing changed. Gradients through G are by implicit reparameterisation (Figurnov, Mohamed and Mnih 2018,
"Implicit reparameterization gradients").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.branches.base import BasePass, EdgeBatch, LengthApproximation
from vbpi_mix.phylo.branches.kernels import gamma as kernels
from vbpi_mix.phylo.branches.kernels.gamma_function import HIGH_LOG_SHAPE, LOW_LOG_SHAPE, gamma_tables, log_gamma_draw
from vbpi_mix.phylo.branches.kernels.profiles import number_distinct
from vbpi_mix.phylo.branches.lognormal import LOG_LENGTH_SHIFT

# Fewer trees times components than this are worked on by one thread: about 0.1 ms of work.
PARALLEL_TREES = 16


@dataclass(frozen=True, eq=False)
class GammaDraws:
    """Draws [T, E] and their log densities [T, R]; the batch, and what kernels.GammaPass holds for the gradient."""

    batch: EdgeBatch
    features_shape: tuple[int, ...]
    arrays: kernels.GammaPass

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


class Gamma:
    """branches.base.BaseDensity of gamma lengths, independent given the tree."""

    name = "gamma"
    columns = ("mode", "log_shape")
    shift = LOG_LENGTH_SHIFT

    def initial_features(self, n_features: int, n_components: int, generator: torch.Generator) -> Tensor:
        """Tables float64 [A, n_features, 2], Xavier-uniform per component: shapes near 1, which is exponential."""
        bound = math.sqrt(6.0 / (n_features + 2))
        uniform = torch.rand(n_components, n_features, 2, generator=generator, dtype=torch.float64)
        return (uniform.mul_(2.0).sub_(1.0).mul_(bound)).requires_grad_()

    def noise(self, trees: int, edges: int, generator: torch.Generator) -> np.ndarray:
        """Standard normals [T, E]: a draw is the quantile that the normal has, so that no draw is ever rejected."""
        return torch.randn(trees, edges, generator=generator, dtype=torch.float64).numpy()

    def sample(self, features: np.ndarray, batch: EdgeBatch, noise: np.ndarray) -> GammaDraws:
        """As the contract says, in one pass of a kernel."""
        (trees, edges), components = noise.shape, batch.evaluated.size
        arrays = kernels.GammaPass(
            rows=batch.rows,
            own=batch.own,
            evaluated=batch.evaluated,
            noise=noise,
            draws=np.empty((trees, edges)),
            log_q=np.empty((trees, components)),
            draw_slopes=np.empty((trees, edges)),
            scores=np.empty((trees, components, edges, 2)),
        )
        chunks = min(batch.threads, trees) if trees * components >= PARALLEL_TREES else 1
        if chunks > 1:
            kernels.sample_in_parallel(chunks, features, gamma_tables(), arrays)
        else:
            kernels.sample(0, trees, features, gamma_tables(), arrays)
        return GammaDraws(batch, features.shape, arrays)

    def pull_back(self, done: BasePass, draws: np.ndarray, log_q: np.ndarray) -> RowGradient:
        """As the contract says: rows of the first evaluated component, then those of the next."""
        assert isinstance(done, GammaDraws)
        batch, n_features = done.batch, done.features_shape[1]
        numbers = np.empty(batch.rows.size, np.int64)
        touched = number_distinct(batch.rows.reshape(-1), np.full(n_features, -1), numbers)
        components = batch.evaluated.size
        tables = np.empty((components, touched.size, 2))
        several = components > 1 and batch.own.size * components >= PARALLEL_TREES
        run = kernels.pull_back_in_parallel if batch.threads > 1 and several else kernels.pull_back
        run(done.arrays, numbers.reshape(batch.rows.shape), draws, log_q, tables)
        rows = (batch.evaluated[:, None] * n_features + touched).reshape(-1)
        return RowGradient(rows, tables.reshape(-1, 2))

    def features_of(self, approximation: LengthApproximation) -> np.ndarray:
        """Mode, less the shift, and log shape [T, E, 2]: the approximation is of this family."""
        return np.stack([approximation.mode - self.shift, np.log(approximation.shape)], axis=2)

    def summaries(self, sums: np.ndarray) -> Mapping[str, np.ndarray]:
        """Median and mean length, in expected substitutions per site, and sd of the log-length, of sums [..., 2]."""
        mode, log_shape = sums[..., 0] + self.shift, np.clip(sums[..., 1], LOW_LOG_SHAPE, HIGH_LOG_SHAPE)
        shape = np.exp(log_shape)
        # The median is the draw whose noise is zero.
        tables, powers = gamma_tables(), np.empty(LANES)
        middle = [log_gamma_draw(tables, scale, 0.0, powers)[0] for scale in (shape**-0.5).ravel()]
        log_sd = torch.polygamma(1, torch.from_numpy(np.atleast_1d(shape))).sqrt().numpy().reshape(shape.shape)
        median = np.exp(mode + np.array(middle).reshape(shape.shape))
        return {"median": median, "mean": np.exp(mode), "log_sd": log_sd}

"""The gamma base density: draws and densities of lengths under R components, and their gradient.

A length is exp(mode + shift) G / shape with G ~ Gamma(shape); mode and log shape are sums of learned features of the edge.
With an exponential prior and substitutions that are nearly Poisson this is nearly what a length's posterior is, down to
edges along which nothing changed. Gradients through G are by implicit reparameterisation (Figurnov, Mohamed and Mnih 2018,
"Implicit reparameterization gradients").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.branches.base import EdgeBatch, LengthApproximation
from vbpi_mix.phylo.branches.kernels import gamma as kernels
from vbpi_mix.phylo.branches.kernels.gamma_function import HIGH_LOG_SHAPE, LOW_LOG_SHAPE, gamma_tables, log_gamma_draw
from vbpi_mix.phylo.branches.tabular import Tabular


class Gamma(Tabular):
    """branches.base.BaseDensity of gamma lengths, independent given the tree."""

    name = "gamma"
    columns = ("mode", "log_shape")
    kernels = kernels
    parallel_trees = 16

    def _arrays(self, batch: EdgeBatch, noise: np.ndarray) -> kernels.GammaPass:
        (trees, edges), components = noise.shape, batch.evaluated.size
        return kernels.GammaPass(
            rows=batch.rows,
            own=batch.own,
            evaluated=batch.evaluated,
            noise=noise,
            draws=np.empty((trees, edges)),
            log_q=np.empty((trees, components)),
            draw_slopes=np.empty((trees, edges)),
            scores=np.empty((trees, components, edges, 2)),
        )

    def _constants(self) -> tuple[Any, ...]:
        return (gamma_tables(),)

    def _upstream(self, draws: np.ndarray, log_q: np.ndarray) -> tuple[Any, ...]:
        return draws, log_q

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

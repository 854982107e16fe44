"""The planar flow of branch lengths (kernels/planar.py)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.branches.flows.kernel_flow import KernelFlow, aligned_tensor
from vbpi_mix.phylo.branches.kernels import planar


class Planar(KernelFlow):
    """Planar layers. w of splits starts Xavier-uniform; of pairs, and u and biases, zero."""

    kernels = planar

    def __init__(
        self,
        pendant: np.ndarray,
        n_splits: int,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
        *,
        layers: int,
    ) -> None:
        """As registry.FlowSpec says."""
        dtype = dtype or torch.float32
        self._stride = -(-layers // LANES) * LANES
        weights = aligned_tensor((pendant.size, 2 * self._stride), dtype)
        super().__init__("planar", weights, torch.zeros(layers, dtype=torch.float64))
        bound = math.sqrt(6.0 / (n_splits + 1))
        uniform = torch.rand(n_splits, layers, generator=generator, dtype=torch.float64)
        self._views()["weights"].detach()[:n_splits, 0] = uniform.mul_(2.0).sub_(1.0).mul_(bound).to(dtype)

    def _views(self) -> dict[str, Tensor]:
        halves = self.weights.view(self.weights.shape[0], 2, self._stride)
        return {"weights": halves[:, :, : self.biases.shape[0]], "biases": self.biases}

    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> planar.PlanarPass:
        trees, edges = profile_of.shape
        layers = self.biases.shape[0]
        return planar.PlanarPass(
            profile_of=profile_of,
            weights=sums,
            # A copy: the parameters may have moved before the pass goes back.
            biases=self.biases.detach().numpy().copy(),
            size=self._size,
            stride=self._stride,
            states=self._memory.take((trees, layers + 1, edges), np.float64),
            log_det=np.empty(trees),
        )

    def _new_gradient(self, run: planar.PlanarPass, draws: np.ndarray, log_det: np.ndarray) -> planar.PlanarGradient:
        trees, edges = run.profile_of.shape
        return planar.PlanarGradient(
            sums=self._memory.take((trees, edges, self._size), np.float64),
            activation=np.empty((trees, run.biases.shape[0])),
            draws=draws,
            log_det=log_det,
        )

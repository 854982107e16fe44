"""The planar flow of branch lengths (kernels/planar.py)."""

from __future__ import annotations

import numpy as np
import torch

from vbpi_mix.phylo.branches.flows.kernel_flow import KernelFlow
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
        super().__init__("planar", pendant.size, 2, layers, None, dtype)
        self._start(0, np.arange(n_splits), n_splits + 1, generator)

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

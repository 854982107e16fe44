"""RealNVP of branch lengths (kernels/realnvp.py)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.branches.flows.kernel_flow import KernelFlow, aligned_tensor
from vbpi_mix.phylo.branches.kernels import realnvp


class RealNVP(KernelFlow):
    """Affine coupling layers, pendant and internal edges conditioning in turn.

    In-weights of splits start Xavier-uniform; those of primary subsplit pairs, out-weights and biases start zero. So what a
    flow does to a tree with pairs that it has seldom seen is what it does to the splits of that tree.
    """

    kernels = realnvp

    def __init__(
        self,
        pendant: np.ndarray,
        n_splits: int,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
        *,
        layers: int,
        hidden: int,
    ) -> None:
        """As registry.FlowSpec says."""
        dtype = dtype or torch.float32
        self._hidden = hidden
        self._stride = -(-hidden // LANES) * LANES
        pairs, odd = divmod(layers, 2)
        weights = aligned_tensor((pendant.size, (3 * pairs + 2 * odd) * self._stride), dtype)
        super().__init__("realnvp", weights, aligned_tensor((layers, self._stride), torch.float64))
        bound = math.sqrt(6.0 / (n_splits + hidden))
        blocks = self._views()["weights"].detach()
        for kind in (realnvp.PENDANT, realnvp.INTERNAL):
            rows = np.flatnonzero(pendant[:n_splits] == (kind == realnvp.PENDANT))
            for layer in range(kind, layers, 2):
                uniform = torch.rand(rows.size, hidden, generator=generator, dtype=torch.float64)
                block = realnvp.block_offset(kind, layer, 1)
                blocks[torch.from_numpy(rows), block] = uniform.mul_(2.0).sub_(1.0).mul_(bound).to(dtype)

    def _views(self) -> dict[str, Tensor]:
        blocks = self.weights.view(self.weights.shape[0], -1, self._stride)
        return {"weights": blocks[:, :, : self._hidden], "biases": self.biases[:, : self._hidden]}

    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> realnvp.CouplingPass:
        trees, edges = profile_of.shape
        layers = self.biases.shape[0]
        take = self._memory.take
        return realnvp.CouplingPass(
            profile_of=profile_of,
            weights=sums,
            # A copy: the parameters may have moved before the pass goes back.
            biases=self.biases.detach().numpy().flatten(),
            size=self._size,
            stride=self._stride,
            states=take((trees, layers + 1, edges), np.float64),
            hidden=take((trees * layers * self._stride,), np.float64),
            sigmoid=take((trees, layers, edges), np.float64),
            log_det=np.empty(trees),
        )

    def _new_gradient(
        self, run: realnvp.CouplingPass, draws: np.ndarray, log_det: np.ndarray
    ) -> realnvp.CouplingGradient:
        take = self._memory.take
        return realnvp.CouplingGradient(
            hidden=take(run.hidden.shape, np.float64),
            shift=take(run.sigmoid.shape, np.float64),
            s=take(run.sigmoid.shape, np.float64),
            draws=draws,
            log_det=log_det,
        )

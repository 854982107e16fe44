"""RealNVP of branch lengths (kernels/realnvp.py)."""

from __future__ import annotations

import numpy as np
import torch

from vbpi_mix.phylo.branches.flows.kernel_flow import KernelFlow
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
        pairs, odd = divmod(layers, 2)
        super().__init__("realnvp", pendant.size, 3 * pairs + 2 * odd, hidden, layers, dtype)
        for kind in (realnvp.PENDANT, realnvp.INTERNAL):
            rows = np.flatnonzero(pendant[:n_splits] == (kind == realnvp.PENDANT))
            for layer in range(kind, layers, 2):
                self._start(realnvp.block_offset(kind, layer, 1), rows, n_splits + hidden, generator)

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

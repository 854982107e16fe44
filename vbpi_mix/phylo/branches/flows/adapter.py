"""A flow written in plain torch, under the contract through autograd: slow, and right before there are kernels for it.

What one writes is an `nn.Module` that takes the sums of weight rows of each edge [T, E, C] and base draws z [T, E], both
float64, to y [T, E] and log|det dy/dz| [T], tree by tree. Its own parameters are shared by all edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.flows.contract import FlowGradient, FlowPass, take_over

# Trees that go through the module at once when no gradient is needed.
TREES_AT_ONCE = 1_000


@dataclass(frozen=True, eq=False)
class TorchPass:
    """values [T, E] and log_det [T]; and what they came from: base draws, the rows touched [U], where among them the
    features of each edge are, int64 [T, E, 3] (U for none), their weights float64 [U, C], and the shared parameters.
    """

    values: np.ndarray
    log_det: np.ndarray
    draws: Tensor
    touched: np.ndarray
    places: Tensor
    weights: Tensor
    shared: dict[str, Tensor]


class TorchFlow:
    """flows.contract.BranchFlow of a module; `weights` [n_features, size] start zero, at which it must be the identity."""

    def __init__(
        self, name: str, module: nn.Module, n_features: int, size: int, dtype: torch.dtype | None = None
    ) -> None:
        """dtype: of the weights, float32 if not given; the module's parameters are as they come."""
        self.name = name
        self.weights = torch.zeros(n_features, size, dtype=dtype or torch.float32, requires_grad=True)
        self.shared = tuple(module.parameters())
        self._module = module

    @property
    def n_parameters(self) -> int:
        """Weights and shared parameters."""
        return sum(parameter.numel() for parameter in self._parameters().values())

    def forward(self, rows: np.ndarray, draws: np.ndarray) -> TorchPass:
        """As the contract says."""
        touched, places = np.unique(rows[rows >= 0], return_inverse=True)
        where = np.full(rows.shape, touched.size)
        where[rows >= 0] = places
        with torch.no_grad():
            weights = self.weights[torch.from_numpy(touched).long()].double()
            shared = {name: parameter.clone() for name, parameter in self._module.named_parameters()}
            base, index = torch.from_numpy(draws.copy()), torch.from_numpy(where)
            parts = [
                self._apply(shared, weights, index[i : i + TREES_AT_ONCE], base[i : i + TREES_AT_ONCE])
                for i in range(0, draws.shape[0], TREES_AT_ONCE)
            ]
        values, log_det = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return TorchPass(values, log_det, base, touched.astype(np.int64), index, weights, shared)

    def backward(self, done: FlowPass, values: np.ndarray, log_det: np.ndarray) -> FlowGradient:
        """As the contract says; the pass is made again, with a graph."""
        assert isinstance(done, TorchPass)
        with torch.enable_grad():
            shared = {name: value.detach().requires_grad_() for name, value in done.shared.items()}
            weights, draws = done.weights.detach().requires_grad_(), done.draws.detach().requires_grad_()
            outputs = self._apply(shared, weights, done.places, draws)
            upstream = torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(np.ascontiguousarray(log_det))
            found = torch.autograd.grad(outputs, (draws, weights, *shared.values()), upstream, materialize_grads=True)
        rows = RowGradient(done.touched, found[1].to(self.weights.dtype).numpy())
        return FlowGradient(found[0].contiguous().numpy(), rows, found[2:])

    def _apply(self, shared: dict[str, Tensor], weights: Tensor, places: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """The module on the sums of rows [U, C] at places [T, E, 3]."""
        padded = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])
        done: tuple[Tensor, Tensor] = functional_call(self._module, shared, (padded[places].sum(2), draws))
        return done

    def _parameters(self) -> dict[str, Tensor]:
        return {"weights": self.weights, **dict(self._module.named_parameters())}

    def state_dict(self) -> dict[str, Tensor]:
        """"weights" and the module's own."""
        return {name: parameter.detach() for name, parameter in self._parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As the contract says."""
        take_over(self._parameters(), state, "flow ", "of another support or another flow")

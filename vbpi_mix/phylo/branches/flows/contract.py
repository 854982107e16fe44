"""The contract of a normalising flow of log branch lengths, shared by the components of a mixture.

A flow takes the base draws z [T, E] of T trees to y = f(z), tree by tree. Its weights are rows, one for each branch
feature (split or primary subsplit pair); an edge has the sum of the rows of its features, so that the flow is the same
whatever the order of the edges and wherever the tree is rooted. Zhang (2020), "Improved variational Bayesian phylogenetic
inference with normalizing flows". What else it has is shared by all edges.

A flow starts as the identity, and not at a point that it cannot leave. tests/phylo/test_branch_flows.py holds every
flow of the registry to this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError
from vbpi_mix.gradients import RowGradient


class FlowPass(Protocol):
    """What `forward` made, with all that its gradient needs; nothing that happens later changes it."""

    @property
    def values(self) -> np.ndarray:
        """y, float64 [T, E]."""
        ...

    @property
    def log_det(self) -> np.ndarray:
        """log|det dy/dz|, float64 [T]."""
        ...


@dataclass(frozen=True, eq=False)
class FlowGradient:
    """The gradient of a pass: of the base draws float64 [T, E], of the weights, and of the shared parameters in turn."""

    draws: np.ndarray
    weights: RowGradient
    shared: tuple[Tensor, ...]


class BranchFlow(Protocol):
    """A flow of T trees at a time. rows int32 [T, E, 3] are the features of each edge, -1 for none."""

    @property
    def name(self) -> str:
        """As in the registry."""
        ...

    @property
    def weights(self) -> Tensor:
        """[n_features, size], a leaf with gradient; what the optimiser moves row by row."""
        ...

    @property
    def shared(self) -> Sequence[Tensor]:
        """Leaves that all edges share (biases); may be empty."""
        ...

    @property
    def n_parameters(self) -> int:
        """Without padding."""
        ...

    def forward(self, rows: np.ndarray, draws: np.ndarray) -> FlowPass:
        """y and log|det dy/dz| of base draws z float64 [T, E]."""
        ...

    def backward(self, done: FlowPass, values: np.ndarray, log_det: np.ndarray) -> FlowGradient:
        """Gradients, given those with respect to y float64 [T, E] and log|det J| [T]: at the parameters of when the pass
        was made, in memory of their own, the same however often asked for.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters by name, without padding."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a flow of the same shape; CheckpointError if it is of another."""
        ...


def take_over(parameters: Mapping[str, Tensor], state: Mapping[str, Any], what: str, otherwise: str) -> None:
    """Copy tensors of a checkpoint into parameters of the same names; CheckpointError if a shape differs."""
    with torch.no_grad():
        for name, mine in parameters.items():
            given = state.get(name)
            if not isinstance(given, Tensor) or given.shape != mine.shape:
                found = list(given.shape) if isinstance(given, Tensor) else "nothing"
                raise CheckpointError(
                    f"the checkpoint's {what}{name} have shape {found}, this model's {list(mine.shape)}: it is {otherwise}"
                )
            mine.copy_(given)

"""What a mixture draws: a step with all that its gradient needs, and the particles that estimators see.

Shapes: S components sampled and R evaluated of A, K particles of each, T = S K trees, E edges, D model parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BasePass
from vbpi_mix.phylo.branches.flows.contract import FlowGradient, FlowPass
from vbpi_mix.phylo.kernels import particles as kernels
from vbpi_mix.phylo.parameters import ParameterPass
from vbpi_mix.phylo.sbn.support import EncodedTopologies


class ComponentSelection(Protocol):
    """Which components are sampled and evaluated (estimators.ComponentDraw has this shape)."""

    @property
    def sampled(self) -> Tensor:
        """[S]."""
        ...

    @property
    def evaluated(self) -> Tensor:
        """[R]."""
        ...

    @property
    def own(self) -> Tensor:
        """[S]: the position of each sampled component among the evaluated."""
        ...


@dataclass(frozen=True, eq=False)
class Step:
    """A call of `sample` with all that its gradient needs: T trees, and each stage's own pass.

    own int64 [T], the place among the evaluated of the component that drew each tree; flow and parameters are None where
    there are none.
    """

    own: np.ndarray
    networks: kernels.Networks
    topologies: kernels.TopologyPass
    base: BasePass
    flow: FlowPass | None
    parameters: ParameterPass | None = None

    @property
    def edge_splits(self) -> np.ndarray:
        """The split of each edge, int32 [T, E]."""
        return np.asarray(self.topologies.rows[:, :, 0])


@dataclass(frozen=True, eq=False)
class StepGradient:
    """Of logits float64 [A, n_params]; of features, flattened to [A * n_features, C]; of the flow; of the densities of
    model parameters.
    """

    logits: Tensor
    features: RowGradient
    flow: FlowGradient | None
    parameters: Mapping[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class PhyloDraws:
    """S x K particles, tree t = s K + k.

    topologies: the T = S K encoded topologies. log_lengths: [S, K, E], natural logarithms of branch lengths in expected
    substitutions per site. log_q: [S, K, R], the density of topology, log-lengths and theta under each evaluated component.
    log_q_score: [S, K], log q_s(tau) of the component that drew it. theta: [S, K, D], the model's parameters on their
    unconstrained scale; None for a model without any.
    """

    topologies: EncodedTopologies
    log_lengths: Tensor
    log_q: Tensor
    log_q_score: Tensor
    step: Step
    theta: Tensor | None = None

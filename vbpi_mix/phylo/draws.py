"""What a mixture draws: a step with all that its gradient needs, and the particles that estimators see.

Shapes: S components sampled and R evaluated of A, K particles of each, T = S K trees, E edges, D model parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.flows.contract import FlowGradient, FlowPass
from vbpi_mix.phylo.parameters import ParameterPass
from vbpi_mix.phylo.sbn.support import EncodedTopologies
from vbpi_mix.phylo.tables import Drawn


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
    """A call of `sample` with all that its gradient needs: T trees, and each stage's own pass; flow and parameters are None
    where there are none.
    """

    drawn: Drawn
    flow: FlowPass | None
    parameters: ParameterPass | None = None


@dataclass(frozen=True, eq=False)
class StepGradient:
    """Of the tables of logits and of features, as their layout has them (tables.py); of the flow; of the densities of model
    parameters.
    """

    logits: Tensor | RowGradient
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

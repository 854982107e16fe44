"""The variational family: a mixture of A subsplit Bayesian networks, each with a base density of branch lengths, and a flow.

The flow, if there is one, is shared: the mixture is over base densities, and the density of a point under component j is
that of its base point, the same for all j, times the flow's Jacobian. A flow for each component would
put the point elsewhere under each, and their average would not be the density of one point.

What estimators see is `PhyloMixture.sample`: particles of the sampled components with their densities under the
evaluated ones. Everything that grows with A is one batched operation in a kernel. A step is a value: draws carry all that
their gradient needs, and may be pulled back late, or twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BaseDensity, make_base
from vbpi_mix.phylo.branches.flows.contract import BranchFlow, take_over
from vbpi_mix.phylo.draws import ComponentSelection, PhyloDraws, Step, StepGradient
from vbpi_mix.phylo.parameters import ParameterDensity
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.averages import log_average
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport
from vbpi_mix.phylo.tables import Family, Request, make_tables

BRANCH_MODELS = ("psp", "split")
# Share of the random start that is added to given features: enough to tell components apart.
SHARE_OF_NOISE = 0.1


class PhyloMixture:
    """A components with parameters `logits` float64 [A, n_params] and `features` float64 [A, n_features, C], C columns as
    the base density has them, the `flow` that they share, or None, the densities of the model's `parameters`, or None, and
    `log_weights` [A], logits of the mixture weights, None if they are uniform.
    """

    def __init__(
        self,
        support: SubsplitSupport,
        n_components: int,
        *,
        generator: torch.Generator,
        branch_model: str = "psp",
        logits: np.ndarray | None = None,
        features: np.ndarray | None = None,
        flow: BranchFlow | None = None,
        base: BaseDensity | None = None,
        pair_rate: float = 1.0,
        parameters: ParameterDensity | None = None,
        side_by_side: torch.dtype | None = None,
        learn_weights: bool = False,
    ) -> None:
        """Start from flat SBNs, or from given logits [A, n_params], or [n_params] for all components.

        branch_model: "psp" has features of splits and of primary subsplit pairs, "split" only of the former; ConfigError
        for another. Features start at random, or at the given features [n_features, C] with a little noise for each
        component. base: the log-normal if not given. pair_rate: how fast the rows of primary subsplit pairs learn, of
        features and flow, compared with those of splits. side_by_side: the type of tables
        that have the components side by side (tables.py); None for one after the other, in doubles. learn_weights: whether
        the weights of the components are learned, from uniform ones on.
        """
        if branch_model not in BRANCH_MODELS:
            raise ConfigError(f"branch model {branch_model!r} is unknown: give {' or '.join(BRANCH_MODELS)}")
        self.support = support
        self.branch_model = branch_model
        self.base = make_base() if base is None else base
        self._n_components = n_components
        start = np.zeros(support.n_params) if logits is None else logits
        rows = support.n_splits if branch_model == "split" else support.n_features
        table = self.base.initial_features(rows, n_components, generator)
        if features is not None:
            with torch.no_grad():
                table.mul_(SHARE_OF_NOISE).add_(torch.from_numpy(features[:rows]))
        family = Family(support, self.base, branch_model == "split")
        whole = np.broadcast_to(start, (n_components, support.n_params))
        self._tables = make_tables(family, whole, table, side_by_side)
        self.logits, self.features = self._tables.logits, self._tables.features
        self.flow = flow
        self.parameters = parameters
        self.log_weights = torch.zeros(n_components, dtype=torch.float64, requires_grad=True) if learn_weights else None
        self._pair_rate = pair_rate

    @property
    def n_components(self) -> int:
        """A."""
        return self._n_components

    @property
    def log_shares(self) -> np.ndarray | None:
        """Logarithms of the mixture weights, float64 [A], which sum to 1; None if they are uniform."""
        return None if self.log_weights is None else torch.log_softmax(self.log_weights.detach(), 0).numpy()

    @property
    def shares(self) -> np.ndarray:
        """The mixture weights, float64 [A]."""
        log_shares = self.log_shares
        return np.full(self._n_components, 1.0 / self._n_components) if log_shares is None else np.exp(log_shares)

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> PhyloDraws:
        """K = `particles` trees with branch lengths of each sampled component.

        Topologies come by ancestral sampling, log-lengths reparameterised; random numbers are drawn here, in an order
        that does not depend on threads.
        """
        sampled, n_taxa = draw.sampled.shape[0], self.support.n_taxa
        trees = sampled * particles
        uniforms = torch.rand(trees, n_taxa - 1, generator=generator, dtype=torch.float64).numpy()
        noise = self.base.noise(trees, 2 * n_taxa - 3, generator)
        of_parameters = None if self.parameters is None else self.parameters.noise(trees, generator)
        own = np.repeat(draw.own.numpy(), particles)
        component = np.repeat(draw.sampled.numpy(), particles)
        request = Request(draw.sampled.numpy(), component, draw.evaluated.numpy(), own, uniforms, noise)
        step = self._step(request, of_parameters)
        outputs = self._outputs(step, (sampled, particles))
        if torch.is_grad_enabled():
            outputs = _Graph.apply(self, step, outputs, *self._parameters())
        theta = outputs[3] if self.parameters else None
        return PhyloDraws(step.drawn.topologies, outputs[2], outputs[0], outputs[1], step, theta)

    def _step(self, request: Request, of_parameters: np.ndarray | None) -> Step:
        """Topologies, base draws, flow and model parameters, one after the other."""
        drawn = self._tables.draw(request)
        flow = None if self.flow is None else self.flow.forward(drawn.topologies.rows, drawn.draws)
        parameters = None
        if self.parameters is not None and of_parameters is not None:
            parameters = self.parameters.sample(request.component, request.evaluated, of_parameters)
        return Step(drawn, flow, parameters)

    def pull_back(
        self, draws: PhyloDraws, log_q: Tensor, log_q_score: Tensor, points: np.ndarray
    ) -> dict[Tensor, Tensor | RowGradient]:
        """The gradients of all parameters from those of log_q [S, K, R], log_q_score [S, K] and the log-lengths, float64
        [T, E], and after them theta [T, D]: what differentiating through `sample` finds, in memory of their own.
        """
        trees = points.shape[0]
        found = self._gradient(draws.step, log_q.numpy().reshape(trees, -1), log_q_score.numpy().reshape(trees), points)
        logits, features = self._tables.learned
        gradients: dict[Tensor, Tensor | RowGradient] = {logits: found.logits, features: found.features}
        if self.flow is not None and found.flow is not None:
            gradients[self.flow.weights] = found.flow.weights
            gradients.update(zip(self.flow.shared, found.flow.shared, strict=True))
        gradients.update(found.parameters)
        return gradients

    def _gradient(self, step: Step, log_q: np.ndarray, score: np.ndarray, points: np.ndarray) -> StepGradient:
        """The gradients of a step from those of log_q [T, R], of the score [T], and of log-lengths and theta [T, E + D]."""
        of_flow, of_parameters = None, {}
        if self.parameters is not None and step.parameters is not None:
            splits = step.drawn.edge_splits
            points, theta = points[:, : splits.shape[1]], points[:, splits.shape[1] :]
            of_parameters = self.parameters.pull_back(step.parameters, splits, theta, points, log_q)
        if self.flow is not None and step.flow is not None:
            of_flow = self.flow.backward(step.flow, points, -log_q.sum(axis=1))
            points = of_flow.draws
        logits, features = self._tables.pull_back(step.drawn, points, log_q, score)
        return StepGradient(logits, features, of_flow, of_parameters)

    def log_topology_probability(self, topologies: EncodedTopologies) -> np.ndarray:
        """log q_a(tau) float64 [T, A]; -inf outside the support."""
        return sbn.log_probability(self.logits.detach().numpy(), self.support, topologies)

    def log_probability(self, topologies: EncodedTopologies) -> np.ndarray:
        """log q(tau) of the whole mixture, float64 [T]; -inf outside the support."""
        return log_average(self.log_topology_probability(topologies), self.log_shares)

    def _parameters(self) -> tuple[Tensor, ...]:
        """All, in the order of StepGradient."""
        of_flow = () if self.flow is None else (self.flow.weights, *self.flow.shared)
        of_parameters = () if self.parameters is None else self.parameters.learned()
        return (*self._tables.learned, *of_flow, *of_parameters)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for the SBNs, one for the branch features, two for the flow; of model parameters and mixture weights
        one each, if they are learned."""
        rates = np.full(self.support.n_features, self._pair_rate)
        rates[: self.support.n_splits] = 1.0
        groups = self._tables.groups(rates[: self.features.shape[1]])
        if self.flow is not None:
            groups += [
                {
                    "name": "flow",
                    "params": [self.flow.weights],
                    "by_row": True,
                    "row_multipliers": rates[: self.flow.weights.shape[0]],
                },
                {"name": "flow biases", "params": list(self.flow.shared)},
            ]
        if self.parameters is not None:
            groups.append({"name": "model", "params": list(self.parameters.learned())})
        if self.log_weights is not None:
            groups.append({"name": "weights", "params": [self.log_weights]})
        return groups

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters."""
        state: dict[str, Any] = {"logits": self.logits.detach(), "features": self.features.detach()}
        if self.flow is not None:
            state["flow"] = self.flow.state_dict()
        if self.parameters is not None:
            state["model_parameters"] = self.parameters.state_dict()
        if self.log_weights is not None:
            state["log_weights"] = self.log_weights.detach()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters of a mixture of the same shape; CheckpointError if they are of another."""
        if ("flow" in state) != (self.flow is not None):
            raise CheckpointError("only one of the checkpoint and this model has a flow of branch lengths")
        if ("log_weights" in state) != (self.log_weights is not None):
            raise CheckpointError("only one of the checkpoint and this model has learned mixture weights")
        own = {"logits": self.logits, "features": self.features}
        if self.log_weights is not None:
            own["log_weights"] = self.log_weights
        take_over(own, state, "", "of another support or number of components")
        if self.flow is not None:
            self.flow.load_state_dict(state["flow"])
        if self.parameters is not None:
            self.parameters.load_state_dict(state["model_parameters"])

    def _outputs(self, step: Step, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log_q [S, K, R], score [S, K], log_lengths [S, K, E] and theta [S, K, D] of a step; shape is (S, K)."""
        drawn, values = step.drawn, step.drawn.draws
        log_q = drawn.of_lengths + drawn.of_topology
        if step.flow is not None:
            log_q, values = log_q - step.flow.log_det[:, None], step.flow.values
        theta = np.empty((drawn.own.size, 0))
        if self.parameters is not None and step.parameters is not None:
            log_q, theta = log_q + step.parameters.log_q, step.parameters.theta
            values = values + self.parameters.shift(step.parameters, drawn.edge_splits)
        return (
            torch.from_numpy(log_q).view(*shape, -1),
            torch.from_numpy(drawn.log_q_score).view(shape),
            torch.from_numpy(values + self.base.shift).view(*shape, -1),
            torch.from_numpy(theta).view(*shape, theta.shape[1]),
        )


class _Graph(torch.autograd.Function):
    """apply(mixture, step, outputs, *parameters) -> the outputs, attached to the parameters."""

    @staticmethod
    def forward(
        ctx: Any, mixture: PhyloMixture, step: Step, outputs: tuple[Tensor, ...], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.mixture, ctx.step = mixture, step
        return outputs

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        mixture: PhyloMixture = ctx.mixture
        step: Step = ctx.step
        trees = step.drawn.own.size
        log_q, score, points, theta = (gradient.contiguous().numpy() for gradient in upstream)
        joined = np.concatenate([points.reshape(trees, -1), theta.reshape(trees, -1)], axis=1)
        found = mixture._gradient(step, log_q.reshape(trees, -1), score.reshape(trees), joined)
        of_tables = (
            each.dense(leaf) if isinstance(each, RowGradient) else each
            for each, leaf in zip((found.logits, found.features), mixture._tables.learned, strict=True)
        )
        of_parameters = tuple(found.parameters.values())
        if found.flow is None or mixture.flow is None:
            return None, None, None, *of_tables, *of_parameters
        weights = found.flow.weights.dense(mixture.flow.weights)
        return None, None, None, *of_tables, weights, *found.flow.shared, *of_parameters

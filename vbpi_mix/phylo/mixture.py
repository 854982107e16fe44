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

import numba
import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BaseDensity, EdgeBatch, make_base
from vbpi_mix.phylo.branches.flows.contract import BranchFlow, take_over
from vbpi_mix.phylo.draws import ComponentSelection, PhyloDraws, Step, StepGradient
from vbpi_mix.phylo.kernels import particles as kernels
from vbpi_mix.phylo.parameters import ParameterDensity
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

BRANCH_MODELS = ("psp", "split")
# Share of the random start that is added to given features: enough to tell components apart.
SHARE_OF_NOISE = 0.1
# Fewer particles times components than this are drawn on one thread: about 0.1 ms of work.
PARALLEL_PARTICLES = 32


class PhyloMixture:
    """A components with parameters `logits` float64 [A, n_params] and `features` float64 [A, n_features, C], C columns as
    the base density has them, the `flow` that they share, or None, and the densities of the model's `parameters`, or None.
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
    ) -> None:
        """Start from flat SBNs, or from given logits [A, n_params], or [n_params] for all components.

        branch_model: "psp" has features of splits and of primary subsplit pairs, "split" only of the former; ConfigError
        for another. Features start at random, or at the given features [n_features, C] with a little noise for each
        component. base: the log-normal if not given. pair_rate: how fast the rows of primary subsplit pairs learn, of
        features and flow, compared with those of splits.
        """
        if branch_model not in BRANCH_MODELS:
            raise ConfigError(f"branch model {branch_model!r} is unknown: give {' or '.join(BRANCH_MODELS)}")
        self.support = support
        self.branch_model = branch_model
        self.base = make_base() if base is None else base
        self._n_components = n_components
        start = np.zeros(support.n_params) if logits is None else logits
        self.logits = torch.from_numpy(np.broadcast_to(start, (n_components, support.n_params)).copy()).requires_grad_()
        rows = support.n_splits if branch_model == "split" else support.n_features
        self.features = self.base.initial_features(rows, n_components, generator)
        if features is not None:
            with torch.no_grad():
                self.features.mul_(SHARE_OF_NOISE).add_(torch.from_numpy(features[:rows]))
        self.flow = flow
        self.parameters = parameters
        self._pair_rate = pair_rate

    @property
    def n_components(self) -> int:
        """A."""
        return self._n_components

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
        step, topologies = self._step(draw, particles, uniforms, noise, of_parameters)
        outputs = self._outputs(step, (sampled, particles))
        if torch.is_grad_enabled():
            outputs = _Graph.apply(self, step, outputs, *self._parameters())
        return PhyloDraws(topologies, outputs[2], outputs[0], outputs[1], step, outputs[3] if self.parameters else None)

    def _step(
        self,
        draw: ComponentSelection,
        particles: int,
        uniforms: np.ndarray,
        noise: np.ndarray,
        of_parameters: np.ndarray | None,
    ) -> tuple[Step, EncodedTopologies]:
        """Topologies, base draws, flow and model parameters, one after the other."""
        support, trees = self.support, uniforms.shape[0]
        own, evaluated = np.repeat(draw.own.numpy(), particles), draw.evaluated.numpy()
        log_probabilities, probabilities = sbn.normalise(self.logits.detach().numpy(), support)
        networks = kernels.Networks(log_probabilities, probabilities, evaluated, support.groups, support.alone)
        encoded = EncodedTopologies.empty(trees, support.n_taxa)
        topologies = kernels.TopologyPass(
            component=np.repeat(draw.sampled.numpy(), particles),
            uniforms=uniforms,
            children=encoded.children,
            splits=encoded.splits,
            tripartitions=encoded.tripartitions,
            entries=encoded.entries,
            parameters=encoded.parameters,
            rows=encoded.rows,
            log_q=np.empty((trees, evaluated.size)),
            rooting=np.empty((trees, evaluated.size, encoded.splits.shape[1])),
        )
        threads = numba.get_num_threads()
        arguments = support.arrays, networks, self.branch_model == "split", topologies
        if threads > 1 and trees * evaluated.size >= PARALLEL_PARTICLES:
            kernels.draw_topologies_in_parallel(min(threads, trees), *arguments)
        else:
            kernels.draw_topologies(0, trees, *arguments)
        batch = EdgeBatch(encoded.rows, evaluated, own, threads)
        base = self.base.sample(self.features.detach().numpy(), batch, noise)
        flow = None if self.flow is None else self.flow.forward(encoded.rows, base.draws)
        parameters = None
        if self.parameters is not None and of_parameters is not None:
            parameters = self.parameters.sample(topologies.component, evaluated, of_parameters)
        return Step(own, networks, topologies, base, flow, parameters), encoded

    def pull_back(
        self, draws: PhyloDraws, log_q: Tensor, log_q_score: Tensor, points: np.ndarray
    ) -> dict[Tensor, Tensor | RowGradient]:
        """The gradients of all parameters from those of log_q [S, K, R], log_q_score [S, K] and the log-lengths, float64
        [T, E], and after them theta [T, D]: what differentiating through `sample` finds, in memory of their own.
        """
        trees = points.shape[0]
        found = self._gradient(draws.step, log_q.numpy().reshape(trees, -1), log_q_score.numpy().reshape(trees), points)
        gradients: dict[Tensor, Tensor | RowGradient] = {self.logits: found.logits, self.features: found.features}
        if self.flow is not None and found.flow is not None:
            gradients[self.flow.weights] = found.flow.weights
            gradients.update(zip(self.flow.shared, found.flow.shared, strict=True))
        gradients.update(found.parameters)
        return gradients

    def _gradient(self, step: Step, log_q: np.ndarray, score: np.ndarray, points: np.ndarray) -> StepGradient:
        """The gradients of a step from those of log_q [T, R], of the score [T], and of log-lengths and theta [T, E + D]."""
        of_flow, of_parameters = None, {}
        if self.parameters is not None and step.parameters is not None:
            edges = step.edge_splits.shape[1]
            points, theta = points[:, :edges], points[:, edges:]
            of_parameters = self.parameters.pull_back(step.parameters, step.edge_splits, theta, points, log_q)
        if self.flow is not None and step.flow is not None:
            of_flow = self.flow.backward(step.flow, points, -log_q.sum(axis=1))
            points = of_flow.draws
        features = self.base.pull_back(step.base, points, log_q)
        of_topology = log_q.copy()
        of_topology[np.arange(score.size), step.own] += score
        logits = torch.empty(self.logits.shape, dtype=torch.float64)
        several = log_q.shape[1] > 1 and log_q.size >= PARALLEL_PARTICLES
        run = kernels.gradients_in_parallel if several and numba.get_num_threads() > 1 else kernels.gradients
        run(step.networks, step.topologies, of_topology, logits.numpy())
        return StepGradient(logits, features, of_flow, of_parameters)

    def log_topology_probability(self, topologies: EncodedTopologies) -> np.ndarray:
        """log q_a(tau) float64 [T, A]; -inf outside the support."""
        return sbn.log_probability(self.logits.detach().numpy(), self.support, topologies)

    def _parameters(self) -> tuple[Tensor, ...]:
        """All, in the order of StepGradient."""
        of_flow = () if self.flow is None else (self.flow.weights, *self.flow.shared)
        of_parameters = () if self.parameters is None else self.parameters.learned()
        return (self.logits, self.features, *of_flow, *of_parameters)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for the SBNs, one for the branch features, two for the flow."""
        rates = np.full(self.support.n_features, self._pair_rate)
        rates[: self.support.n_splits] = 1.0
        groups: list[dict[str, Any]] = [
            {"name": "sbn", "params": [self.logits]},
            {
                "name": "branches",
                "params": [self.features],
                "by_row": True,
                "row_multipliers": np.tile(rates[: self.features.shape[1]], self._n_components),
            },
        ]
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
        return groups

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters."""
        state: dict[str, Any] = {"logits": self.logits.detach(), "features": self.features.detach()}
        if self.flow is not None:
            state["flow"] = self.flow.state_dict()
        if self.parameters is not None:
            state["model_parameters"] = self.parameters.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters of a mixture of the same shape; CheckpointError if they are of another."""
        if ("flow" in state) != (self.flow is not None):
            raise CheckpointError("only one of the checkpoint and this model has a flow of branch lengths")
        own = {"logits": self.logits, "features": self.features}
        take_over(own, state, "", "of another support or number of components")
        if self.flow is not None:
            self.flow.load_state_dict(state["flow"])
        if self.parameters is not None:
            self.parameters.load_state_dict(state["model_parameters"])

    def _outputs(self, step: Step, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log_q [S, K, R], score [S, K], log_lengths [S, K, E] and theta [S, K, D] of a step; shape is (S, K)."""
        of_topology, values = step.topologies.log_q, step.base.draws
        log_q = step.base.log_q + of_topology
        if step.flow is not None:
            log_q, values = log_q - step.flow.log_det[:, None], step.flow.values
        theta = np.empty((step.own.size, 0))
        if self.parameters is not None and step.parameters is not None:
            log_q, theta = log_q + step.parameters.log_q, step.parameters.theta
            values = values + self.parameters.shift(step.parameters, step.edge_splits)
        score = of_topology[np.arange(step.own.size), step.own]
        return (
            torch.from_numpy(log_q).view(*shape, -1),
            torch.from_numpy(score).view(shape),
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
        trees = step.own.size
        log_q, score, points, theta = (gradient.contiguous().numpy() for gradient in upstream)
        joined = np.concatenate([points.reshape(trees, -1), theta.reshape(trees, -1)], axis=1)
        found = mixture._gradient(step, log_q.reshape(trees, -1), score.reshape(trees), joined)
        features = found.features.dense(mixture.features)
        of_parameters = tuple(found.parameters.values())
        if found.flow is None or mixture.flow is None:
            return None, None, None, found.logits, features, *of_parameters
        weights = found.flow.weights.dense(mixture.flow.weights)
        return None, None, None, found.logits, features, weights, *found.flow.shared, *of_parameters

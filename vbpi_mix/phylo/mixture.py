"""The variational family: a mixture of A subsplit Bayesian networks, each with a log-normal branch model, and a flow.

The flow, if there is one, is shared: the mixture is over base densities, and the density of a point under component j is
that of its base point, which is one and the same for all j, times the flow's Jacobian. A flow for each component would
put the point elsewhere under each, and what is then averaged is no density of one point.

What estimators see is `PhyloMixture.sample`: particles of the sampled components with their densities under the
evaluated ones. Everything that grows with A is one batched operation in a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError
from vbpi_mix.phylo.branches.flows import BranchFlow, FlowPass, RowGradient, take_over
from vbpi_mix.phylo.branches.kernels.profiles import distinct
from vbpi_mix.phylo.branches.lognormal import LOG_LENGTH_SHIFT, initial_features
from vbpi_mix.phylo.kernels import particles as kernels
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

# Of the random start of features, if it is added to given ones: enough to tell components apart.
SHARE_OF_NOISE = 0.1
# Fewer particles times components than this are drawn on one thread: about 0.1 ms of work.
PARALLEL_PARTICLES = 32


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
class PhyloDraws:
    """S x K particles, tree t = s K + k.

    topologies: the T = S K encoded topologies. log_lengths: [S, K, E], natural logarithms of branch lengths in expected
    substitutions per site. log_q: [S, K, R], the density of topology and log-lengths under each evaluated component.
    log_q_score: [S, K], log q_s(tau) of the component that drew it.
    """

    topologies: EncodedTopologies
    log_lengths: Tensor
    log_q: Tensor
    log_q_score: Tensor
    step: _Step


class PhyloMixture:
    """A components with parameters `logits` float64 [A, n_params] and `features` float64 [A, n_features, 2], and the
    `flow` that they share, or None.
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
        pair_rate: float = 1.0,
    ) -> None:
        """Start from flat SBNs, or all components from the given logits [n_params].

        Features start at random, or at the given features [n_features, 2] with a little noise for each component.
        pair_rate: how fast the rows of primary subsplit pairs learn, of branch features and flow, compared with those of splits.
        """
        self.support = support
        self.branch_model = branch_model
        self._n_components = n_components
        start = np.zeros(support.n_params) if logits is None else logits
        self.logits = torch.from_numpy(np.tile(start, (n_components, 1))).requires_grad_()
        self.features = initial_features(support, n_components, branch_model, generator)
        if features is not None:
            with torch.no_grad():
                self.features.mul_(SHARE_OF_NOISE).add_(torch.from_numpy(features[: self.features.shape[1]]))
        self.flow = flow
        self._pair_rate = pair_rate
        self._pulled: _Step | None = None
        self._place = np.full(support.n_features, -1)
        # Where `pull_back` writes; kept, because taking and returning them every step costs more than filling them.
        self._gradients = torch.zeros_like(self.logits), torch.zeros_like(self.features)

    @property
    def n_components(self) -> int:
        """A."""
        return self._n_components

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> PhyloDraws:
        """K = `particles` trees with branch lengths of each sampled component.

        Topologies come by ancestral sampling, log-lengths reparameterised; random numbers are drawn here, in an order
        that does not depend on threads.
        """
        n_taxa = self.support.n_taxa
        trees = draw.sampled.shape[0] * particles
        uniforms = torch.rand(trees, n_taxa - 1, generator=generator, dtype=torch.float64).numpy()
        noise = torch.randn(trees, 2 * n_taxa - 3, generator=generator, dtype=torch.float64).numpy()
        step = _Step(self, draw, particles, uniforms, noise)
        if torch.is_grad_enabled():
            of_flow = () if self.flow is None else (self.flow.weights, self.flow.biases)
            log_q, score, log_lengths = _Sample.apply(step, self.logits, self.features, *of_flow)
        else:
            log_q, score, log_lengths = step.tensors(self.logits, self.features)
        return PhyloDraws(step.topologies, log_lengths, log_q, score, step)

    def pull_back(self, draws: PhyloDraws, log_q: Tensor, log_q_score: Tensor, points: np.ndarray) -> None:
        """Set the gradients of logits and features from those of log_q [S, K, R], log_q_score [S, K] and the
        log-lengths, float64 [T, E]: what differentiating through `sample` would leave in `.grad`.
        """
        logits, features = self._gradients
        trees = points.shape[0]
        draws.step.backward(
            log_q.numpy().reshape(trees, -1), log_q_score.numpy().reshape(trees), points, logits.numpy(), features.numpy()
        )
        self.logits.grad, self.features.grad = logits, features
        if self.flow is not None:
            self.flow.biases.grad = draws.step.bias_gradient

    def _feature_gradient(self) -> RowGradient | None:
        """The gradient of the features, of the last step pulled back, as the rows that it touched."""
        gradient = self.features.grad
        if gradient is None or self._pulled is None:
            return None
        step = self._pulled
        touched = distinct(step.topologies.rows.reshape(-1), self._place)
        rows = (step.evaluated[:, None] * self.features.shape[1] + touched).reshape(-1)
        return RowGradient(rows, gradient.numpy().reshape(-1, 2)[rows])

    def _flow_gradient(self) -> RowGradient | None:
        """The same of the flow's weights."""
        if self.flow is None or self.flow.biases.grad is None or self._pulled is None:
            return None
        return self._pulled.weight_gradient

    def log_topology_probability(self, topologies: EncodedTopologies) -> np.ndarray:
        """log q_a(tau) float64 [T, A]; -inf outside the support."""
        return sbn.log_probability(self.logits.detach().numpy(), self.support, topologies)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for the SBNs, one for the branch features, two for the flow."""
        rates = np.full(self.support.n_features, self._pair_rate)
        rates[: self.support.n_splits] = 1.0
        groups: list[dict[str, Any]] = [
            {"name": "sbn", "params": [self.logits]},
            {
                "name": "branches",
                "params": [self.features],
                "row_gradient": self._feature_gradient,
                "row_multipliers": np.tile(rates[: self.features.shape[1]], self._n_components),
            },
        ]
        if self.flow is not None:
            groups += [
                {
                    "name": "flow",
                    "params": [self.flow.weights],
                    "row_gradient": self._flow_gradient,
                    "row_multipliers": rates[: self.flow.weights.shape[0]],
                },
                {"name": "flow biases", "params": [self.flow.biases]},
            ]
        return groups

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters."""
        state: dict[str, Any] = {"logits": self.logits.detach(), "features": self.features.detach()}
        if self.flow is not None:
            state["flow"] = self.flow.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters of a mixture of the same shape; CheckpointError if they are of another."""
        if ("flow" in state) != (self.flow is not None):
            raise CheckpointError("of the checkpoint and this model, one has a flow of branch lengths and one has none")
        own = {"logits": self.logits, "features": self.features}
        take_over(own, state, "", "of another support or number of components")
        if self.flow is not None:
            self.flow.load_state_dict(state["flow"])


class _Step:
    """What one call of `sample` hands to the kernels and keeps for the gradient."""

    def __init__(
        self,
        mixture: PhyloMixture,
        draw: ComponentSelection,
        particles: int,
        uniforms: np.ndarray,
        noise: np.ndarray,
    ) -> None:
        support = mixture.support
        self.mixture = mixture
        self.support = support
        self.flow = mixture.flow
        self.flow_pass: FlowPass
        self.weight_gradient: RowGradient | None = None
        self.bias_gradient: Tensor | None = None
        self.shape = (draw.sampled.shape[0], particles)
        self.evaluated = draw.evaluated.numpy()
        self.split_only = mixture.branch_model == "split"
        trees, edges = noise.shape
        components = self.evaluated.size
        self.topologies = topologies = EncodedTopologies.empty(trees, support.n_taxa)
        self.particles = kernels.Particles(
            component=np.repeat(draw.sampled.numpy(), particles),
            own=np.repeat(draw.own.numpy(), particles),
            uniforms=uniforms,
            noise=noise,
            children=topologies.children,
            splits=topologies.splits,
            tripartitions=topologies.tripartitions,
            entries=topologies.entries,
            parameters=topologies.parameters,
            rows=topologies.rows,
            draws=np.empty((trees, edges)),
            log_q=np.empty((trees, components)),
            log_q_topology=np.empty((trees, components)),
            rooting=np.empty((trees, components, edges + 1)),
            means=np.empty((trees, components, edges)),
            precisions=np.empty((trees, components, edges)),
        )
        threads = numba.get_num_threads()
        self.chunks = min(threads, trees) if trees * components >= PARALLEL_PARTICLES else 1
        self.parallel_gradient = threads > 1 and components > 1 and trees * components >= PARALLEL_PARTICLES

    def forward(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log q [T, R], the topology's own log-probability [T], log-lengths [T, E]."""
        log_probabilities, self.probabilities = sbn.normalise(logits, self.support)
        arguments = (
            self.support.arrays, log_probabilities, self.probabilities, features, self.evaluated, self.split_only,
            self.particles,
        )  # fmt: skip
        if self.chunks > 1:
            kernels.draw_particles_in_parallel(self.chunks, *arguments)
        else:
            kernels.draw_particles(0, self.particles.noise.shape[0], *arguments)
        log_q, values = self.particles.log_q, self.particles.draws
        if self.flow is not None:
            self.flow_pass = self.flow.forward(self.topologies.rows, values)
            log_q, values = log_q - self.flow_pass.log_det[:, None], self.flow_pass.values
        return log_q, self._own(self.particles.log_q_topology), values + LOG_LENGTH_SHIFT

    def tensors(self, logits: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log_q [S, K, R], score [S, K], log_lengths [S, K, E]."""
        sampled, particles = self.shape
        log_q, score, log_lengths = self.forward(logits.detach().numpy(), features.detach().numpy())
        return (
            torch.from_numpy(log_q).view(sampled, particles, -1),
            torch.from_numpy(score).view(sampled, particles),
            torch.from_numpy(log_lengths).view(sampled, particles, -1),
        )

    def _own(self, values: np.ndarray) -> np.ndarray:
        """Of values [T, R], those of the component that drew each particle."""
        return values[np.arange(values.shape[0]), self.particles.own]

    def backward(
        self, log_q: np.ndarray, score: np.ndarray, log_lengths: np.ndarray, logits: np.ndarray, features: np.ndarray
    ) -> None:
        """Write the gradients of the logits and the features, given those of the three outputs, and keep the flow's."""
        self.mixture._pulled = self
        if self.flow is not None:
            log_lengths, self.weight_gradient, self.bias_gradient = self.flow.backward(
                self.flow_pass, log_lengths, -log_q.sum(axis=1)
            )
        topology = log_q.copy()
        topology[np.arange(score.size), self.particles.own] += score
        run = kernels.gradients_in_parallel if self.parallel_gradient else kernels.gradients
        run(
            self.evaluated, self.support.groups, self.support.alone, self.probabilities, self.particles, topology,
            log_q, log_lengths, logits, features,
        )  # fmt: skip


class _Sample(torch.autograd.Function):
    """apply(step, logits, features[, flow weights, flow biases]) -> log_q [S, K, R], score [S, K], log_lengths [S, K, E]."""

    @staticmethod
    def forward(ctx: Any, step: _Step, *parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.step = step
        ctx.shapes = [parameter.shape for parameter in parameters]
        return step.tensors(parameters[0], parameters[1])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        step: _Step = ctx.step
        trees = step.particles.own.size
        log_q, score, log_lengths = (gradient.contiguous().numpy() for gradient in upstream)
        logits, features = (torch.empty(shape, dtype=torch.float64) for shape in ctx.shapes[:2])
        step.backward(
            log_q.reshape(trees, -1), score.reshape(trees), log_lengths.reshape(trees, -1), logits.numpy(),
            features.numpy(),
        )  # fmt: skip
        if step.weight_gradient is None:
            return None, logits, features
        values = torch.from_numpy(step.weight_gradient.values)
        weights = torch.zeros(ctx.shapes[2], dtype=values.dtype)
        weights[torch.from_numpy(step.weight_gradient.rows)] = values
        return None, logits, features, weights, step.bias_gradient

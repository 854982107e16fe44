"""The variational family: a mixture of A subsplit Bayesian networks, each with a log-normal branch model.

What estimators see is `PhyloMixture.sample`: particles of the sampled components with their densities under the
evaluated ones. Everything that grows with A is one batched operation in a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError
from vbpi_mix.phylo import sbn
from vbpi_mix.phylo.branch_lengths import LOG_LENGTH_SHIFT, initial_features
from vbpi_mix.phylo.kernels import branches as branch_kernels
from vbpi_mix.phylo.kernels import subsplits as subsplit_kernels
from vbpi_mix.phylo.support import EncodedTopologies, SubsplitSupport


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


class PhyloMixture:
    """A components with parameters `logits` float64 [A, n_params] and `features` float64 [A, n_features, 2]."""

    def __init__(
        self,
        support: SubsplitSupport,
        n_components: int,
        *,
        generator: torch.Generator,
        branch_model: str = "psp",
        logits: np.ndarray | None = None,
    ) -> None:
        """Start from flat SBNs, or all components from the given logits [n_params]."""
        self.support = support
        self.branch_model = branch_model
        self._n_components = n_components
        start = np.zeros(support.n_params) if logits is None else logits
        self.logits = torch.from_numpy(np.tile(start, (n_components, 1))).requires_grad_()
        self.features = initial_features(support, n_components, branch_model, generator)

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
        log_q, score, log_lengths = _Sample.apply(self.logits, self.features, step)
        return PhyloDraws(step.topologies, log_lengths, log_q, score)

    def log_topology_probability(self, topologies: EncodedTopologies) -> np.ndarray:
        """log q_a(tau) float64 [T, A]; -inf outside the support."""
        return sbn.log_probability(self.logits.detach().numpy(), self.support, topologies)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for the SBNs, one for the branch features."""
        return [{"name": "sbn", "params": [self.logits]}, {"name": "branches", "params": [self.features]}]

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters."""
        return {"logits": self.logits.detach(), "features": self.features.detach()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters of a mixture of the same shape; CheckpointError if they are of another."""
        with torch.no_grad():
            for name, mine in (("logits", self.logits), ("features", self.features)):
                given = state.get(name)
                if not isinstance(given, Tensor) or given.shape != mine.shape:
                    found = list(given.shape) if isinstance(given, Tensor) else "nothing"
                    raise CheckpointError(
                        f"the checkpoint's {name} have shape {found}, this model's {list(mine.shape)}: "
                        "it is of another support or number of components"
                    )
                mine.copy_(given)


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
        self.support = mixture.support
        self.shape = (draw.sampled.shape[0], particles)
        self.evaluated = draw.evaluated.numpy()
        self.component = np.repeat(draw.sampled.numpy(), particles)
        self.own = np.repeat(draw.own.numpy(), particles)
        self.uniforms = uniforms
        self.noise = noise
        self.split_only = mixture.branch_model == "split"

    def forward(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log q [T, R], the topology's own log-probability [T], log-lengths [T, E]."""
        log_probabilities, self.probabilities = sbn.normalise(logits, self.support)
        topologies = sbn.draw_topologies(self.probabilities, self.support, self.component, self.uniforms)
        if self.split_only:
            topologies.rows[..., 1:] = -1
        self.topologies = topologies
        trees, components = self.component.size, self.evaluated.size
        edges = self.noise.shape[1]
        log_q = np.empty((trees, components))
        self.rooting = np.empty((trees, components, edges + 1))
        subsplit_kernels.log_q_forward(
            topologies.children, topologies.parameters, log_probabilities, self.evaluated, log_q, self.rooting
        )
        score = log_q[np.arange(trees), self.own]
        self.draws, log_q_lengths = np.empty((trees, edges)), np.empty((trees, components))
        self.means, self.precisions = np.empty((trees, components, edges)), np.empty((trees, components, edges))
        branch_kernels.base_forward(
            topologies.rows, features, self.own, self.evaluated, self.noise, self.draws, log_q_lengths, self.means,
            self.precisions,
        )  # fmt: skip
        log_q += log_q_lengths
        return log_q, score, self.draws + LOG_LENGTH_SHIFT

    def backward(
        self, log_q: np.ndarray, score: np.ndarray, log_lengths: np.ndarray, logits: np.ndarray, features: np.ndarray
    ) -> None:
        """Write the gradients of the logits and the features, given those of the three outputs."""
        upstream = log_q.copy()
        upstream[np.arange(score.size), self.own] += score
        topologies = self.topologies
        subsplit_kernels.log_q_backward(
            topologies.children, topologies.parameters, self.rooting, upstream, self.evaluated,
            self.support.group_start, self.probabilities, logits,
        )  # fmt: skip
        work = np.empty_like(self.draws)
        branch_kernels.base_backward(
            topologies.rows, self.own, self.evaluated, self.noise, self.draws, self.means, self.precisions, log_lengths,
            log_q, work, features,
        )  # fmt: skip


class _Sample(torch.autograd.Function):
    """apply(logits, features, step) -> log_q [S, K, R], score [S, K], log_lengths [S, K, E]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, features: Tensor, step: _Step) -> tuple[Tensor, Tensor, Tensor]:
        log_q, score, log_lengths = step.forward(logits.numpy(), features.numpy())
        ctx.step = step
        ctx.shapes = logits.shape, features.shape
        sampled, particles = step.shape
        return (
            torch.from_numpy(log_q).view(sampled, particles, -1),
            torch.from_numpy(score).view(sampled, particles),
            torch.from_numpy(log_lengths).view(sampled, particles, -1),
        )

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        step: _Step = ctx.step
        trees = step.component.size
        log_q, score, log_lengths = (gradient.contiguous().numpy() for gradient in upstream)
        logits, features = (torch.empty(shape, dtype=torch.float64) for shape in ctx.shapes)
        step.backward(
            log_q.reshape(trees, -1), score.reshape(trees), log_lengths.reshape(trees, -1), logits.numpy(),
            features.numpy(),
        )  # fmt: skip
        return logits, features, None

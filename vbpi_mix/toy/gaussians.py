"""Mixtures and ensembles of diagonal Gaussians in the plane.

Parameters, float64: means [A, 2], log_variances [A, 2], and logits [A] where the mixture weights are learned.
Shapes: A components, S sampled, R evaluated, K particles, B members of an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vbpi_mix.toy.kernels import plane
from vbpi_mix.toy.targets import LOG_TWO_PI, ToyTarget

# sqrt(3 / 2): torch's kaiming_uniform_ with gain 1 for two inputs, where the published experiment starts.
INITIAL_RANGE = 1.224744871391589

Start = Callable[[int], tuple[Tensor, Tensor]]


class ComponentSelection(Protocol):
    """Which components are sampled, [S], and evaluated, [R] (estimators.ComponentDraw has this shape)."""

    @property
    def sampled(self) -> Tensor: ...
    @property
    def evaluated(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class PlaneDraws:
    """Particles in the plane.

    z      [S, K, *B, 2]   positions, differentiable in the parameters of the component that drew them
    log_q  [S, K, R, *B]   log-density under each evaluated component
    """

    z: Tensor
    log_q: Tensor


def start_spread(generator: torch.Generator) -> Start:
    """Means and log-variances uniform in +-INITIAL_RANGE, as the funnel experiment starts."""

    def start(A: int) -> tuple[Tensor, Tensor]:
        values = torch.rand((2, A, 2), generator=generator, dtype=torch.float64)
        means, log_variances = values.mul_(2.0 * INITIAL_RANGE).sub_(INITIAL_RANGE)
        return means, log_variances

    return start


def start_standard(A: int) -> tuple[Tensor, Tensor]:
    """All components standard normal, as the ring and bimodal experiments start."""
    return torch.zeros((A, 2), dtype=torch.float64), torch.zeros((A, 2), dtype=torch.float64)


class _Gaussians:
    """The parameters that mixture and ensemble share."""

    def __init__(self, A: int, start: Start) -> None:
        means, log_variances = start(A)
        self.means = means.clone().requires_grad_()
        self.log_variances = log_variances.clone().requires_grad_()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The Gaussians, as one group."""
        return [{"name": "gaussians", "params": [self.means, self.log_variances]}]

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters by name."""
        return {"means": self.means, "log_variances": self.log_variances}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy into the parameters. KeyError or ValueError if the state is of another mixture."""
        with torch.no_grad():
            for name, parameter in self.state_dict().items():
                if state[name].shape != parameter.shape:
                    raise ValueError(f"{name} is {list(state[name].shape)}, not {list(parameter.shape)}")
                parameter.copy_(state[name])

    def ellipses(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the components, [A, 2] each, for pictures."""
        return self.means.detach(), torch.exp(0.5 * self.log_variances.detach())


class GaussianMixture(_Gaussians):
    """A components with uniform weights, or with learned ones: softmax(logits). The estimators' mixture."""

    def __init__(self, A: int, start: Start, learn_weights: bool = False) -> None:
        super().__init__(A, start)
        self.logits = torch.zeros(A, dtype=torch.float64, requires_grad=True) if learn_weights else None

    @property
    def n_components(self) -> int:
        """A."""
        return len(self.means)

    @property
    def log_weights(self) -> Tensor | None:
        """[A] unnormalised log mixture weights; None if they are uniform."""
        return self.logits

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The Gaussians, and the weights if they are learned."""
        groups = super().parameter_groups()
        if self.logits is not None:
            groups.append({"name": "weights", "params": [self.logits]})
        return groups

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters by name."""
        state = super().state_dict()
        if self.logits is not None:
            state["logits"] = self.logits
        return state

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> PlaneDraws:
        """K particles of each sampled component, and their densities under each evaluated one."""
        shape = (len(draw.sampled), particles, 2)
        return self.place(draw, torch.randn(shape, generator=generator, dtype=torch.float64))

    def place(self, draw: ComponentSelection, noise: Tensor) -> PlaneDraws:
        """The particles that standard normal `noise` [S, K, 2] becomes in the sampled components."""
        drawn = _SampleAndScore.apply(self.means, self.log_variances, noise, draw.sampled, draw.evaluated)
        return PlaneDraws(*drawn)

    def positions(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """About `draws` positions [N, 2], and the component of each [N].

        Each component gets as many, or as many as its learned weight makes it.
        """
        A = self.n_components
        if self.logits is None:
            labels = torch.arange(A).repeat(-(-draws // A))
        else:
            shares = torch.softmax(self.logits.detach(), 0)
            labels = torch.multinomial(shares, draws, replacement=True, generator=generator)
        means, deviations = self.ellipses()
        noise = torch.randn((len(labels), 2), generator=generator, dtype=torch.float64)
        return means[labels] + noise * deviations[labels], labels


class GaussianEnsemble(_Gaussians):
    """B Gaussians fitted each for itself: to the estimators, a data batch of B mixtures of one component."""

    n_components = 1

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> PlaneDraws:
        """K particles of each member, z [1, K, B, 2], with its own density only, log_q [1, K, 1, B]."""
        shape = (1, particles, *self.means.shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        z = self.means + noise * torch.exp(0.5 * self.log_variances)
        log_q = -0.5 * (noise**2 + self.log_variances).sum(-1) - LOG_TWO_PI
        return PlaneDraws(z, log_q.unsqueeze(2))

    def positions(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """About `draws` positions [N, 2], equally many of each member, and the member of each [N]."""
        return self.as_mixture().positions(draws, generator)

    def as_mixture(self) -> GaussianMixture:
        """The same Gaussians as a mixture with uniform weights: a deep ensemble evaluated by MISELBO."""
        return GaussianMixture(len(self.means), lambda A: (self.means.detach(), self.log_variances.detach()))


def resampled_positions(
    mixture: GaussianMixture, target: ToyTarget, L: int, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions [draws, 2], each picked from L draws by importance weight, and labels 0.

    It is the distribution whose divergence from the target is at most the gap of the bound with L importance
    samples (Domke and Sheldon 2018).
    """
    z, _ = mixture.positions(draws * L, generator)
    everything = torch.arange(mixture.n_components)
    log_q = _log_densities(mixture.means.detach(), mixture.log_variances.detach(), z, everything)
    log_w = target.log_joint(z) - torch.logsumexp(log_q, 1)
    picked = torch.multinomial(torch.softmax(log_w.view(draws, L), 1), 1, generator=generator)
    index = picked.unsqueeze(2).expand(-1, -1, 2)
    return z.view(draws, L, 2).gather(1, index)[:, 0], torch.zeros(draws, dtype=torch.long)


def _log_densities(means: Tensor, log_variances: Tensor, z: Tensor, evaluated: Tensor) -> Tensor:
    """log q_r(z), without a graph: z [M, 2] -> [M, R]."""
    log_q = z.new_empty((len(z), len(evaluated)))
    plane.log_density(means.numpy(), log_variances.numpy(), z.numpy(), evaluated.numpy(), log_q.numpy())
    return log_q


class _SampleAndScore(torch.autograd.Function):
    """Positions and log-densities as one node of the graph.

    Inputs: means, log_variances [A, 2], noise [S, K, 2], sampled [S], evaluated [R]. Outputs: z [S, K, 2],
    log_q [S, K, R].
    """

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_variances: Tensor, noise: Tensor, sampled: Tensor, evaluated: Tensor
    ) -> tuple[Tensor, Tensor]:
        means, log_variances, z = means.detach(), log_variances.detach(), torch.empty_like(noise)
        plane.sample(means.numpy(), log_variances.numpy(), noise.numpy(), sampled.numpy(), z.numpy())
        log_q = _log_densities(means, log_variances, z.view(-1, 2), evaluated)
        ctx.save_for_backward(means, log_variances, noise, sampled, evaluated, z)
        return z, log_q.view(*z.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        saved = ctx.saved_tensors
        total_z, grad_log_q = grads[0].clone(memory_format=torch.contiguous_format), grads[1].contiguous()
        filled = torch.zeros_like(saved[0]), torch.zeros_like(saved[1])
        plane.sample_gradient(*(tensor.numpy() for tensor in (*saved, grad_log_q, total_z, *filled)))
        return *filled, None, None, None

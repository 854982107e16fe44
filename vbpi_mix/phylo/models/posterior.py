"""The posterior that is approximated: a model's likelihood, a prior of branch lengths, and one of topologies.

Shapes: S components, K particles of each, T = S K trees, E = 2n-3 edges. Points are log branch lengths, and densities are
with respect to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.kernels import priors as kernels
from vbpi_mix.phylo.models.priors import ExponentialLengths, LengthPrior
from vbpi_mix.phylo.models.substitution import Likelihoods, SubstitutionModel, substitution_model
from vbpi_mix.phylo.models.topology_prior import TopologyPrior

if TYPE_CHECKING:
    from vbpi_mix.phylo.models.characters import CharacterModel
    from vbpi_mix.phylo.models.held import HeldPart


class TreeDraws(Protocol):
    """What the posterior reads of draws (draws.PhyloDraws has it)."""

    @property
    def topologies(self) -> Any:
        """With `children` int32 [T, n-2, 2]."""
        ...

    @property
    def log_lengths(self) -> Tensor:
        """[S, K, E]."""
        ...


@dataclass(frozen=True, eq=False)
class TargetGradients:
    """points: with respect to the log-lengths, float64 [T, E]. parameters: with respect to the model's, by name."""

    points: np.ndarray
    parameters: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Both factors of the posterior at draws, [S, K], and what their gradients are made of."""

    log_likelihood: Tensor
    log_prior: Tensor
    _lengths: np.ndarray
    _likelihoods: Likelihoods
    _branch_prior: LengthPrior

    def pull_back(self, likelihood: Tensor, prior: Tensor) -> TargetGradients:
        """Gradients, in arrays of their own, given those [S, K] with respect to log_likelihood and log_prior."""
        of_likelihood, of_prior = likelihood.numpy().ravel(), prior.numpy().ravel()
        points = self._likelihoods.length_slopes.copy()
        kernels.pull_back_to_log_lengths(points, self._lengths, self._branch_prior.kernel, of_likelihood, of_prior)
        return TargetGradients(points, _parameter_gradients(of_likelihood, self._likelihoods.parameter_slopes))


class Posterior:
    """log p(Y | tau, b) under a substitution model, and log p(tau) p(log b). Parameters are the model's.

    patterns: as the model packs them. constant: log p(tau) and the constant of p(log b), which `log_joint` leaves out.
    """

    def __init__(
        self,
        patterns: SitePatterns,
        model: SubstitutionModel | None = None,
        branch_prior: LengthPrior | None = None,
        topology_prior: TopologyPrior | None = None,
    ) -> None:
        self.model = model or substitution_model()
        self.branch_prior: LengthPrior = branch_prior or ExponentialLengths()
        self.n_taxa = patterns.states.shape[0]
        self._site_patterns = patterns
        self.patterns = self.model.pack(patterns)
        self.topology_prior = topology_prior or TopologyPrior(self.n_taxa)
        self.constant = self.topology_prior.log_probability + self.branch_prior.log_constant(2 * self.n_taxa - 3)

    def to(self, device: str) -> None:
        """Compute likelihoods there from now on (device.DEVICES): where the same numbers come from, but for rounding.

        ConfigError if there is no such device, or it has no kernels for the model.
        """
        self.model.to(device)
        self.patterns = self.model.pack(self._site_patterns)

    @property
    def site_patterns(self) -> tuple[SitePatterns, ...]:
        """Of every part of the data."""
        return tuple(part.patterns for part in self.held_parts) or (self._site_patterns,)

    @property
    def work(self) -> float:
        """Of one likelihood with its gradient, about, in taxa times patterns of JC69."""
        return self.n_taxa * self.model.work_of(self.patterns)

    @property
    def n_parameters(self) -> int:
        """D, of the model's parameters that are drawn with the trees; 0 here (joint.JointPosterior has them)."""
        return 0

    @property
    def characters(self) -> CharacterModel | None:
        """The model with the parameters that are drawn; None without any."""
        return None

    @property
    def held_parts(self) -> tuple[HeldPart, ...]:
        """The parts of the data with their parameters held, for the sampler; none under JC69, which has kernels of its own."""
        return self.model.held_parts

    def at(self, theta: np.ndarray | None) -> Posterior:
        """The posterior of trees and lengths, given the parameters [D]."""
        return self

    def parameters(self) -> Mapping[str, Tensor]:
        """The model's parameters by name."""
        return self.model.parameters()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The model's parameters, as an optimiser takes them."""
        parameters = self.model.parameters()
        return [{"name": "model", "params": list(parameters.values())}] if parameters else []

    def state_dict(self) -> dict[str, Tensor]:
        """The model's parameters."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the model's parameters. Raises CheckpointError if the state is of others."""
        self.model.load_state_dict(state)

    def log_likelihood(self, draws: TreeDraws) -> Tensor:
        """[S, K], differentiable in the log-lengths and the model's parameters."""
        value: Tensor = _LogLikelihood.apply(
            draws.log_lengths, draws.topologies.children, self, *self.model.parameters().values()
        )
        return value

    def log_prior(self, draws: TreeDraws) -> Tensor:
        """log p(tau) + log p(log b), [S, K]."""
        value: Tensor = _LogPrior.apply(draws.log_lengths, self.constant, self.branch_prior)
        return value

    def evaluate(self, draws: TreeDraws) -> Evaluated:
        """Both at once, and their gradients without a graph."""
        children = draws.topologies.children
        x = draws.log_lengths.numpy().reshape(children.shape[0], -1)
        lengths = np.exp(x)
        likelihoods = self.model.evaluate(children, lengths, self.patterns)
        prior = np.empty(children.shape[0])
        kernels.log_densities(x, lengths, self.branch_prior.kernel, self.constant, prior)
        shape = draws.log_lengths.shape[:-1]
        return Evaluated(
            torch.from_numpy(likelihoods.values).view(shape), torch.from_numpy(prior).view(shape),
            lengths, likelihoods, self.branch_prior,
        )  # fmt: skip

    def log_joint(self, children: np.ndarray, log_lengths: np.ndarray) -> np.ndarray:
        """log p(Y, tau, log b) [T], but for the constant of the priors; log-lengths float64 [T, E]."""
        lengths = np.exp(log_lengths)
        values = self.model.log_likelihoods(children, lengths, self.patterns)
        return values + self.branch_prior.log_density(log_lengths, lengths)

    def log_joint_slopes(self, children: np.ndarray, log_lengths: np.ndarray) -> np.ndarray:
        """Derivatives [T, E] of `log_joint` in the log-lengths."""
        lengths = np.exp(log_lengths)
        found = self.model.evaluate(children, lengths, self.patterns)
        return self.branch_prior.add_slopes(found.length_slopes, lengths)


def _parameter_gradients(upstream: np.ndarray, slopes: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Sums over trees of upstream [T] times slopes [T, *]."""
    return {name: torch.as_tensor(np.tensordot(upstream, values, axes=1)) for name, values in slopes.items()}


class _LogLikelihood(torch.autograd.Function):
    """apply(log_lengths [S, K, E], children [T, n-2, 2], posterior, *parameters) -> [S, K]; the gradient in the same
    pass."""

    @staticmethod
    def forward(ctx: Any, log_lengths: Tensor, children: np.ndarray, posterior: Posterior, *parameters: Tensor) -> Tensor:
        lengths = np.exp(log_lengths.numpy().reshape(children.shape[0], -1))
        model = posterior.model
        if any(ctx.needs_input_grad):
            found = model.evaluate(children, lengths, posterior.patterns)
            values, ctx.slopes = found.values, found.length_slopes * lengths
            ctx.parameter_slopes = {name: found.parameter_slopes[name] for name in model.parameters()}
        else:
            values = model.log_likelihoods(children, lengths, posterior.patterns)
        return torch.from_numpy(values).view(log_lengths.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        slope = upstream[0].numpy()
        points = torch.from_numpy(ctx.slopes * slope.reshape(-1, 1)).view(*slope.shape, -1)
        return points, None, None, *_parameter_gradients(slope.ravel(), ctx.parameter_slopes).values()


class _LogPrior(torch.autograd.Function):
    """apply(log_lengths [S, K, E], constant, prior) -> constant + log density, [S, K]."""

    @staticmethod
    def forward(ctx: Any, log_lengths: Tensor, constant: float, prior: LengthPrior) -> Tensor:
        x = log_lengths.numpy()
        lengths = np.exp(x)
        ctx.slopes = prior.log_length_slopes(lengths)
        return torch.from_numpy(prior.log_density(x, lengths) + constant)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return torch.from_numpy(upstream[0].numpy()[..., None] * ctx.slopes), None, None

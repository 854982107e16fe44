"""What the estimators need of a problem: a target and a mixture. Tree, image and toy code implement these.

A model conditions on data before it comes here: where there is a data batch, the objects that meet these
protocols already hold it. `Z` is the problem's own type of draws; estimators only read its densities.

Shapes: A components, S sampled, R evaluated, K particles of each sampled component, *B a data batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from vbpi_mix.estimators.components import ComponentDraw

# Of parameters: a tensor of the parameter's shape, or the rows of it that are not zero (vbpi_mix.gradients.RowGradient).
Gradients = Mapping[Tensor, Any]


@runtime_checkable
class Draws(Protocol):
    """Particles of the sampled components, with their densities.

    log_q  [S, K, R, *B] log-density of each particle under each evaluated component, differentiable in
           the parameters of all of them; -inf, as a constant, outside the support of a component
    """

    @property
    def log_q(self) -> Tensor: ...


@runtime_checkable
class ScoredDraws(Draws, Protocol):
    """Draws with a discrete part, for VIMCO.

    log_q_score  [S, K, *B] log-probability of the discrete part under the component that drew it
    """

    @property
    def log_q_score(self) -> Tensor: ...


Z_co = TypeVar("Z_co", bound=Draws, covariant=True)
Z_contra = TypeVar("Z_contra", bound=Draws, contravariant=True)


@runtime_checkable
class Target(Protocol[Z_contra]):
    """The unnormalised posterior, in its two factors so that either can be warmed up."""

    def log_likelihood(self, draws: Z_contra) -> Tensor:
        """log p(x|z), [S, K, *B]."""
        ...

    def log_prior(self, draws: Z_contra) -> Tensor:
        """log p(z), [S, K, *B]."""
        ...


@runtime_checkable
class VariationalMixture(Protocol[Z_co]):
    """A mixture of A components over the latent space."""

    @property
    def n_components(self) -> int:
        """A."""
        ...

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> Z_co:
        """Draw K = `particles` particles of each component in draw.sampled, and evaluate them under each
        in draw.evaluated. Continuous parts are reparameterised; all randomness is the generator's.
        """
        ...


@runtime_checkable
class Weighted(Protocol):
    """A mixture whose components need not count equally."""

    @property
    def log_weights(self) -> Tensor | None:
        """[A] log mixture weights, not normalised; None if they are uniform."""
        ...


@runtime_checkable
class Parameterised(Protocol):
    """A target with parameters of its own."""

    def parameters(self) -> Mapping[str, Tensor]:
        """Leaves by name."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The same in groups for the optimiser, each with a "name" and "params", a list."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """The parameters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Take them over, in place."""
        ...


class TargetGradients(Protocol):
    """What a target's evaluation pulls back."""

    @property
    def points(self) -> Any:
        """With respect to the continuous part of the draws, in the form that the mixture takes: of trees float64 [T, E],
        with respect to the log branch lengths.
        """
        ...

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """With respect to the target's own parameters, by name."""
        ...


class Evaluated(Protocol):
    """The densities of draws under a target, as a value: nothing that happens later changes them or their gradients."""

    @property
    def log_likelihood(self) -> Tensor:
        """[S, K]."""
        ...

    @property
    def log_prior(self) -> Tensor:
        """[S, K]."""
        ...

    def pull_back(self, likelihood: Tensor, prior: Tensor) -> TargetGradients:
        """Gradients, given those with respect to log_likelihood and log_prior [S, K]; in memory of their own, so that a
        second call gives the same and leaves the first as it was.
        """
        ...


class DirectTarget(Protocol[Z_contra]):
    """A target that carries gradients from its densities to the draws, and to parameters of its own, itself.

    One that has parameters is `Parameterised` too.
    """

    def evaluate(self, draws: Z_contra) -> Evaluated:
        """Both densities of the draws."""
        ...


class DirectMixture(Protocol[Z_contra]):
    """A mixture that carries gradients from its draws to its parameters itself."""

    def pull_back(self, draws: Z_contra, log_q: Tensor, log_q_score: Tensor, points: Any) -> Gradients:
        """The gradient of every parameter but the mixture weights, given those with respect to log_q [S, K, R], log_q_score
        [S, K] and the continuous part of the draws. Older draws are pulled back as well as the newest, and twice as well as once.
        """
        ...

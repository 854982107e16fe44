"""What the estimators need of a problem: a target and a mixture. Tree, image and toy code implement these.

A model conditions on data before it comes here: where there is a data batch, the objects that meet these
protocols already hold it. `Z` is the problem's own type of draws; estimators only read its densities.

Shapes: A components, S sampled, R evaluated, K particles of each sampled component, *B a data batch.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from vbpi_mix.estimators.components import ComponentDraw


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
class DirectTarget(Protocol[Z_contra]):
    """A target that carries gradients from its densities to the draws itself."""

    def evaluate(self, draws: Z_contra) -> Any:
        """A value with `log_likelihood` and `log_prior` [S, K], and `pull_back`, which takes the gradients with respect to
        these two and returns those of the continuous part of the draws (`points`, in whatever form the mixture takes it)
        and of the target's own parameters (`parameters`, by name).
        """
        ...


@runtime_checkable
class DirectMixture(Protocol[Z_contra]):
    """A mixture that carries gradients from its draws to its parameters itself."""

    def pull_back(self, draws: Z_contra, log_q: Tensor, log_q_score: Tensor, points: Any) -> None:
        """Set every parameter's `.grad`, given the gradients with respect to log_q [S, K, R], log_q_score [S, K] and
        the continuous part of the draws.
        """
        ...

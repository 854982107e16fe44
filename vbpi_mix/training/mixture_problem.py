"""Any mixture and any target, trained under any of the three estimators: the problem that the trainer gets.

Trees, images and toys differ only in the `VariationalMixture` and the `Target` that are put in here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    ComponentDraw,
    Estimator,
    Objective,
    StepWeights,
    Weighted,
    direct_vimco_objective,
    draw_components,
    inclusion_probabilities,
    log_importance_weights,
    miselbo,
    outer_weights,
    pathwise_objective,
    vimco_objective,
)
from vbpi_mix.estimators.bounds import WarmUp
from vbpi_mix.estimators.interfaces import (
    DirectMixture,
    DirectTarget,
    Draws,
    Parameterised,
    Target,
    VariationalMixture,
)

# Most particles, of all components together, that an estimate draws at once; and most times that one is evaluated, since
# memory grows with both.
ESTIMATE_AT_ONCE, EVALUATED_AT_ONCE = 10_000, 160_000


class TrainableMixture(VariationalMixture[Any], Protocol):
    """A mixture with parameters."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser, as training.problem.Problem says."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Its parameters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Take them over, in place."""
        ...


@dataclass(frozen=True)
class BoundEstimate:
    """A bound, and the standard error of this Monte Carlo estimate of it."""

    mean: float
    standard_error: float


class MixtureProblem:
    """Raise MISELBO of `mixture` to `target` with S of A components and K particles of each.

    Where the mixture's weights are not uniform, S2A and S2S draw components in proportion to them. Draws with
    a data batch are trained on the mean bound of the batch. A validation is the A2A bound, whatever the
    training estimator.

    gradient   "vimco" where the draws have a discrete part (then L = K), else "pathwise"
    direct     whether target and mixture carry the gradient back themselves, without a graph (DirectTarget and
               DirectMixture); "vimco" with tempered likelihood only
    importance_samples   L of the pathwise bound
    warm_up    which factor beta tempers: see estimators.bounds.log_importance_weights
    validation_particles   of all components together, in each validation

    A target may have parameters of its own (Parameterised): they are trained and saved with those of the mixture.
    ConfigError if these do not fit together.
    """

    metric_names = ("miselbo", "miselbo_se")

    def __init__(
        self,
        kind: str,
        target: Target[Any],
        mixture: TrainableMixture,
        *,
        estimator: Estimator,
        sampled: int,
        particles: int,
        gradient: str = "vimco",
        direct: bool = False,
        importance_samples: int = 1,
        warm_up: WarmUp = "likelihood",
        validation_particles: int = 1_000,
    ) -> None:
        if gradient not in ("vimco", "pathwise"):
            raise ConfigError(f"gradient {gradient!r} is unknown: give 'vimco' or 'pathwise'")
        if particles < 1:
            raise ConfigError(f"K={particles} particles per component: give at least 1")
        self.kind = kind
        self.target = target
        self.mixture = mixture
        self._estimator = estimator
        self._sampled = sampled
        self._particles = particles
        self._gradient = gradient
        self._importance_samples = importance_samples
        self._warm_up = warm_up
        self._validation_particles = validation_particles
        self._weighted: Weighted | None = mixture if isinstance(mixture, Weighted) else None
        self._direct = direct
        # What the bound of each component was about in the last steps [A]; None where no step needs to know.
        self._expected: Tensor | None = None
        if direct and (gradient != "vimco" or warm_up != "likelihood"):
            raise ConfigError(
                "direct gradients are those of vimco with tempered likelihood: give direct=False for others"
            )
        # Refuse an impossible S, A and estimator before anything is written.
        draw_components(estimator, mixture.n_components, sampled, torch.Generator())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of the mixture, then those of the target."""
        own = self._target_with_parameters
        return self.mixture.parameter_groups() + ([] if own is None else own.parameter_groups())

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> Objective:
        """Draw components and particles, weigh them, and estimate the bound and its gradient."""
        A, S, log_mixture_weights = self.mixture.n_components, self._sampled, self._log_mixture_weights
        inclusion = None
        if log_mixture_weights is not None and S < A:
            inclusion = inclusion_probabilities(torch.softmax(log_mixture_weights.detach(), 0), S)
        draw = draw_components(self._estimator, A, S, generator, (), inclusion)
        if self._direct:
            return self._direct_objective(draw, inclusion, beta, generator)
        draws = self.mixture.sample(draw, self._particles, generator)
        log_w = self._log_weights(draw, draws, beta)
        outer = outer_weights(self._estimator, draw, log_mixture_weights, inclusion)
        if self._gradient == "vimco":
            objective = vimco_objective(log_w, draws.log_q_score, outer)
        else:
            objective = pathwise_objective(log_w, self._importance_samples, outer)
        if objective.bound.ndim == 0:
            return objective
        return Objective(objective.bound.mean(), objective.surrogate)

    def _direct_objective(
        self, draw: ComponentDraw, inclusion: Tensor | None, beta: float, generator: torch.Generator
    ) -> Objective:
        """As `objective`, of components that are drawn."""
        logits, weights = self._log_mixture_weights, None
        if logits is not None:
            if self._expected is None and inclusion is not None and self._estimator is Estimator.S2A:
                self._expected = self._bound_of_each(beta, generator)
            weights = StepWeights.of(self._estimator, draw, logits, inclusion, self._expected)
        with torch.no_grad():
            draws = self.mixture.sample(draw, self._particles, generator)
        target, mixture = cast(DirectTarget[Any], self.target), cast(DirectMixture[Any], self.mixture)
        objective = direct_vimco_objective(target, mixture, draws, beta, weights)
        if weights is not None:
            self._expected = weights.expected_next(objective.bounds)
        return objective

    def _bound_of_each(self, beta: float, generator: torch.Generator) -> Tensor:
        """[A] the bound of every component, from K particles of each."""
        draw = draw_components(Estimator.A2A, self.mixture.n_components, None, None)
        with torch.no_grad():
            draws = self.mixture.sample(draw, self._particles, generator)
            log_w = self._log_weights(draw, draws, beta)
            return torch.logsumexp(log_w, 1) - math.log(self._particles)

    def validate(self, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """The bound of the whole mixture now."""
        found = self.estimate(self._validation_particles, generator)
        return {"miselbo": found.mean, "miselbo_se": found.standard_error}

    def estimate(self, particles: int, generator: torch.Generator) -> BoundEstimate:
        """The A2A bound at beta = 1, from about `particles` particles, equally many of each component.

        Its L is that of training: K with VIMCO.
        """
        L = self._particles if self._gradient == "vimco" else self._importance_samples
        of_a_group = self.mixture.n_components * L
        groups = max(2, particles // of_a_group)
        most = min(ESTIMATE_AT_ONCE, EVALUATED_AT_ONCE // self.mixture.n_components)
        at_once = max(1, most // of_a_group)
        parts = [
            self._bounds(min(at_once, groups - done), L, generator) for done in range(0, groups, at_once)
        ]
        bounds = torch.cat(parts)
        return BoundEstimate(float(bounds.mean()), float(bounds.std()) / math.sqrt(groups))

    def _bounds(self, groups: int, L: int, generator: torch.Generator) -> Tensor:
        """[groups] independent estimates of the bound, each from L particles of every component."""
        with torch.no_grad():
            draw = draw_components(Estimator.A2A, self.mixture.n_components, None, None)
            draws = self.mixture.sample(draw, groups * L, generator)
            log_w = self._log_weights(draw, draws, 1.0).unflatten(1, (groups, L))
            outer = outer_weights(Estimator.A2A, draw, self._log_mixture_weights)
            return miselbo(log_w.transpose(1, 2), L, outer).reshape(groups, -1).mean(1)

    @property
    def _target_with_parameters(self) -> Parameterised | None:
        return self.target if isinstance(self.target, Parameterised) else None

    @property
    def _log_mixture_weights(self) -> Tensor | None:
        return None if self._weighted is None else self._weighted.log_weights

    def _log_weights(self, draw: ComponentDraw, draws: Draws, beta: float) -> Tensor:
        log_mixture_weights = self._log_mixture_weights
        return log_importance_weights(
            self.target.log_likelihood(draws),
            self.target.log_prior(draws),
            draws.log_q,
            beta=beta,
            warm_up=self._warm_up,
            log_weights=None if log_mixture_weights is None else log_mixture_weights[draw.evaluated],
        )

    def state_dict(self) -> Mapping[str, Any]:
        """That of the mixture; as "target" that of a target with parameters; and the bounds that learned weights expect."""
        own = self._target_with_parameters
        of_target = {} if own is None else own.state_dict()
        expected = {} if self._expected is None else {"expected_bounds": self._expected}
        return {**self.mixture.state_dict(), **({"target": of_target} if of_target else {}), **expected}

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Take over a state of the same mixture and target. ValueError if it expects bounds of other components."""
        self.mixture.load_state_dict(state)
        expected = state.get("expected_bounds")
        if expected is not None and expected.shape != (self.mixture.n_components,):
            raise ValueError(f"expected bounds of shape {list(expected.shape)} for A={self.mixture.n_components}")
        self._expected = expected
        if self._target_with_parameters is not None:
            self._target_with_parameters.load_state_dict(state.get("target", {}))

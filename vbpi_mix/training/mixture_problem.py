"""Any mixture and any target, trained under any of the three estimators: the problem that the trainer gets.

Trees, images and toys differ only in the `VariationalMixture` and the `Target` that are put in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    Estimator,
    Objective,
    draw_components,
    log_importance_weights,
    pathwise_objective,
    vimco_objective,
)
from vbpi_mix.estimators.bounds import WarmUp
from vbpi_mix.estimators.interfaces import Draws, Target, VariationalMixture


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


class MixtureProblem:
    """Raise MISELBO of `mixture` to `target` with S of A components and K particles of each.

    gradient   "vimco" where the draws have a discrete part (then L = K), else "pathwise"
    importance_samples   L of the pathwise bound
    warm_up    which factor beta tempers: see estimators.bounds.log_importance_weights
    """

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
        importance_samples: int = 1,
        warm_up: WarmUp = "likelihood",
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
        # Refuse an impossible S, A and estimator before anything is written.
        draw_components(estimator, mixture.n_components, sampled, torch.Generator())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of the mixture."""
        return self.mixture.parameter_groups()

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> Objective:
        """Draw components and particles, weigh them, and estimate the bound and its gradient."""
        draw = draw_components(self._estimator, self.mixture.n_components, self._sampled, generator)
        draws = self.mixture.sample(draw, self._particles, generator)
        log_w = self._log_weights(draws, beta)
        if self._gradient == "vimco":
            return vimco_objective(log_w, draws.log_q_score)
        return pathwise_objective(log_w, self._importance_samples)

    def _log_weights(self, draws: Draws, beta: float) -> Tensor:
        return log_importance_weights(
            self.target.log_likelihood(draws),
            self.target.log_prior(draws),
            draws.log_q,
            beta=beta,
            warm_up=self._warm_up,
        )

    def state_dict(self) -> Mapping[str, Any]:
        """That of the mixture."""
        return self.mixture.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Take over a state of the same mixture."""
        return self.mixture.load_state_dict(state)

"""A model of many data points, trained on mini-batches under any of the three estimators: what the trainer gets.

Each point has latents of its own, and so, unless asked otherwise, a subset of components of its own. Under a process group
(torchrun) every rank draws the random numbers of the whole batch and takes its own points, and gradients are averaged:
training is that of one process up to the order of sums.

Shapes: A components, S sampled, K = L particles, B data points of a batch (of this rank).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    ComponentDraw,
    Estimator,
    GradientName,
    Objective,
    doubly_reparameterised_objective,
    draw_components,
    log_importance_weights,
    log_mixture_density,
    miselbo,
    pathwise_objective,
)
from vbpi_mix.estimators.bounds import WarmUp
from vbpi_mix.estimators.interfaces import Gradients, Target, VariationalMixture
from vbpi_mix.parallel import Share, average_gradients, ranks, sum_over_ranks

PhiPer = Literal["point", "batch"]


class Batch(Protocol):
    """Data points that mixture and target are conditioned on."""

    @property
    def share(self) -> Share:
        """Which points of the batch of all ranks these are; the mixture draws noise for all of them."""
        ...

    @property
    def mixture(self) -> VariationalMixture[Any]: ...

    @property
    def target(self) -> Target[Any]: ...

    def diagnostics(self, draws: Any) -> tuple[Tensor, ...]:
        """[B] values of each of the names in `Batches.diagnostic_names`."""
        ...


class Batches(Protocol):
    """A model and its data. Which points make up a batch does not depend on what was asked before."""

    @property
    def n_components(self) -> int:
        """A."""
        ...

    @property
    def batch_size(self) -> int:
        """Points of a training batch, of all ranks together."""
        ...

    @property
    def iterations_per_epoch(self) -> int: ...

    @property
    def diagnostic_names(self) -> tuple[str, ...]: ...

    def training(self, iteration: int, generator: torch.Generator) -> Batch:
        """This rank's part of the batch of iteration t >= 1, the model in training mode."""
        ...

    def validation(self) -> Iterable[Batch]:
        """This rank's part of the held-out points, the model in evaluation mode."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]: ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


def check_components(estimator: str, A: int, S: int | None) -> None:
    """ConfigError unless the estimator is known and may sample S of A components."""
    draw_components(Estimator.parse(estimator), A, S, torch.Generator())


def check_gradient(gradient: GradientName, importance_samples: int) -> None:
    """ConfigError unless the gradient goes with so many samples inside the logarithm."""
    if gradient == "stl" and importance_samples > 1:
        raise ConfigError(f"gradient stl is for L = 1, not L = {importance_samples}: give dreg, or pathwise")


class BatchProblem:
    """Raise MISELBO of a model on mini-batches with S of A components, whose draws are reparameterised throughout.

    sampled            S; may be None for A2A
    importance_samples L, averaged inside the logarithm
    phi_per            "point": a subset of components for each data point; "batch": one for all of them
    warm_up            which factor beta tempers: see estimators.bounds.log_importance_weights
    gradient           "pathwise"; "stl" (L = 1) or "dreg": see estimators.reparameterised, whose RestatedDraws they need

    ConfigError if these do not fit together.
    """

    def __init__(
        self,
        kind: str,
        batches: Batches,
        *,
        estimator: Estimator,
        sampled: int | None,
        importance_samples: int = 1,
        phi_per: PhiPer = "point",
        warm_up: WarmUp = "kl",
        gradient: GradientName = "pathwise",
    ) -> None:
        if phi_per not in ("point", "batch"):
            raise ConfigError(f"phi_per must be point or batch, not {phi_per!r}")
        if importance_samples < 1:
            raise ConfigError(f"L={importance_samples} importance samples: give at least 1")
        check_gradient(gradient, importance_samples)
        n_ranks = ranks()[1]
        if batches.batch_size % n_ranks:
            raise ConfigError(
                f"batch size {batches.batch_size} is not a multiple of the {n_ranks} processes: make it one"
            )
        # Refuses an impossible S, A and estimator before anything is written.
        everything = draw_components(estimator, batches.n_components, sampled, torch.Generator())
        self.kind = kind
        self.batches = batches
        self.metric_names = ("miselbo", "reconstruction", "kl", *batches.diagnostic_names)
        # [A] how many data points each component was trained on as a sampled one.
        self.component_counts = torch.zeros(batches.n_components, dtype=torch.int64)
        self._estimator = estimator
        self._sampled = len(everything.sampled)
        self._importance_samples = importance_samples
        self._per_point = phi_per == "point"
        self._warm_up: WarmUp = warm_up
        self._gradient: GradientName = gradient

    @property
    def iterations_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.batches.iterations_per_epoch

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of the model."""
        return self.batches.parameter_groups()

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> Objective:
        """Bound and gradient on the batch of iteration t >= 1."""
        batch = self.batches.training(iteration, generator)
        draw = self._draw(self._estimator, batch.share.total, generator)
        self._count(draw, batch.share.total)
        objective = self._objective(batch, draw, beta, generator)
        bound = objective.bound.mean()
        n_ranks = ranks()[1]
        if n_ranks == 1:
            return Objective(bound, objective.surrogate)
        parameters = tuple(tensor for group in self.parameter_groups() for tensor in group["params"])
        return AveragedObjective(sum_over_ranks(bound / n_ranks), objective.surrogate, parameters)

    def _objective(self, batch: Batch, draw: ComponentDraw, beta: float, generator: torch.Generator) -> Objective:
        """That of this rank's points."""
        if self._gradient == "pathwise":
            return pathwise_objective(self._weigh(batch, draw, beta, generator).log_w, self._importance_samples)
        draws = self._sample(batch, draw, generator)
        if self._gradient == "dreg":
            return doubly_reparameterised_objective(batch.target, draws, beta, self._warm_up)
        return pathwise_objective(self._weighed(batch, draws.constant(draws.z), beta).log_w)

    def validate(self, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """Means over all held-out points at beta = 1, with S components drawn and all A in the denominator whatever the
        training estimator: an unbiased estimate of the A2A bound. L is that of training.

        miselbo; reconstruction, the mean of log p(x|z); kl, the mean of log q(z|x) - log p(z) (at L = 1 miselbo is their
        difference); and the model's own diagnostics.
        """
        totals = torch.zeros(len(self.metric_names), dtype=torch.float64)
        points = 0
        for batch in self.batches.validation():
            draw = self._draw(Estimator.S2A, batch.share.total, generator)
            with torch.no_grad():
                found = self._weigh(batch, draw, 1.0, generator)
                totals += self._metrics(batch, found)
            points += batch.share.total
        means = sum_over_ranks(totals) / points
        return dict(zip(self.metric_names, means.tolist(), strict=True))

    def _metrics(self, batch: Batch, found: Weighed) -> Tensor:
        """Sums over the points of a batch, in the order of the names; float64, on the CPU."""
        values = (
            miselbo(found.log_w, self._importance_samples),
            found.log_likelihood.mean((0, 1)),
            (log_mixture_density(found.draws.log_q) - found.log_prior).mean((0, 1)),
            *batch.diagnostics(found.draws),
        )
        return torch.stack([value.double().sum() for value in values]).cpu()

    def _weigh(self, batch: Batch, draw: ComponentDraw, beta: float, generator: torch.Generator) -> Weighed:
        """Draw latents of this rank's points and weigh them."""
        return self._weighed(batch, self._sample(batch, draw, generator), beta)

    def _sample(self, batch: Batch, draw: ComponentDraw, generator: torch.Generator) -> Any:
        """L latents of each of this rank's points and components."""
        return batch.mixture.sample(_of_share(draw, batch.share), self._importance_samples, generator)

    def _weighed(self, batch: Batch, draws: Any, beta: float) -> Weighed:
        """Draws with their weights."""
        log_likelihood, log_prior = batch.target.log_likelihood(draws), batch.target.log_prior(draws)
        log_w = log_importance_weights(log_likelihood, log_prior, draws.log_q, beta=beta, warm_up=self._warm_up)
        return Weighed(draws, log_likelihood, log_prior, log_w)

    def _draw(self, estimator: Estimator, points: int, generator: torch.Generator) -> ComponentDraw:
        """Components for all points of a batch, those of other ranks included."""
        batch_shape = (points,) if self._per_point else ()
        return draw_components(estimator, self.batches.n_components, self._sampled, generator, batch_shape)

    def _count(self, draw: ComponentDraw, points: int) -> None:
        times = 1 if draw.sampled.ndim == 2 else points
        self.component_counts += times * torch.bincount(draw.sampled.flatten(), minlength=self.batches.n_components)

    def state_dict(self) -> Mapping[str, Any]:
        """{"model": the model's state, "component_counts": [A]}."""
        return {"model": self.batches.state_dict(), "component_counts": self.component_counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same model, in place. RuntimeError or KeyError if it is of another."""
        self.batches.load_state_dict(state["model"])
        self.component_counts.copy_(state["component_counts"])


@dataclass(frozen=True, eq=False)
class Weighed:
    """Draws and their densities, [S, K, B]."""

    draws: Any
    log_likelihood: Tensor
    log_prior: Tensor
    log_w: Tensor


@dataclass(frozen=True)
class AveragedObjective(Objective):
    """An objective of this rank's points, whose gradient is averaged over ranks."""

    parameters: tuple[Tensor, ...]

    def backward(self) -> Gradients:
        """Leave minus the gradient estimate of the whole batch in every parameter's `.grad`."""
        found = super().backward()
        average_gradients(self.parameters)
        return found


def _of_share(draw: ComponentDraw, share: Share) -> ComponentDraw:
    """The draw for the points of a share; one that is the same for every point stays."""

    def part(rows: Tensor) -> Tensor:
        return rows if rows.ndim == 1 else share.of(rows, 1)

    return ComponentDraw(part(draw.sampled), part(draw.evaluated), part(draw.own))

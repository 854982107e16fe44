"""An image model and its data, as the trainer sees them.

Which images make up iteration t follows from (seed, t) alone, and all other randomness (binarisation, components, noise)
is the generator's, so a resumed run goes on bit for bit. Under a process group (torchrun) every rank draws the random
numbers of the whole batch and takes its own images, and gradients are averaged: training is that of one process up to
the order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    ComponentDraw,
    Estimator,
    Objective,
    draw_components,
    log_importance_weights,
    log_mixture_density,
    miselbo,
    pathwise_objective,
)
from vbpi_mix.image.mixture import ImageDraws, ImageMixture
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.networks import LOG_VARIANCE_RANGE
from vbpi_mix.image.target import ImageTarget
from vbpi_mix.parallel import Share, average_gradients, ranks, sum_over_ranks

PhiPer = Literal["point", "batch"]


class ImageProblem:
    """Raise MISELBO of a model on images with S of A components; KL warm-up by beta.

    model              on the device to train on
    training_images    [N, C, H, W], grey values in [0, 1], or uint8 to be divided by 255. Under the Bernoulli likelihood
                       each iteration draws pixels 0 or 1 with these probabilities.
    validation_images  [M, C, H, W], used as they are: binarised once, beforehand, under the Bernoulli likelihood
    sampled            S; may be None for A2A
    importance_samples L, averaged inside the logarithm
    phi_per            "point": a subset of components for each image; "batch": one for all of them, as published
    batch_size         images of an iteration, of all ranks together; what is left over of an epoch is dropped, and
                       another permutation leaves others over
    seed               of the order of the images

    ConfigError if these do not fit together.
    """

    kind = "image"
    metric_names = ("miselbo", "reconstruction", "kl", "clamped")

    def __init__(
        self,
        model: ImageModel,
        training_images: Tensor,
        validation_images: Tensor,
        *,
        estimator: Estimator,
        sampled: int | None,
        importance_samples: int = 1,
        phi_per: PhiPer = "point",
        batch_size: int = 100,
        seed: int = 1,
    ) -> None:
        if phi_per not in ("point", "batch"):
            raise ConfigError(f"phi_per must be point or batch, not {phi_per!r}")
        if importance_samples < 1:
            raise ConfigError(f"L={importance_samples} importance samples: give at least 1")
        A = model.spec.components
        # Refuses an impossible S, A and estimator before anything is written.
        S = len(draw_components(estimator, A, sampled, torch.Generator()).sampled)
        self._binary = model.spec.likelihood == "bernoulli"
        _check_images("training", training_images, model, False)
        _check_images("validation", validation_images, model, self._binary)
        _check_batch_size(batch_size, len(training_images))
        self.model = model
        # [A] how many images each component was trained on as a sampled one.
        self.component_counts = torch.zeros(A, dtype=torch.int64)
        self._training = training_images
        self._validation = validation_images
        self._estimator = estimator
        self._sampled = S
        self._importance_samples = importance_samples
        self._per_point = phi_per == "point"
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def iterations_per_epoch(self) -> int:
        """N // batch_size: an epoch of the command line is so many iterations of the trainer."""
        return len(self._training) // self._batch_size

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, "encoder" and "decoder"."""
        return [
            {"name": "encoder", "params": list(self.model.encoder.parameters())},
            {"name": "decoder", "params": list(self.model.decoder.parameters())},
        ]

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> Objective:
        """Bound and gradient on the batch of iteration t >= 1."""
        self.model.train()
        share = Share.of_this_rank(self._batch_size)
        images = self._training_batch(iteration, share, generator)
        draw = self._draw(self._estimator, share.total, generator)
        self._count(draw)
        made = self._evaluate(images, draw, share, beta, generator)
        objective = pathwise_objective(made.log_w, self._importance_samples)
        bound = objective.bound.mean()
        n_ranks = ranks()[1]
        if n_ranks == 1:
            return Objective(bound, objective.surrogate)
        return AveragedObjective(sum_over_ranks(bound / n_ranks), objective.surrogate, tuple(self.model.parameters()))

    def validate(self, iteration: int, generator: torch.Generator) -> dict[str, float]:
        """At beta = 1, in evaluation mode, over all validation images, with S components drawn for each and all A in the
        denominator whatever the training estimator, L as in training.

        miselbo; reconstruction, mean of log p(x|z); kl, mean of log q(z|x) - log p(z) (at L = 1 miselbo is their
        difference); clamped, the fraction of log-variances at either end of their range. Natural logarithms, per image.
        """
        self.model.eval()
        totals = torch.zeros(len(self.metric_names), dtype=torch.float64, device=self.model.device)
        for images in self._validation.split(self._batch_size):
            share = Share.of_this_rank(len(images))
            mine = self._to_model(share.of(images, 0))
            draw = self._draw(Estimator.S2A, share.total, generator)
            with torch.no_grad():
                made = self._evaluate(mine, draw, share, 1.0, generator)
                totals += self._metrics(made)
        means = sum_over_ranks(totals) / len(self._validation)
        return dict(zip(self.metric_names, means.tolist(), strict=True))

    def _metrics(self, made: Evaluated) -> Tensor:
        """Sums over images of the metrics, in their order."""
        low, high = LOG_VARIANCE_RANGE
        log_variance = made.draws.gaussians.log_variance
        parts = (
            miselbo(made.log_w, self._importance_samples),
            made.log_likelihood.mean((0, 1)),
            made.divergence.mean((0, 1)),
            ((log_variance <= low) | (log_variance >= high)).double().mean((0, 2)),
        )
        return torch.stack([part.double().sum() for part in parts])

    def _evaluate(
        self, images: Tensor, draw: ComponentDraw, share: Share, beta: float, generator: torch.Generator
    ) -> Evaluated:
        """Draw latents of the share's images and weigh them."""
        target = ImageTarget(self.model, images)
        draws = ImageMixture(self.model, images, share).sample(
            _of_share(draw, share), self._importance_samples, generator
        )
        log_likelihood, log_prior = target.log_likelihood(draws), target.log_prior(draws)
        log_w = log_importance_weights(log_likelihood, log_prior, draws.log_q, beta=beta, warm_up="kl")
        return Evaluated(draws, log_likelihood, log_prior, log_w)

    def _draw(self, estimator: Estimator, total: int, generator: torch.Generator) -> ComponentDraw:
        """Components for all images of a batch, those of other ranks included."""
        batch_shape = (total,) if self._per_point else ()
        return draw_components(estimator, self.model.spec.components, self._sampled, generator, batch_shape)

    def _count(self, draw: ComponentDraw) -> None:
        """Add the images of this batch to the counts of the components that were drawn for them."""
        times = 1 if draw.sampled.ndim == 2 else self._batch_size
        drawn = torch.bincount(draw.sampled.flatten(), minlength=self.model.spec.components)
        self.component_counts += times * drawn

    def _training_batch(self, iteration: int, share: Share, generator: torch.Generator) -> Tensor:
        """This rank's images of iteration t >= 1, on the device of the model."""
        epoch, step = divmod(iteration - 1, self.iterations_per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._training))
            self._epoch, self._order = epoch, torch.from_numpy(order)
        rows = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        images = _scaled(self._training[share.of(rows, 0)])
        if self._binary:
            noise = torch.rand((share.total, *images.shape[1:]), generator=generator)
            images = (share.of(noise, 0) < images).float()
        return self._to_model(images)

    def _to_model(self, images: Tensor) -> Tensor:
        return _scaled(images).to(self.model.device, self.model.dtype)

    def state_dict(self) -> Mapping[str, Any]:
        """{"model": the model's state, "component_counts": [A]}."""
        return {"model": self.model.state_dict(), "component_counts": self.component_counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same model, in place. RuntimeError or KeyError if it is of another."""
        self.model.load_state_dict(state["model"])
        self.component_counts.copy_(state["component_counts"])


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Draws and their densities, all but log_q [S, K, B]."""

    draws: ImageDraws
    log_likelihood: Tensor
    log_prior: Tensor
    log_w: Tensor

    @property
    def divergence(self) -> Tensor:
        """log q(z|x) - log p(z), [S, K, B]."""
        return log_mixture_density(self.draws.log_q) - self.log_prior


@dataclass(frozen=True)
class AveragedObjective(Objective):
    """An objective of this rank's images, whose gradient is averaged over ranks."""

    parameters: tuple[Tensor, ...]

    def backward(self) -> None:
        """Leave minus the gradient estimate of the whole batch in every parameter's `.grad`."""
        super().backward()
        average_gradients(self.parameters)


def _of_share(draw: ComponentDraw, share: Share) -> ComponentDraw:
    """The draw for the share's images."""

    def part(rows: Tensor) -> Tensor:
        return rows if rows.ndim == 1 else share.of(rows, 1)

    return ComponentDraw(part(draw.sampled), part(draw.evaluated), part(draw.own))


def _scaled(images: Tensor) -> Tensor:
    """Bytes as fractions of 255; other images as they are."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def _check_images(name: str, images: Tensor, model: ImageModel, binary: bool) -> None:
    shape = model.spec.shape
    wanted = (shape.channels, shape.height, shape.width)
    if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not len(images):
        raise ConfigError(f"the {name} images have shape {list(images.shape)}: the model takes [N, {shape!s}]")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ConfigError(f"the {name} images are {images.dtype}: give uint8 or floating-point numbers")
    if images.is_floating_point() and not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError(f"the {name} images hold values outside of [0, 1]: scale them")
    if binary and not bool(((images == 0) | (images == 1)).all()):
        raise ConfigError(f"the {name} images are not binary: binarise them once, beforehand")


def _check_batch_size(batch_size: int, N: int) -> None:
    n_ranks = ranks()[1]
    if not 1 <= batch_size <= N:
        raise ConfigError(f"batch size {batch_size} for {N} training images: give from 1 to {N}")
    if batch_size % n_ranks:
        raise ConfigError(f"batch size {batch_size} is not a multiple of the {n_ranks} processes: make it one")

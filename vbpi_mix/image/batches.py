"""An image model and its data in mini-batches, as training.batch_problem asks for them.

Which images make up iteration t follows from (seed, t) alone, and binarisation is the generator's, so that a resumed run
continues bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vbpi_mix.devices import send
from vbpi_mix.errors import ConfigError
from vbpi_mix.image.mixture import ImageDraws, ImageMixture
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.networks import LOG_VARIANCE_RANGE
from vbpi_mix.image.target import ImageTarget
from vbpi_mix.parallel import Share
from vbpi_mix.training.epochs import EpochOrder


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images that mixture and target are conditioned on."""

    mixture: ImageMixture
    target: ImageTarget
    share: Share

    def diagnostics(self, draws: ImageDraws) -> tuple[Tensor]:
        """For each image, the fraction of log-variances at either end of their range, where they have no gradient."""
        low, high = LOG_VARIANCE_RANGE
        log_variance = draws.gaussians.log_variance
        return (((log_variance <= low) | (log_variance >= high)).double().mean((0, 2)),)


class ImageBatches:
    """A model, on the device to train on, and its data, in main memory: a batch goes to the device when it is asked for.

    training_images    [N, C, H, W], grey values in [0, 1], or uint8 to be divided by 255. Under the Bernoulli likelihood
                       each iteration draws pixels 0 or 1 with these probabilities.
    validation_images  [M, C, H, W], used as they are: binarised once, beforehand, under the Bernoulli likelihood
    batch_size         images of an iteration, of all ranks together; what is left over of an epoch is dropped, and the
                       next permutation leaves others over
    seed               of the order of the images

    ConfigError if these do not fit together.
    """

    diagnostic_names = ("clamped",)

    def __init__(
        self,
        model: ImageModel,
        training_images: Tensor,
        validation_images: Tensor,
        *,
        batch_size: int = 100,
        seed: int = 1,
    ) -> None:
        self._binary = model.spec.likelihood == "bernoulli"
        _check_images("training", training_images, model, False)
        _check_images("validation", validation_images, model, self._binary)
        N = len(training_images)
        if not 1 <= batch_size <= N:
            raise ConfigError(f"batch size {batch_size} for {N} training images: give from 1 to {N}")
        self.model = model
        self.batch_size = batch_size
        self._training = training_images
        self._validation = validation_images
        self._order = EpochOrder(N, batch_size, seed)

    @property
    def n_components(self) -> int:
        """A."""
        return self.model.spec.components

    @property
    def iterations_per_epoch(self) -> int:
        """N // batch_size."""
        return self._order.iterations

    def training(self, iteration: int, generator: torch.Generator) -> ImageBatch:
        """This rank's part of the batch of iteration t >= 1, the model in training mode."""
        self.model.train()
        share = Share.of_this_rank(self.batch_size)
        images = _scaled(self._training[share.of(self._order.rows(iteration), 0)])
        if self._binary:
            noise = torch.rand((share.total, *images.shape[1:]), generator=generator)
            images = (share.of(noise, 0) < images).float()
        return self._batch(images, share)

    def validation(self) -> Iterator[ImageBatch]:
        """This rank's part of the validation images, the model in evaluation mode."""
        self.model.eval()
        for images in self._validation.split(self.batch_size):
            share = Share.of_this_rank(len(images))
            yield self._batch(_scaled(share.of(images, 0)), share)

    def _batch(self, images: Tensor, share: Share) -> ImageBatch:
        images = send(images, self.model.device, self.model.dtype)
        return ImageBatch(ImageMixture(self.model, images, share), ImageTarget(self.model, images), share)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, "encoder" and "decoder"."""
        return self.model.parameter_groups()

    def state_dict(self) -> Mapping[str, Any]:
        """That of the model."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same model, in place. RuntimeError if it is of another."""
        self.model.load_state_dict(state)


def _scaled(images: Tensor) -> Tensor:
    """Bytes as fractions of 255; other images as they are."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def _check_images(name: str, images: Tensor, model: ImageModel, binary: bool) -> None:
    shape = model.spec.shape
    if images.ndim != 4 or tuple(images.shape[1:]) != shape.sizes or not len(images):
        raise ConfigError(f"the {name} images have shape {list(images.shape)}: the model takes N of {shape}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ConfigError(f"the {name} images are {images.dtype}: give uint8 or floating-point numbers")
    if images.is_floating_point() and not bool(((images >= 0) & (images <= 1)).all()):
        raise ConfigError(f"the {name} images hold values outside of [0, 1]: scale them")
    whole = 255 if images.dtype == torch.uint8 else 1
    if binary and not bool(((images == 0) | (images == whole)).all()):
        raise ConfigError(f"the {name} images are not binary: binarise them once, beforehand")

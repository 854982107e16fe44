"""The Frechet distance between images drawn from a model and test images, in the features of a network (FID; Heusel et al. 2017).

Both sets of features are summed up by a mean and a covariance, and

    FID = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

is the squared Wasserstein distance of the Gaussians that have these. It depends on the network, and falls with the number of
images on either side: a number means something beside others of the same network and the same counts. So the training images,
as many as were drawn, are measured as well: what real images get.

Shapes: N images, F features, C x H x W pixels, D dimensions of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.datasets import ImageData
from vbpi_mix.image.feature_networks import FeatureNetwork
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.sampling import sample_images

# Images decoded together; where they share statistics, the published batch.
IMAGES_AT_ONCE = 500
SHARING_STATISTICS = 100


@dataclass(frozen=True)
class FrechetResult:
    """Distance of `samples` images of the model, and of as many training images, from `test_images` test images.

    training_images: how many; fewer than samples if there are no more.
    """

    distance: float
    of_training_images: float
    samples: int
    training_images: int
    test_images: int
    network: FeatureNetwork
    seed: int
    likelihood: str

    def facts(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "distance": self.distance,
            "samples": self.samples,
            "test_images": self.test_images,
            "distance_of_training_images": self.of_training_images,
            "training_images": self.training_images,
            **self.network.facts(),
            "seed": self.seed,
            "likelihood": self.likelihood,
        }


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Between features [N, F] and [M, F]. ConfigError unless there are two images on either side.

    The trace of (C_1 C_2)^(1/2) is the sum of the singular values of C_1^(1/2) C_2^(1/2): exact for singular covariances too.
    """
    if min(len(first), len(second)) < 2:
        raise ConfigError("a Frechet distance needs at least two images on either side: draw more")
    apart = first.mean(0) - second.mean(0)
    one, two = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second))
    shared = np.linalg.svd(_root(one) @ _root(two), compute_uv=False).sum()
    return float(apart @ apart + np.trace(one) + np.trace(two) - 2.0 * shared)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric square root; what rounding makes negative counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def draw_images(
    model: ImageModel, count: int, generator: torch.Generator, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """[count, C, H, W] images of the model, latents from its prior. `progress` is told how many are drawn, and of how many."""
    model.eval()
    at_once = IMAGES_AT_ONCE if model.spec.valid_likelihood else SHARING_STATISTICS
    with torch.no_grad():
        latents = model.prior().sample(count, generator).to(model.device, model.dtype)
    pixels = model.spec.shape.height * model.spec.shape.width
    images: list[Tensor] = []
    for part in latents.split(at_once):
        done = at_once * len(images)

        def show(filled: int, total: int, done: int = done, part: Tensor = part) -> None:
            if progress is not None:
                progress(pixels * done + filled * len(part), pixels * count)

        images.append(sample_images(model, part, generator, show))
    return torch.cat(images)


def measure(
    model: ImageModel,
    data: ImageData,
    network: FeatureNetwork,
    samples: int,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FrechetResult:
    """Draw and compare. ConfigError for fewer than two samples. `progress` is told how many pixels are drawn, and of how many.

    The model is where it draws; the network computes where it is. Random numbers come from the CPU.
    """
    if samples < 2:
        raise ConfigError(f"{samples} samples asked for: give at least 2")
    drawn = network(draw_images(model, samples, torch.Generator().manual_seed(seed), progress))
    test = network(data.held_out_input(data.test))
    generator = torch.Generator().manual_seed(seed)  # its own, so that every model of the data is beside the same number
    chosen = torch.randperm(len(data.train), generator=generator)[:samples]
    levels = data.train[chosen].float() / data.levels
    real = (torch.rand(levels.shape, generator=generator) < levels).float() if data.binary else levels
    return FrechetResult(
        distance=frechet_distance(drawn, test),
        of_training_images=frechet_distance(network(real), test),
        samples=samples,
        training_images=len(chosen),
        test_images=len(data.test),
        network=network,
        seed=seed,
        likelihood=model.spec.likelihood_label,
    )

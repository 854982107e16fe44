"""The latent space of test images as a plane: each image at the mean of one component, along the principal axes of all means.

Means and not draws, since dimensions that the decoder does not use have the same mean for every image and so no part in
the axes. Of two levels the upper one is shown, under a flow what goes into it.

Shapes: N images, A components, d latent dimensions of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.model import ImageModel

IMAGES_AT_ONCE = 100


@dataclass(frozen=True, eq=False)
class LatentPlane:
    """Where images are.

    points      [N, 2] along the first two principal axes
    components  [N] whose mean is shown, drawn at random among `shown`
    shown       the components that are shown
    labels      [N], or None where they are not at hand
    shares      of the variance of all means, that along each axis; the second is 0 if d = 1
    """

    points: NDArray[np.float64]
    components: NDArray[np.int64]
    shown: tuple[int, ...]
    labels: NDArray[np.int64] | None
    shares: tuple[float, float]


def latent_plane(
    model: ImageModel, images: Tensor, shown: tuple[int, ...], labels: NDArray[np.int64] | None, generator: torch.Generator
) -> LatentPlane:
    """Images [N, C, H, W] as the likelihood takes them. The model is put into evaluation mode. ConfigError for fewer than two."""
    if len(images) < 2:
        raise ConfigError(f"a plane of {len(images)} images: take at least 2")
    model.eval()
    means = component_means(model, images)
    chosen = torch.tensor(shown)[torch.randint(len(shown), (len(images),), generator=generator)].numpy()
    centre = means.reshape(-1, means.shape[2]).mean(0)
    _, values, axes = np.linalg.svd((means - centre).reshape(-1, means.shape[2]), full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2].sum(1, keepdims=True) + 1e-12)  # the sign of an axis means nothing: always the same
    points = np.zeros((len(images), 2))
    points[:, : len(axes)] = (means[chosen, np.arange(len(images))] - centre) @ axes.T
    of_axes = np.append(values**2, 0.0)[:2] / max(float((values**2).sum()), np.finfo(float).tiny)
    return LatentPlane(points, chosen, shown, labels, (float(of_axes[0]), float(of_axes[1])))


def component_means(model: ImageModel, images: Tensor) -> NDArray[np.float64]:
    """[A, N, d] of all components, of two levels the upper."""
    with torch.no_grad():
        parts = [
            model.posterior(block.to(model.device, model.dtype)).gaussians.mean.double().cpu()
            for block in images.split(IMAGES_AT_ONCE)
        ]
    return torch.cat(parts, 1).numpy()

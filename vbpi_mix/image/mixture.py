"""The mixture q(z|x) = (1/A) sum_j N(z; mu_j(x), sigma_j(x)^2) over the latents of a batch of images, as estimators see it.

Shapes: A components, S sampled, R evaluated, K particles, B images, d latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.estimators import ComponentDraw
from vbpi_mix.image.model import ImageModel


@dataclass(frozen=True, eq=False)
class ImageDraws:
    """Latents of the sampled components.

    z      [S, K, B, d]   differentiable in the parameters of the component that drew them
    log_q  [S, K, R, B]   log-density under each evaluated component
    """

    z: Tensor
    log_q: Tensor


class ImageMixture:
    """A model and a batch of images [B, C, H, W]: meets estimators.interfaces.VariationalMixture.

    Cheap to make: one for every batch. `draw` may hold one subset for the batch, sampled [S], or one per image,
    sampled [S, B].
    """

    def __init__(self, model: ImageModel, images: Tensor) -> None:
        self.model = model
        self.images = images

    @property
    def n_components(self) -> int:
        """A."""
        return self.model.spec.components

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> ImageDraws:
        """K = `particles` latents of each sampled component, for each image, and their densities under the evaluated ones.

        The noise is drawn on the CPU from `generator`, whatever the device of the model.
        """
        raise NotImplementedError

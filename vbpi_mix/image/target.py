"""The target p(x|z) p(z) of a batch of images, as estimators see it.

Shapes: S components sampled, K particles, B images.
"""

from __future__ import annotations

from torch import Tensor

from vbpi_mix.image.mixture import ImageDraws
from vbpi_mix.image.model import ImageModel


class ImageTarget:
    """A model and a batch of images [B, C, H, W]: meets estimators.interfaces.Target."""

    def __init__(self, model: ImageModel, images: Tensor) -> None:
        self.model = model
        self.images = images

    def log_likelihood(self, draws: ImageDraws) -> Tensor:
        """log p(x|z), [S, K, B]."""
        return self.model.decode_log_likelihood(self.images, draws.z)

    def log_prior(self, draws: ImageDraws) -> Tensor:
        """log p(z), [S, K, B]."""
        return self.model.prior().log_density(draws.z)

"""The mixture q(z|x) = (1/A) sum_j q_j(z|x) over the latents of a batch, as estimators see it.

Shapes: A components, S sampled, R evaluated, K particles, B images, d latent dimensions of a level, D of all levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vbpi_mix.devices import send
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.networks import Gaussians, take_rows
from vbpi_mix.image.posterior import Posterior
from vbpi_mix.parallel import Share


class ComponentSelection(Protocol):
    """Which components are sampled, [S] or [S, B], and evaluated, [R] or [R, B], and where the former are among the
    latter (estimators.ComponentDraw has this shape).
    """

    @property
    def sampled(self) -> Tensor: ...
    @property
    def evaluated(self) -> Tensor: ...
    @property
    def own(self) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class ImageDraws:
    """Latents of the sampled components.

    z      [S, K, B, D]   differentiable in the parameters of the component that drew them
    log_q  [S, K, R, B]   log-density under each evaluated component
    own    [S] or [S, B]  which of the evaluated components drew them
    posterior             the evaluated components
    """

    z: Tensor
    log_q: Tensor
    own: Tensor
    posterior: Posterior

    @property
    def gaussians(self) -> Gaussians:
        """The evaluated components, [R, B, d]; of two levels the upper."""
        return self.posterior.gaussians

    def constant(self, z: Tensor) -> ImageDraws:
        """At z, with log_q differentiable in z alone. Not of a model with a flow."""
        return ImageDraws(z, self.posterior.constant().log_density(z), self.own, self.posterior)

    def at_fixed_points(self) -> Tensor:
        """log_q with the latents as constants. Not of a model with a flow."""
        return self.posterior.log_density(self.z.detach())


class ImageMixture:
    """A model and a batch of images [B, C, H, W]: meets estimators.interfaces.VariationalMixture.

    Cheap to make: one for every batch. A draw may hold one subset for the batch, sampled [S], or one per image,
    sampled [S, B]. `share` says which images of a larger batch these are: then the noise of all of it is drawn.
    """

    def __init__(self, model: ImageModel, images: Tensor, share: Share | None = None) -> None:
        self.model = model
        self.images = images
        self._share = share or Share(0, len(images), len(images))

    @property
    def n_components(self) -> int:
        """A."""
        return self.model.spec.components

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> ImageDraws:
        """K = `particles` latents of each sampled component for each image, with log-densities under the evaluated ones.

        The noise is drawn on the CPU from `generator`, whatever the device of the model.
        """
        everything = len(draw.evaluated) == self.n_components  # then they come in order
        posterior = self.model.posterior(self.images, None if everything else draw.evaluated)
        q = posterior.gaussians
        own = send(draw.own, q.mean.device)
        mean = take_rows(q.mean, own)
        deviation = torch.exp(0.5 * take_rows(q.log_variance, own))
        S, _, d = mean.shape
        shape = (S, particles, self._share.total, self.model.spec.dimensions)
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype)
        noise = send(self._share.of(noise, 2), mean.device)
        base = torch.addcmul(mean.unsqueeze(1), deviation.unsqueeze(1), noise[..., :d])
        z, log_q = posterior.complete(own, base, noise[..., d:])
        return ImageDraws(z, log_q, own, posterior)

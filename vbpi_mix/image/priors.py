"""Priors p(z) of the latent: standard normal, a learned Gaussian, the encoder at learned pseudo-inputs (VampPrior).

With two levels these are of the upper one, and the lower follows from p(z1|z2). A latent is then (z1, z2), one after the other.

A prior is made anew for every batch (`ImageModel.prior`), as that of a VampPrior changes with the encoder.

Shapes: A components, U pseudo-inputs, N = A U Gaussians, d latent dimensions of a level, D of all levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.image.densities import LOG_TWO_PI, mixture_log_density, standard_normal_log_density
from vbpi_mix.image.levels import LowerPrior
from vbpi_mix.image.networks import Gaussians
from vbpi_mix.image.spec import ImageShape

# How far from black and white pseudo-inputs begin.
INSIDE = 0.02


class Prior(Protocol):
    """A density that can be drawn from."""

    def log_density(self, z: Tensor) -> Tensor:
        """z [..., D] -> [...], in the type of z."""
        ...

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, D], random numbers from `generator`, on the CPU."""
        ...


@dataclass(frozen=True)
class StandardNormal:
    """N(0, I) of d dimensions."""

    d: int

    def log_density(self, z: Tensor) -> Tensor:
        """z [..., d] -> [...]."""
        return standard_normal_log_density(z)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, d]."""
        return torch.randn((count, self.d), generator=generator)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """(1/N) sum_n N(mean_n, variance_n), both [N, d]."""

    mean: Tensor
    log_variance: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        """z [..., d] -> [...]."""
        return mixture_log_density(z, self.mean, self.log_variance)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, d]."""
        which = torch.randint(len(self.mean), (count,), generator=generator).to(self.mean.device)
        noise = torch.randn((count, self.mean.shape[1]), generator=generator).to(self.mean)
        return self.mean[which] + torch.exp(0.5 * self.log_variance[which]) * noise


@dataclass(frozen=True, eq=False)
class TwoLevels:
    """p(z2) p(z1|z2)."""

    upper: Prior
    lower: LowerPrior

    def log_density(self, z: Tensor) -> Tensor:
        """z [..., 2 d] -> [...]: the networks in their own type, the density in that of z."""
        z1, z2 = z.chunk(2, -1)
        of_lower = self.lower(z2.to(self.lower.mean.weight.dtype))
        mean, log_variance = of_lower.mean.to(z.dtype), of_lower.log_variance.to(z.dtype)
        squares = (z1 - mean).square() * torch.exp(-log_variance)
        return self.upper.log_density(z2) - 0.5 * (squares + log_variance + LOG_TWO_PI).sum(-1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, 2 d]."""
        weight = self.lower.mean.weight
        z2 = self.upper.sample(count, generator).to(weight)
        of_lower = self.lower(z2)
        noise = torch.randn(z2.shape, generator=generator).to(weight)
        return torch.cat([of_lower.mean + torch.exp(0.5 * of_lower.log_variance) * noise, z2], 1)


class LearnedGaussian(nn.Module):
    """A diagonal Gaussian with parameters of its own, N(0, I) at the start."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, d))
        self.log_variance = nn.Parameter(torch.zeros(1, d))


class PseudoInputs(nn.Module):
    """u = Hardtanh_[0, 1](W I + b), I the identity [U, U]: U images whose latents make up the prior (Tomczak and Welling 2018).

    PyTorch's start has nearly the same dark image in all of them, half of whose pixels take no gradient: see `start_at`.

    p(z) = (1/(A U)) sum_a sum_k q_a(z|u_k): one generator, with gradients into the encoder (Cookbook, Eq. 8). q_a are the
    encoder's Gaussians, before a flow.
    """

    def __init__(self, count: int, shape: ImageShape) -> None:
        super().__init__()
        self.images = nn.Linear(count, shape.pixels)
        self._sizes = shape.sizes

    def start_at(self, images: Tensor) -> None:
        """Begin at images [U, C, H, W] in [0, 1], moved a little inwards: beyond the ends Hardtanh passes no gradient."""
        with torch.no_grad():
            self.images.weight.copy_((INSIDE + (1.0 - 2.0 * INSIDE) * images.flatten(1)).T)
            self.images.bias.zero_()

    def forward(self) -> Tensor:
        """[U, C, H, W] in [0, 1]."""
        return F.hardtanh(self.images.weight.T + self.images.bias, 0.0, 1.0).unflatten(1, self._sizes)


def flatten_gaussians(q: Gaussians) -> GaussianMixture:
    """The uniform mixture of all of [A, U, d]."""
    return GaussianMixture(q.mean.flatten(0, 1), q.log_variance.flatten(0, 1))

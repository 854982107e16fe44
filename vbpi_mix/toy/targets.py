"""What is approximated: unnormalised densities of z in the plane, and their exact log normalisers.

Shapes: z [..., 2] float64; densities [...]. Logarithms are natural. A target is the estimators' Target for
any draws that hold their position as `z` [S, K, *B, 2].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vbpi_mix.toy.quadrature import log_integral

LOG_TWO_PI = math.log(2.0 * math.pi)


class Located(Protocol):
    """Draws that say where they are: z [S, K, *B, 2]."""

    @property
    def z(self) -> Tensor: ...


class ToyTarget(Protocol):
    """A target in the plane. `window` is (low, high) of either axis in pictures."""

    name: ClassVar[str]
    window: ClassVar[tuple[float, float]]

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(x, z): [..., 2] -> [...]."""
        ...

    def log_likelihood(self, draws: Located) -> Tensor:
        """log p(x|z), [S, K, *B]."""
        ...

    def log_prior(self, draws: Located) -> Tensor:
        """log p(z), what broadcasts to [S, K, *B]."""
        ...

    def log_evidence(self) -> float:
        """log of the integral of p(x, z) over z, by quadrature."""
        ...


class _WithoutPrior(ABC):
    """For targets that are one density: all of it counts as likelihood."""

    @abstractmethod
    def log_joint(self, z: Tensor) -> Tensor:
        """The log-density: [..., 2] -> [...]."""

    def log_likelihood(self, draws: Located) -> Tensor:
        """The log-density, [S, K, *B]."""
        return self.log_joint(draws.z)

    def log_prior(self, draws: Located) -> Tensor:
        """0."""
        return draws.z.new_zeros(())


@dataclass(frozen=True)
class Ring(_WithoutPrior):
    """log p(z) = -(|z| - radius)^2 / width, not normalised (Kviman et al. 2023)."""

    name: ClassVar[str] = "ring"
    window: ClassVar[tuple[float, float]] = (-1.5, 1.5)
    radius: float = 0.9
    width: float = 0.001

    def log_joint(self, z: Tensor) -> Tensor:
        """[..., 2] -> [...]."""
        return -((torch.linalg.vector_norm(z, dim=-1) - self.radius) ** 2) / self.width

    def log_evidence(self) -> float:
        """By quadrature in the plane, though polar coordinates would do: this way it checks the density."""
        reach = self.radius + 8.0 * math.sqrt(self.width)
        spacing = math.sqrt(self.width) / 5.0
        points = 2 * math.ceil(reach / spacing) + 1
        return log_integral(self.log_joint, (-reach, -reach), (reach, reach), (points, points))


@dataclass(frozen=True)
class Bimodal(_WithoutPrior):
    """share N((1, 1), variance I) + (1 - share) N((-1, -1), variance I), normalised (Kviman et al. 2023)."""

    name: ClassVar[str] = "bimodal"
    window: ClassVar[tuple[float, float]] = (-2.5, 2.5)
    share: float = 0.8
    variance: float = 0.1

    def log_joint(self, z: Tensor) -> Tensor:
        """[..., 2] -> [...]."""
        modes = torch.stack([((z - centre) ** 2).sum(-1) for centre in (1.0, -1.0)])
        shares = z.new_tensor([self.share, 1.0 - self.share]).log().view(2, *([1] * (z.ndim - 1)))
        log_norm = LOG_TWO_PI + math.log(self.variance)
        return torch.logsumexp(shares - 0.5 * modes / self.variance, 0) - log_norm

    def log_evidence(self) -> float:
        """0 up to rounding, which checks the density."""
        reach = 1.0 + 9.0 * math.sqrt(self.variance)
        return log_integral(self.log_joint, (-reach, -reach), (reach, reach), (401, 401))

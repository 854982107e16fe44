"""The mixture q(z|x) = (1/A) sum_a N(z; mu_a(x), sigma_a(x)^2) of a batch of cells, and its target, as estimators see them.

Shapes: A components, S sampled, R evaluated, K particles, B cells, G genes, d latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.cells.model import CellModel
from vbpi_mix.image.densities import gaussian_log_density, standard_normal_log_density
from vbpi_mix.image.mixture import ComponentSelection
from vbpi_mix.image.networks import Gaussians, take_rows


@dataclass(frozen=True, eq=False)
class CellDraws:
    """Latents of the sampled components.

    z      [S, K, B, d]   differentiable in the encoder that drew them
    log_q  [S, K, R, B]   log-density under each evaluated component
    """

    z: Tensor
    log_q: Tensor

    def diversity(self) -> Tensor:
        """[B] log R less the mean entropy of which component a latent came from: the components' Jensen-Shannon divergence if
        all are sampled; in [0, log R] always."""
        R = self.log_q.shape[2]
        shares = torch.log_softmax(self.log_q.double(), 2)
        entropy = -(shares.exp() * shares).nan_to_num(nan=0.0).sum(2).mean((0, 1))
        return (math.log(R) - entropy).clamp(0.0, math.log(R))


class CellMixture:
    """A model and counts [B, G]: meets estimators.interfaces.VariationalMixture. Cheap to make: one for every batch.

    A draw may hold one subset for the batch, sampled [S], or one for each cell, sampled [S, B].
    """

    def __init__(self, model: CellModel, counts: Tensor) -> None:
        self.model = model
        self.counts = counts

    @property
    def n_components(self) -> int:
        """A."""
        return self.model.spec.components

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> CellDraws:
        """K = `particles` latents of each sampled component for each cell. In training mode encoders lose units by the same
        generator."""
        q = self.model.encoder(self.counts, generator)
        if len(draw.evaluated) < self.n_components:  # else they come in order
            q = Gaussians(take_rows(q.mean, draw.evaluated), take_rows(q.log_variance, draw.evaluated))
        mean = take_rows(q.mean, draw.own)
        deviation = torch.exp(0.5 * take_rows(q.log_variance, draw.own))
        S, B, d = mean.shape
        noise = torch.randn((S, particles, B, d), generator=generator, dtype=mean.dtype)
        z = torch.addcmul(mean.unsqueeze(1), deviation.unsqueeze(1), noise)
        return CellDraws(z, gaussian_log_density(z, q))


class CellTarget:
    """A model and counts [B, G]: meets estimators.interfaces.Target."""

    def __init__(self, model: CellModel, counts: Tensor) -> None:
        self.model = model
        self.counts = counts

    def log_likelihood(self, draws: CellDraws) -> Tensor:
        """log p(x|z, library), [S, K, B]."""
        return self.model.decode_log_likelihood(self.counts, draws.z)

    def log_prior(self, draws: CellDraws) -> Tensor:
        """log N(z; 0, I), [S, K, B]."""
        return standard_normal_log_density(draws.z)

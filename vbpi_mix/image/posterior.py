"""q_r(z|x) of some components at a batch of images: Gaussians, a second level, a flow, as the model has them.

Shapes: S components sampled, R evaluated, K particles, B images, d latent dimensions of a level, D of all levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.image.densities import conditional_log_density, gaussian_log_density
from vbpi_mix.image.flow import AutoregressiveFlow
from vbpi_mix.image.levels import LowerPosterior, take_own
from vbpi_mix.image.networks import Gaussians


@dataclass(frozen=True, eq=False)
class Posterior:
    """gaussians [R, B, d] of the latent, or of the upper of two levels; lower: q_r(z1|x, z2); flow: of z1, or of the only level.

    A latent with two levels is (z1, z2). The flow is that of all components, so that log_q of a point is
    log q_r(z1_0|x, z2) + log q_r(z2|x) - log |df/dz1_0| for every r (Cookbook, Eq. 16, with the density of one point).
    """

    gaussians: Gaussians
    lower: LowerPosterior | None
    flow: AutoregressiveFlow | None

    def complete(self, own: Tensor, base: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents z [S, K, B, D], and log_q [S, K, R, B] there under all components.

        own    [S] or [S, B]  which of the R components drew each sample
        base   [S, K, B, d]   drawn from the Gaussians of these components
        noise  [S, K, B, d]   standard normal, for the lower of two levels
        """
        log_q = gaussian_log_density(base, self.gaussians)
        moved = base
        if self.lower is not None:
            assert noise is not None
            q = self.lower(base)
            mean, log_variance = take_own(q.mean, own), take_own(q.log_variance, own)
            moved = torch.addcmul(mean, torch.exp(0.5 * log_variance), noise)
            log_q = log_q + conditional_log_density(moved, q)
        if self.flow is not None:
            moved, log_determinant = self.flow(moved)
            log_q = log_q - log_determinant.unsqueeze(2)
        return (moved if self.lower is None else torch.cat([moved, base], -1)), log_q

    def levels(self) -> list[Gaussians]:
        """Gaussians [R, B, d] of each level, the upper first; of the lower those given each component's mean of the upper."""
        if self.lower is None:
            return [self.gaussians]
        own = torch.arange(len(self.gaussians.mean), device=self.gaussians.mean.device)
        q = self.lower(self.gaussians.mean.unsqueeze(1))
        below = Gaussians(take_own(q.mean, own).squeeze(1), take_own(q.log_variance, own).squeeze(1))
        return [self.gaussians, below]

    def log_density(self, z: Tensor) -> Tensor:
        """log_q [S, K, R, B] at any z [S, K, B, D]; under a flow that takes d calls of its networks a step."""
        moved, upper = z.chunk(2, -1) if self.lower is not None else (z, z)
        log_determinant = None
        if self.flow is not None:
            moved = self.flow.inverse(moved)
            log_determinant = self.flow(moved)[1].unsqueeze(2)
        if self.lower is None:
            log_q = gaussian_log_density(moved, self.gaussians)
        else:
            log_q = gaussian_log_density(upper, self.gaussians) + conditional_log_density(moved, self.lower(upper))
        return log_q if log_determinant is None else log_q - log_determinant

    def constant(self) -> Posterior:
        """The same densities, with parameters that take no gradient. Not of a flow."""
        assert self.flow is None
        q = Gaussians(self.gaussians.mean.detach(), self.gaussians.log_variance.detach())
        return Posterior(q, None if self.lower is None else self.lower.constant(), None)

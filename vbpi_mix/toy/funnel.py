"""The funnel experiment's target: Neal's funnel as prior, Bernoulli pixels that depend on earlier ones.

    z_1 ~ N(0, 3^2),   z_2 | z_1 ~ N(0, exp(z_1 / 2))
    logit P(x_n^(i) = 1 | z, earlier pixels) = (W z)^(i) + sum_{j<i} 0.1^(i-j) x_n^(j)

N = 5 data points of D = 20 pixels each, all explained by one z. The term in x does not depend on z: it is
computed once. [Hotti et al. 2024; where the paper writes N(0, 3) for z_1, 3 is the standard deviation.]

Each Bernoulli term is log sigmoid(+-logit), exact for every logit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vbpi_mix.toy.kernels import plane
from vbpi_mix.toy.quadrature import log_integral
from vbpi_mix.toy.targets import LOG_TWO_PI, Located

PRIOR_STD = 3.0
DECAY = 0.1

# The reference data: five draws of the model, each from a z of its own.
PIXELS = (
    "01111101011011110011",
    "00011000001000000100",
    "00000000000000000000",
    "01101111100111111101",
    "00000000000000101000",
)
# exp(0.1 * noise), noise being torch's first [2, 20] normal numbers of seed 0. Rows: latent dimensions.
# fmt: off
WEIGHTS = (
    (
        0.893522322, 0.891155779, 0.975253463, 0.957539916, 1.08857667,
        1.07165146, 0.968892813, 0.809351504, 1.03275239, 0.881320894,
        1.03561795, 1.03129303, 1.01205623, 1.13175082, 1.1181525,
        0.975575387, 0.873484075, 0.844008148, 1.05830133, 1.08258402,
    ),
    (
        1.06171334, 0.855978906, 0.966440022, 1.20358026, 0.978644967,
        0.928435087, 1.05788553, 1.0263027, 0.98275435, 0.934377611,
        1.09836864, 1.05010164, 1.12786043, 1.00848925, 0.886908054,
        0.999521554, 0.949511647, 0.969795167, 0.853764892, 1.18609262,
    ),
)
# fmt: on


class Funnel:
    """log p(x, z) of the reference data, or of `pixels` [N, D] of 0 and 1 with `weights` [2, D].

    sequential_energy: evaluate the likelihood one component at a time, as one must where it is costly.
    """

    name: ClassVar[str] = "funnel"
    window: ClassVar[tuple[float, float]] = (-4.0, 4.0)

    def __init__(
        self,
        pixels: Tensor | None = None,
        weights: Tensor | None = None,
        sequential_energy: bool = False,
    ) -> None:
        x = reference_pixels() if pixels is None else pixels.to(torch.float64)
        W = torch.tensor(WEIGHTS, dtype=torch.float64) if weights is None else weights.to(torch.float64)
        context = (x @ decay_matrix(x.shape[1])).T.contiguous()  # [D, N], what earlier pixels add to logits
        self.sequential_energy = sequential_energy
        self._terms = (
            W.contiguous().numpy(),
            x.sum(0).numpy(),
            context.exp().numpy(),
            context.neg().exp().numpy(),
            context.sum(1).numpy(),
            float((context * x.T).sum()),
        )

    def log_likelihood_at(self, z: Tensor) -> Tensor:
        """log p(x|z), summed over data points and pixels: [..., 2] -> [...]."""
        return _BernoulliPixels.apply(z, self._terms)

    def log_prior_at(self, z: Tensor) -> Tensor:
        """log p(z): [..., 2] -> [...]."""
        return _FunnelPrior.apply(z)

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(x, z): [..., 2] -> [...]."""
        return self.log_likelihood_at(z) + self.log_prior_at(z)

    def log_likelihood(self, draws: Located) -> Tensor:
        """log p(x|z), [S, K, *B]."""
        if not self.sequential_energy:
            return self.log_likelihood_at(draws.z)
        return torch.stack([self.log_likelihood_at(z) for z in draws.z])

    def log_prior(self, draws: Located) -> Tensor:
        """log p(z), [S, K, *B]."""
        return self.log_prior_at(draws.z)

    def log_evidence(self) -> float:
        """By quadrature over standard normal u with z = (3 u_1, exp(3 u_1 / 4) u_2): there it is round."""

        def integrand(u: Tensor) -> Tensor:
            z_1 = PRIOR_STD * u[:, 0]
            z = torch.stack([z_1, torch.exp(0.25 * z_1) * u[:, 1]], 1)
            return self.log_likelihood_at(z) - 0.5 * (u**2).sum(1) - LOG_TWO_PI

        return log_integral(integrand, (-4.0, -8.0), (4.0, 8.0), (161, 161))


def reference_pixels() -> Tensor:
    """The reference data, [5, 20] of 0 and 1."""
    return torch.tensor([[float(pixel) for pixel in row] for row in PIXELS], dtype=torch.float64)


def decay_matrix(pixels: int) -> Tensor:
    """[D, D]: 0.1^(i-j) at (j, i) where j < i, else 0; x @ it is what earlier pixels add to logits."""
    lag = torch.arange(pixels) - torch.arange(pixels).unsqueeze(1)
    return torch.where(lag > 0, DECAY ** lag.to(torch.float64), 0.0)


class _BernoulliPixels(torch.autograd.Function):
    """log p(x|z) as one node: z [..., 2], and the data as `plane.bernoulli` takes them -> [...]."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, terms: tuple[Any, ...]) -> Tensor:
        z = z.detach().contiguous()
        value, gradient = z.new_empty(z.shape[:-1]), torch.empty_like(z)
        arrays = (value.view(-1).numpy(), gradient.view(-1, 2).numpy())
        plane.bernoulli(z.view(-1, 2).numpy(), *terms, *arrays)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0] * grads[0].unsqueeze(-1), None


class _FunnelPrior(torch.autograd.Function):
    """log p(z) of the funnel, as one node: [..., 2] -> [...]."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        z = z.detach().contiguous()
        value, gradient = z.new_empty(z.shape[:-1]), torch.empty_like(z)
        arrays = (value.view(-1).numpy(), gradient.view(-1, 2).numpy())
        plane.funnel_prior(z.view(-1, 2).numpy(), PRIOR_STD, *arrays)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return ctx.saved_tensors[0] * grads[0].unsqueeze(-1)

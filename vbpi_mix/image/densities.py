"""Log-densities of diagonal Gaussians over the latent space.

Shapes: A components, S sampled, R evaluated, K particles, B images, d latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vbpi_mix.image.networks import Gaussians

LOG_TWO_PI = math.log(2.0 * math.pi)

# With more particles than this per image, densities are matrix products instead of differences.
FEW_PARTICLES = 4
# Most entries of [points, Gaussians] that a density under many Gaussians holds at once.
PAIRS_AT_ONCE = 20_000_000


def standard_normal_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, I) over the last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_TWO_PI)


def gaussian_log_density(z: Tensor, q: Gaussians) -> Tensor:
    """log N(z; mean_r, variance_r): z [S, K, B, d], Gaussians [R, B, d] -> [S, K, R, B], to about 1e-5 in float32.

    Of few particles by differences, broadcast over particles; of many by three matrix products per image, whose terms
    cancel and are therefore summed in float64: eight times faster at S = R = 50, and an eighth of the memory or less.
    """
    few = z.shape[0] * z.shape[1] <= FEW_PARTICLES
    quadratic = _quadratic_by_differences(z, q) if few else _quadratic_by_products(z, q)
    return -0.5 * (quadratic + q.log_variance.sum(-1) + z.shape[-1] * LOG_TWO_PI)


def _quadratic_by_differences(z: Tensor, q: Gaussians) -> Tensor:
    """sum_d (z - mean)^2 / variance, [S, K, R, B]."""
    return ((z.unsqueeze(2) - q.mean) * torch.exp(-0.5 * q.log_variance)).square().sum(-1)


def _quadratic_by_products(z: Tensor, q: Gaussians) -> Tensor:
    """The same as z^2 . (1 / variance) - 2 z . (mean / variance) + mean^2 / variance, [S, K, R, B]."""
    points = z.double().flatten(0, 1).transpose(0, 1)
    mean, precision = q.mean.double(), torch.exp(-q.log_variance.double())
    weighted = mean * precision
    squares = torch.bmm(points.square(), precision.permute(1, 2, 0))
    products = torch.baddbmm(squares, points, weighted.permute(1, 2, 0), alpha=-2.0)
    quadratic = products.permute(1, 2, 0) + (weighted * mean).sum(-1)
    return quadratic.to(z.dtype).unflatten(0, z.shape[:2])


def conditional_log_density(z: Tensor, q: Gaussians) -> Tensor:
    """log N(z; mean, variance) of Gaussians that depend on the point: z [S, K, B, d], q [S, K, R, B, d] -> [S, K, R, B]."""
    quadratic = ((z.unsqueeze(2) - q.mean) * torch.exp(-0.5 * q.log_variance)).square().sum(-1)
    return -0.5 * (quadratic + q.log_variance.sum(-1) + z.shape[-1] * LOG_TWO_PI)


def mixture_log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log (1/N) sum_n N(z; mean_n, variance_n): z [..., d], the Gaussians [N, d] -> [...] in the type of z.

    By matrix products in float64, as N may be thousands, in parts of PAIRS_AT_ONCE.
    """
    N, d = mean.shape
    centre, precision = mean.double(), torch.exp(-log_variance.double())
    weighted = centre * precision
    constant = (weighted * centre).sum(1) + log_variance.double().sum(1) + d * LOG_TWO_PI
    parts = []
    for points in z.double().reshape(-1, d).split(max(1, PAIRS_AT_ONCE // N)):
        quadratic = points.square() @ precision.T - 2.0 * points @ weighted.T + constant
        parts.append(torch.logsumexp(-0.5 * quadratic, 1))
    return (torch.cat(parts).view(z.shape[:-1]) - math.log(N)).to(z.dtype)


def component_entropy(log_q: Tensor) -> Tensor:
    """Sum over latents of the entropy of which component it was, in nats: [S, K, R, B] -> [B].

    log A minus its mean is the Jensen-Shannon divergence of the components: the information between latent and component.
    Unlike the mean of log q_a - log q it lies in [0, log A] for every sample.
    """
    shares = torch.log_softmax(log_q, 2)
    return -(shares.exp() * shares).nan_to_num(nan=0.0).sum((0, 1, 2))

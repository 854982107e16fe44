"""log p(x | decoder output), summed over the pixels of an image.

The discretised-logistic mixture is that of PixelCNN++ (Salimans et al. 2017): a pixel's three colours share a mixture
component; in the scale [-1, 1] the means of green and blue move linearly with the colours before them. Its parameters are
the 10 M outputs of a pixel, of M logistics: M logits, then [3, M] means, [3, M] log-scales (at least -7), and [3, M]
coefficients before tanh: green on red, blue on red, blue on green.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_LOG_SCALE = -7.0
HALF_BIN = 1.0 / 255.0


def bernoulli_log_likelihood(images: Tensor, logits: Tensor) -> Tensor:
    """Pixels 0 or 1 and logits, both [..., 1, H, W] (they broadcast): -> [...]."""
    # x l - log(1 + e^l): stable, and exact for both values of x.
    return (images * logits - F.softplus(logits)).sum((-3, -2, -1))


def logistic_parameters(output: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parts of decoder output [..., 10 M, H, W]: log mixture weights [..., M, H, W], and means before colours move
    them, log-scales, and coefficients, each [..., 3, M, H, W].
    """
    M = output.shape[-3] // 10
    logits, rest = output.split((M, 9 * M), -3)
    means, log_scales, coefficients = rest.unflatten(-3, (3, 3, M)).unbind(-5)
    return (
        torch.log_softmax(logits, -3),
        means,
        log_scales.clamp(min=MIN_LOG_SCALE),
        torch.tanh(coefficients),
    )


def colour_means(means: Tensor, coefficients: Tensor, x: Tensor) -> Tensor:
    """Means [..., 3, M, H, W] given the colours x [..., 3, H, W] in [-1, 1]; each uses only the colours before it."""
    red, green = x.unsqueeze(-3)[..., 0, :, :, :], x.unsqueeze(-3)[..., 1, :, :, :]
    on_red, blue_on_red, on_green = coefficients.unbind(-4)
    first, second, third = means.unbind(-4)
    moved = (first, second + on_red * red, third + blue_on_red * red + on_green * green)
    return torch.stack(torch.broadcast_tensors(*moved), -4)


def discretised_logistic_log_likelihood(images: Tensor, output: Tensor) -> Tensor:
    """Images k / 255, [..., 3, H, W], and output [..., 10 M, H, W] (they broadcast): -> [...]."""
    log_weights, means, log_scales, coefficients = logistic_parameters(output)
    x = 2.0 * images - 1.0
    centred = x.unsqueeze(-3) - colour_means(means, coefficients, x)
    log_p = _log_bin(x.unsqueeze(-3), centred, log_scales).sum(-4)
    return torch.logsumexp(log_p + log_weights, -3).sum((-2, -1))


def _log_bin(x: Tensor, centred: Tensor, log_scales: Tensor) -> Tensor:
    """Log mass of a logistic in the bin of x; the first and last bins have the whole tail.

    With u and v the standardised ends of the bin, log(sigmoid(u) - sigmoid(v)) is
    log sigmoid(u) + log sigmoid(-v) + log(1 - e^(v - u)): no difference of near numbers, however far the tail.
    """
    inverse = torch.exp(-log_scales)
    upper, lower = inverse * (centred + HALF_BIN), inverse * (centred - HALF_BIN)
    log_below, log_above = F.logsigmoid(upper), F.logsigmoid(-lower)
    middle = log_below + log_above + torch.log(-torch.expm1(-2.0 * HALF_BIN * inverse))
    # Half a bin from 1 and -1: the published 0.99 takes value 254 for the tail as well.
    return torch.where(x > 1.0 - HALF_BIN, log_above, torch.where(x < HALF_BIN - 1.0, log_below, middle))

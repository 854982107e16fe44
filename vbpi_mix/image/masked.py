"""What both decoders share: masked convolutions and normalisations that do not look ahead.

Raster order: rows from the top, each from the left. Shapes: N decoder samples, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.image.networks import uniform_parameter
from vbpi_mix.image.spec import NormKind


class MaskedConvolution(nn.Module):
    """3 x 3 convolution without bias that sees earlier pixels only, and with `sees_itself` (type B) its own.

    weight  [out, in, 3, 3], all nine taps, as published; the masked ones are never used. Those of the row below are not
            even multiplied: two rows of taps are two thirds of the arithmetic.
    """

    mask: Tensor

    def __init__(self, channels: int, out: int, sees_itself: bool) -> None:
        super().__init__()
        self.weight = uniform_parameter((out, channels, 3, 3), 9 * channels)
        taps = torch.tensor([[1.0, 1.0, 1.0], [1.0, float(sees_itself), 0.0]])
        self.register_buffer("mask", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        return F.conv2d(F.pad(x, (1, 1, 1, 0)), self.weight[:, :, :2] * self.mask)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, with as many parameters as BatchNorm.

    Neither other pixels nor other images enter.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same; its memory is then ordered channels last, which convolutions like best."""
        return F.layer_norm(x.movedim(1, 3), self.weight.shape, self.weight, self.bias).movedim(3, 1)


def make_norm(kind: NormKind, channels: int, paper_compat: bool) -> nn.Module:
    """The normalisation of a specification. With paper_compat it uses the batch's statistics in evaluation too."""
    if kind == "layer":
        return ChannelNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=not paper_compat)
    return nn.Identity()

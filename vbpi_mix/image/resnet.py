"""The ResNet-20 of CIFAR-10 (He et al. 2016, section 4.2), as a feature network: 64 features of an image.

Shortcuts without parameters (option A). Its classification layer, 650 parameters that the published model carries along
and never uses, is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.image.masked import make_norm
from vbpi_mix.image.spec import NormKind

N_FEATURES = 64
STAGES = ((16, 1), (32, 2), (64, 2))
BLOCKS = 3


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; the shortcut drops pixels and pads channels with zeros."""

    def __init__(self, channels: int, out: int, stride: int, norm: NormKind, paper_compat: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.first_norm = make_norm(norm, out, paper_compat)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.second_norm = make_norm(norm, out, paper_compat)
        self._stride = stride
        self._padding = (out - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        y = torch.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        shortcut = x[:, :, :: self._stride, :: self._stride]
        if self._padding:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self._padding, self._padding))
        return torch.relu(y + shortcut)


class ResNet20(nn.Module):
    """Images [B, 3, H, W] in [0, 1], not standardised as in the published code, to [B, 64]."""

    def __init__(self, norm: NormKind, paper_compat: bool) -> None:
        super().__init__()
        channels = STAGES[0][0]
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.stem_norm = make_norm(norm, channels, paper_compat)
        blocks = []
        for out, stride in STAGES:
            for index in range(BLOCKS):
                blocks.append(ResidualBlock(channels, out, stride if index == 0 else 1, norm, paper_compat))
                channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 64]."""
        x = torch.relu(self.stem_norm(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))

"""Inception-v3 up to its pooled features, as distances between photographs are usually measured (FID; Heusel et al. 2017).

Architecture of Szegedy et al. 2016, in the variant that FID is computed with: average pools leave out the padding, and the
last block pools by the maximum. Parameters are not part of this package. A file of them is a state dict of torch with the names
that torchvision gives (Conv2d_1a_3x3.conv.weight ... Mixed_7c.branch_pool.bn.bias), such as the published
pt_inception-2015-12-05-6726825d.pth; the classification layers that it may hold are passed over. It is read as tensors alone
(weights_only): TorchScript is a program, and is refused.

Shapes: N images, C x H x W pixels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.errors import ConfigError
from vbpi_mix.files import sha256_of
from vbpi_mix.image.feature_networks import FeatureNetwork, digest_of

SIDE = 299
FEATURES = 2048
PASSED_OVER = ("fc.", "AuxLogits.")
Size = int | tuple[int, int]


class Unit(nn.Module):
    """A convolution without bias, batch normalisation, ReLU; padded so that without a stride the size stays, if `same`."""

    def __init__(self, channels: int, out: int, kernel: Size = 1, stride: int = 1, same: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(channels, out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H', W']."""
        return torch.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Units by name, and the paths through them: their ends are the channels of the result, after one another.

    paths  each the names of its units in order; the last may be two units side by side
    pool   what the last of the paths begins with: "mean" or "max" of 3 x 3, size kept, or "halve", a maximum with stride 2
    """

    def __init__(self, units: dict[str, Unit], paths: list[list[str | tuple[str, str]]], pool: str) -> None:
        super().__init__()
        for name, unit in units.items():
            self.add_module(name, unit)
        self._paths = paths
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H', W']."""
        ends = []
        for index, path in enumerate(self._paths):
            y = _pooled(x, self._pool) if index == len(self._paths) - 1 else x
            for step in path:
                if isinstance(step, tuple):
                    y = torch.cat([self.get_submodule(name)(y) for name in step], 1)
                else:
                    y = self.get_submodule(step)(y)
            ends.append(y)
        return torch.cat(ends, 1)


def _pooled(x: Tensor, pool: str) -> Tensor:
    if pool == "mean":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return F.max_pool2d(x, 3, 2) if pool == "halve" else F.max_pool2d(x, 3, 1, 1)


def _block_a(n: int, pooled: int) -> Branches:
    units = {
        "branch1x1": Unit(n, 64),
        "branch5x5_1": Unit(n, 48), "branch5x5_2": Unit(48, 64, 5),
        "branch3x3dbl_1": Unit(n, 64), "branch3x3dbl_2": Unit(64, 96, 3), "branch3x3dbl_3": Unit(96, 96, 3),
        "branch_pool": Unit(n, pooled),
    }  # fmt: skip
    return Branches(units, [["branch1x1"], _numbered("branch5x5", 2), _numbered("branch3x3dbl", 3), ["branch_pool"]], "mean")


def _block_b(n: int) -> Branches:
    units = {
        "branch3x3": Unit(n, 384, 3, 2, same=False),
        "branch3x3dbl_1": Unit(n, 64), "branch3x3dbl_2": Unit(64, 96, 3), "branch3x3dbl_3": Unit(96, 96, 3, 2, same=False),
    }  # fmt: skip
    return Branches(units, [["branch3x3"], _numbered("branch3x3dbl", 3), []], "halve")


def _block_c(n: int, inner: int) -> Branches:
    row, column = (1, 7), (7, 1)
    units = {
        "branch1x1": Unit(n, 192),
        "branch7x7_1": Unit(n, inner), "branch7x7_2": Unit(inner, inner, row), "branch7x7_3": Unit(inner, 192, column),
        "branch7x7dbl_1": Unit(n, inner), "branch7x7dbl_2": Unit(inner, inner, column), "branch7x7dbl_3": Unit(inner, inner, row),
        "branch7x7dbl_4": Unit(inner, inner, column), "branch7x7dbl_5": Unit(inner, 192, row),
        "branch_pool": Unit(n, 192),
    }  # fmt: skip
    return Branches(units, [["branch1x1"], _numbered("branch7x7", 3), _numbered("branch7x7dbl", 5), ["branch_pool"]], "mean")


def _block_d(n: int) -> Branches:
    units = {
        "branch3x3_1": Unit(n, 192), "branch3x3_2": Unit(192, 320, 3, 2, same=False),
        "branch7x7x3_1": Unit(n, 192), "branch7x7x3_2": Unit(192, 192, (1, 7)), "branch7x7x3_3": Unit(192, 192, (7, 1)),
        "branch7x7x3_4": Unit(192, 192, 3, 2, same=False),
    }  # fmt: skip
    return Branches(units, [_numbered("branch3x3", 2), _numbered("branch7x7x3", 4), []], "halve")


def _block_e(n: int, pool: str) -> Branches:
    units = {
        "branch1x1": Unit(n, 320),
        "branch3x3_1": Unit(n, 384), "branch3x3_2a": Unit(384, 384, (1, 3)), "branch3x3_2b": Unit(384, 384, (3, 1)),
        "branch3x3dbl_1": Unit(n, 448), "branch3x3dbl_2": Unit(448, 384, 3),
        "branch3x3dbl_3a": Unit(384, 384, (1, 3)), "branch3x3dbl_3b": Unit(384, 384, (3, 1)),
        "branch_pool": Unit(n, 192),
    }  # fmt: skip
    paths: list[list[str | tuple[str, str]]] = [
        ["branch1x1"],
        ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")],
        [*_numbered("branch3x3dbl", 2), ("branch3x3dbl_3a", "branch3x3dbl_3b")],
        ["branch_pool"],
    ]
    return Branches(units, paths, pool)


def _numbered(name: str, count: int) -> list[str | tuple[str, str]]:
    return [f"{name}_{index}" for index in range(1, count + 1)]


class Inception(nn.Module):
    """Images of any size, one channel or three, to pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2, same=False)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, same=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_a(192, 32), _block_a(256, 64), _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b, self.Mixed_6c = _block_c(768, 128), _block_c(768, 160)
        self.Mixed_6d, self.Mixed_6e = _block_c(768, 160), _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b, self.Mixed_7c = _block_e(1280, "mean"), _block_e(2048, "max")

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1 or 3, H, W] in [0, 1] -> [N, 2048]."""
        x = images.expand(-1, 3, -1, -1)
        x = 2.0 * F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1.0
        for name, module in self.named_children():
            x = module(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        return x.mean((2, 3))


def read_inception(path: Path) -> FeatureNetwork:
    """The network with the parameters of a file. ConfigError if that is missing, no such state dict, or of another network."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of Inception parameters")
    module = Inception()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
        own = {name: value for name, value in state.items() if not name.startswith(PASSED_OVER)}
        found = module.load_state_dict(own, strict=False)
    except Exception as error:  # a foreign file can fail in any way that a zip or a pickle reader can
        what = "TorchScript, which is a program" if "TorchScript" in str(error) else "not a state dict of Inception-v3"
        raise ConfigError(f"{path} is {what}: give its parameters as torch saves them, tensors alone") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        other = (missing or found.unexpected_keys)[0]
        raise ConfigError(f"{path} is not a state dict of Inception-v3: {other} is {'missing' if missing else 'not of it'}")
    name = f"Inception-v3 of {path.name} ({FEATURES} pooled features, SHA-256 {sha256_of(path)[:16]})"
    return FeatureNetwork(name, module.eval(), FEATURES, None, digest_of(module))

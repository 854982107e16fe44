"""Encoders: features of an image, and from them the parameters of A Gaussians, all components at once.

The published code appends a one-hot component code to the input of each linear layer and loops over components. Such a
column of the weight matrix is a bias that only its component sees; so here the part that depends on the image is computed
once and one learned vector per component and layer is added. The parameters, and their number, are the same.

Shapes: A components, R of them asked for, B images, d latent dimensions, n features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Published: log-variances are clamped by Hardtanh.
LOG_VARIANCE_RANGE = (-6.0, 2.0)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Diagonal Gaussians over the latent space: mean and log_variance [R, B, d], in the precision of the parameters.

    log_variance lies in LOG_VARIANCE_RANGE; where it sits on either end it has no gradient.
    """

    mean: Tensor
    log_variance: Tensor


def uniform_parameter(shape: Sequence[int], fan_in: int) -> nn.Parameter:
    """Uniform in +-1/sqrt(fan_in): where PyTorch's linear layers and convolutions start, weights and biases."""
    limit = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-limit, limit))


def half_precision(x: Tensor, wanted: bool) -> torch.autocast:
    """A context in which convolutions of what is on the device of x run in bfloat16, if `wanted`."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=wanted)


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of [A, B, d], the same for every image, [R], or for each image its own, [R, B]: -> [R, B, d]."""
    if rows.ndim == 1:
        return values.index_select(0, rows)
    return values.gather(0, rows.unsqueeze(2).expand(-1, -1, values.shape[2]))


class GatedConvolution(nn.Module):
    """(W_h * x + b_h) . sigmoid(W_g * x + b_g) of `networks` networks side by side.

    weight  [networks, 2 out, in, k, k], h before g; the first layer of all networks sees one and the same input
    """

    def __init__(self, networks: int, channels: int, out: int, kernel: int, stride: int, first: bool) -> None:
        super().__init__()
        fan_in = channels * kernel**2
        self.weight = uniform_parameter((networks, 2 * out, channels, kernel, kernel), fan_in)
        self.bias = uniform_parameter((networks, 2 * out), fan_in)
        self._stride = stride
        self._first = first

    def forward(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """[B, R in, H, W], or [B, in, H, W] in the first layer, -> [B, R out, H', W']; `rows` [R] or None for all."""
        weight = self.weight if rows is None else self.weight.index_select(0, rows)
        bias = self.bias if rows is None else self.bias.index_select(0, rows)
        R = len(weight)
        y = F.conv2d(
            x,
            weight.flatten(0, 1),
            bias.flatten(),
            self._stride,
            padding=weight.shape[-1] // 2,
            groups=1 if self._first else R,
        )
        return F.glu(y.unflatten(1, (R, -1)), 2).flatten(1, 2)


class GatedFeatures(nn.Module):
    """f_D2H of `networks` networks side by side: gated convolutions without normalisation, then flattened."""

    def __init__(
        self, networks: int, channels: int, size: tuple[int, int], layers: Sequence[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        made: list[GatedConvolution] = []
        height, width = size
        for out, kernel, stride in layers:
            made.append(GatedConvolution(networks, channels, out, kernel, stride, first=not made))
            height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (height, width))
            channels = out
        self.layers = nn.ModuleList(made)
        self._networks = networks
        self.n_features = channels * height * width

    def forward(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, R, n]; `rows` [R] or None for all networks."""
        x = images
        for layer in self.layers:
            x = layer(x, rows)
        R = self._networks if rows is None else len(rows)
        return x.unflatten(1, (R, -1)).flatten(2)


class ComponentLinear(nn.Module):
    """A linear layer of [features; one-hot code; hidden]. weight_hidden is absent in the first layer."""

    def __init__(self, n_features: int, A: int, n_hidden: int, out: int) -> None:
        super().__init__()
        fan_in = n_features + A + n_hidden
        self.weight = uniform_parameter((out, n_features), fan_in)
        self.code = uniform_parameter((A, out), fan_in)
        self.weight_hidden = uniform_parameter((out, n_hidden), fan_in) if n_hidden else None
        self.bias = uniform_parameter((out,), fan_in)

    def forward(self, h: Tensor, rows: Tensor | None, hidden: Tensor | None = None) -> Tensor:
        """Features [B, n], components None, [R] or [R, B], hidden [R, B, m] -> [R, B, out]."""
        code = self.code if rows is None else F.embedding(rows, self.code)
        if code.ndim == 2:
            code = code.unsqueeze(1)
        result = F.linear(h, self.weight, self.bias) + code
        if hidden is not None and self.weight_hidden is not None:
            result = result + F.linear(hidden, self.weight_hidden)
        return result


class AmortisedNet(nn.Module):
    """Features and a component's code to d numbers: two hidden layers of d with skips, or one linear map.

    Published: a_1 = relu(W_1 [h; o]), a_2 = relu(W_2 [h; o; a_1]), out = W_3 [h; o; a_2], each with a bias.
    """

    def __init__(self, n_features: int, A: int, d: int, residual: bool) -> None:
        super().__init__()
        hidden = (0, d, d) if residual else (0,)
        self.layers = nn.ModuleList([ComponentLinear(n_features, A, m, d) for m in hidden])

    def forward(self, h: Tensor, rows: Tensor | None) -> Tensor:
        """Features [B, n], components None, [R] or [R, B] -> [R, B, d]."""
        *inner, last = self.layers
        hidden = None
        for layer in inner:
            hidden = torch.relu(layer(h, rows, hidden))
        return last(h, rows, hidden)


class SharedEncoder(nn.Module):
    """One feature network; two independent nets make mean and log-variance of every component (MISVAE)."""

    half_convolutions = False

    def __init__(self, features: nn.Module, n_features: int, A: int, d: int, residual: bool) -> None:
        super().__init__()
        self.features = features
        self.mean = AmortisedNet(n_features, A, d, residual)
        self.log_variance = AmortisedNet(n_features, A, d, residual)

    def forward(self, images: Tensor, rows: Tensor | None) -> Gaussians:
        """[B, C, H, W] and components None, [R] or [R, B] -> Gaussians [R, B, d]."""
        with half_precision(images, self.half_convolutions):
            h = self.features(images).flatten(1)
        h = h.to(images.dtype)
        return Gaussians(self.mean(h, rows), F.hardtanh(self.log_variance(h, rows), *LOG_VARIANCE_RANGE))


class SeparateLinear(nn.Module):
    """A linear map of each component's own features."""

    def __init__(self, A: int, n_features: int, out: int) -> None:
        super().__init__()
        self.weight = uniform_parameter((A, out, n_features), n_features)
        self.bias = uniform_parameter((A, out), n_features)

    def forward(self, h: Tensor, rows: Tensor | None) -> Tensor:
        """[B, R, n] -> [R, B, out]; `rows` [R] or None for all components."""
        weight = self.weight if rows is None else self.weight.index_select(0, rows)
        bias = self.bias if rows is None else self.bias.index_select(0, rows)
        return torch.baddbmm(bias.unsqueeze(1), h.transpose(0, 1), weight.transpose(1, 2))


class Features(Protocol):
    """A feature network for each of several components: images [B, C, H, W] -> [B, R, n]."""

    n_features: int

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Tensor: ...


class SeparateEncoders(nn.Module):
    """A whole network for each component, convolutions as grouped ones (SEMVAE, Kviman et al. 2023)."""

    half_convolutions = False

    features: Features

    def __init__(self, features: Features, A: int, d: int) -> None:
        super().__init__()
        self.features = features
        self.mean = SeparateLinear(A, features.n_features, d)
        self.log_variance = SeparateLinear(A, features.n_features, d)

    def forward(self, images: Tensor, rows: Tensor | None) -> Gaussians:
        """As SharedEncoder. Where each image has components of its own, all A are computed."""
        for_all = rows if rows is None or rows.ndim == 1 else None
        with half_precision(images, self.half_convolutions):
            h = self.features(images, for_all)
        h = h.to(images.dtype)
        mean, log_variance = self.mean(h, for_all), self.log_variance(h, for_all)
        if rows is not None and rows.ndim == 2:
            mean, log_variance = take_rows(mean, rows), take_rows(log_variance, rows)
        return Gaussians(mean, F.hardtanh(log_variance, *LOG_VARIANCE_RANGE))

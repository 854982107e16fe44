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
# Results of a layer that vary by less than this are rounding, not differences between images.
LEAST_VARIANCE = 1e-8


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


@torch.no_grad()
def standardise(weight: Tensor, bias: Tensor, results: Tensor) -> None:
    """Rescale a layer in place so that its results have mean 0 and variance 1: LSUV, Mishkin and Matas 2016.

    weight [networks, out, ...], bias [networks, out], results [N, networks, out] with both. What does not vary is not scaled.
    """
    variance, mean = torch.var_mean(results, 0, correction=0)
    scale = _inverse_deviation(variance)
    weight.mul_(scale.view(*scale.shape, *(1,) * (weight.ndim - 2)))
    bias.sub_(mean).mul_(scale)


def _inverse_deviation(variance: Tensor) -> Tensor:
    return torch.where(variance > LEAST_VARIANCE, variance, 1.0).rsqrt()


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
        return F.glu(self._before_gate(x, rows), 2).flatten(1, 2)

    def standardise(self, x: Tensor) -> None:
        """Rescale all networks so that what is before the gate has mean 0 and variance 1 over images x and places."""
        standardise(self.weight, self.bias, self._before_gate(x, None).movedim((3, 4), (1, 2)).flatten(0, 2))

    def _before_gate(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """[B, R, 2 out, H', W']."""
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
        return y.unflatten(1, (R, -1))


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

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Rescale one layer after the other on images [B, C, H, W], so that features differ from image to image."""
        x = images
        for layer in self.layers:
            assert isinstance(layer, GatedConvolution)
            layer.standardise(x)
            x = layer(x, None)


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

    def standardise(self, h: Tensor, hidden: Tensor | None) -> None:
        """As the function, variances being those within a component: components stay as far apart as they are, around 0."""
        before = self(h, None, hidden)
        centre = before.mean(1)
        scale = _inverse_deviation((before - centre.unsqueeze(1)).square().mean((0, 1))).unsqueeze(1)
        self.weight.mul_(scale)
        if self.weight_hidden is not None:
            self.weight_hidden.mul_(scale)
        self.code.add_(centre - centre.mean(0) - self(h, None, hidden).mean(1))


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

    def standardise(self, h: Tensor) -> None:
        """Rescale one layer after the other on features [B, n]."""
        hidden = None
        for layer in self.layers:
            assert isinstance(layer, ComponentLinear)
            layer.standardise(h, hidden)
            hidden = torch.relu(layer(h, None, hidden))


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

    @torch.no_grad()
    def standardise_means(self, images: Tensor) -> None:
        """Rescale what is behind the features so that the means of a component have variance 1 over images [B, C, H, W]."""
        self.mean.standardise(self.features(images).flatten(1))


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

    @torch.no_grad()
    def standardise_means(self, images: Tensor) -> None:
        """As SharedEncoder."""
        means = self.mean(self.features(images), None)
        standardise(self.mean.weight, self.mean.bias, means.transpose(0, 1))

"""The encoders as published: one-hot codes appended to the input of each layer, one component after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gated_features(convolutions, images: Tensor, network: int) -> Tensor:
    """[B, n]: each convolution as two, one of them through a sigmoid."""
    x = images
    for convolution, stride in convolutions:
        weight, bias = convolution.weight[network], convolution.bias[network]
        out, padding = len(bias) // 2, weight.shape[-1] // 2
        h = F.conv2d(x, weight[:out], bias[:out], stride, padding)
        g = F.conv2d(x, weight[out:], bias[out:], stride, padding)
        x = h * torch.sigmoid(g)
    return x.flatten(1)


def whole_weight(layer) -> Tensor:
    """[out, n + A (+ m)]: the weight matrix of [features; one-hot code; hidden]."""
    parts = [layer.weight, layer.code.T]
    if layer.weight_hidden is not None:
        parts.append(layer.weight_hidden)
    return torch.cat(parts, 1)


def amortised(net, h: Tensor, component: int) -> Tensor:
    """[B, d] of one component: u = [h; one-hot], hidden layers with skips, each linear layer one matrix."""
    A = len(net.layers[0].code)
    code = F.one_hot(torch.tensor(component), A).to(h).expand(len(h), A)
    u = torch.cat([h, code], 1)
    *inner, last = net.layers
    x = u
    for layer in inner:
        x = torch.cat([u, torch.relu(F.linear(x, whole_weight(layer), layer.bias))], 1)
    return F.linear(x, whole_weight(last), last.bias)


def shared(model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log-variances [A, B, d] of a model with a shared encoder of gated convolutions."""
    h = gated_features(convolutions_of(model), images, 0)
    components = range(model.spec.components)
    means = torch.stack([amortised(model.encoder.mean, h, a) for a in components])
    log_variances = torch.stack([amortised(model.encoder.log_variance, h, a) for a in components])
    return means, log_variances.clamp(-6.0, 2.0)


def separate(model, images: Tensor) -> tuple[Tensor, Tensor]:
    """The same of a model with an encoder for each component."""
    means, log_variances = [], []
    encoder = model.encoder
    for a in range(model.spec.components):
        h = gated_features(convolutions_of(model), images, a)
        means.append(F.linear(h, encoder.mean.weight[a], encoder.mean.bias[a]))
        log_variances.append(F.linear(h, encoder.log_variance.weight[a], encoder.log_variance.bias[a]))
    return torch.stack(means), torch.stack(log_variances).clamp(-6.0, 2.0)


def convolutions_of(model):
    """The gated convolutions with their strides."""
    strides = [stride for _, _, stride in model.spec.feature_layers]
    return list(zip(model.encoder.features.layers, strides, strict=True))


def log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(z; mean_r, variance_r) [S, K, R, B] of z [S, K, B, d] with parameters [R, B, d], in a loop."""
    rows = []
    for mean_r, log_variance_r in zip(mean, log_variance, strict=True):
        normal = torch.distributions.Normal(mean_r, torch.exp(0.5 * log_variance_r))
        rows.append(normal.log_prob(z).sum(-1))
    return torch.stack(rows, 2)

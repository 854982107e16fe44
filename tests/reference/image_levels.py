"""q_r(z1|x, z2) of one component at one image, its layers as plain matrices of [features; gated z2; one-hot code]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from reference.image_encoders import gated_features
from torch import Tensor


def whole(layer, x: Tensor, component: int) -> Tensor:
    """One layer of one component as a single product."""
    if layer.code is None:
        network = component if len(layer.weight) > 1 else 0
        return F.linear(x, layer.weight[network], layer.bias[network])
    code = F.one_hot(torch.tensor(component), len(layer.code)).to(x)
    weight = torch.cat([layer.weight[0], layer.code.T], 1)
    return F.linear(torch.cat([x, code]), weight, layer.bias[0])


def gate(x: Tensor) -> Tensor:
    value, gated = x.chunk(2)
    return value * torch.sigmoid(gated)


def lower(model, image: Tensor, z2: Tensor, component: int) -> tuple[Tensor, Tensor]:
    """Mean and log-variance [d] at an image [1, C, H, W] and z2 [d]."""
    encoder = model.lower_encoder
    convolutions = [(layer, layer._stride) for layer in encoder.features.layers]
    network = component if model.spec.encoder == "separate" else 0
    h = gated_features(convolutions, image, network)[0]
    g = gate(whole(encoder.upper, z2, component))
    hidden = gate(whole(encoder.joint, torch.cat([h, g]), component))
    return whole(encoder.mean, hidden, component), whole(encoder.log_variance, hidden, component).clamp(-6.0, 2.0)

"""The grey decoder with whole 3 x 3 masks, and the discretised-logistic mixture pixel by pixel, value by value."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def grey_logits(decoder, images: Tensor, z: Tensor) -> Tensor:
    """[N, 1, H, W]: one image after the other, masks multiplied into whole kernels."""
    return torch.cat([_one(decoder, image[None], latent[None]) for image, latent in zip(images, z, strict=True)])


def _one(decoder, image: Tensor, latent: Tensor) -> Tensor:
    H, W = image.shape[-2:]
    weight, bias = decoder.projection.weight, decoder.projection.bias
    value = F.linear(latent, weight[: H * W], bias[: H * W])
    gate = F.linear(latent, weight[H * W :], bias[H * W :])
    y = torch.cat([image, (value * torch.sigmoid(gate)).view(1, 1, H, W)], 1)
    for index, (convolution, norm) in enumerate(zip(decoder.layers[::2], decoder.layers[1::2], strict=True)):
        mask = torch.zeros(3, 3, dtype=y.dtype)
        mask[0] = 1.0
        mask[1, 0] = 1.0
        mask[1, 1] = float(index > 0)
        y = F.conv2d(y, convolution.weight * mask, padding=1)
        centred = y - y.mean(1, keepdim=True)
        y = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-5)
        y = torch.relu(y * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1))
    return F.conv2d(y, decoder.output.weight, decoder.output.bias)


def colour_log_probability(pixel: list[int], output: Tensor) -> float:
    """log p of one pixel (three values 0 ... 255) from its 10 M outputs, by differences of logistic functions."""
    numbers = output.double().tolist()
    M = len(numbers) // 10
    logits, rest = numbers[:M], numbers[M:]
    # rest[kind][colour][component]
    parts = [[rest[(kind * 3 + colour) * M :][:M] for colour in range(3)] for kind in range(3)]
    x = [2.0 * value / 255.0 - 1.0 for value in pixel]
    total = 0.0
    weights = torch.softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()
    for m in range(M):
        green_red, blue_red, blue_green = (math.tanh(parts[2][colour][m]) for colour in range(3))
        moved = (0.0, green_red * x[0], blue_red * x[0] + blue_green * x[1])
        p = 1.0
        for colour in range(3):
            mean = parts[0][colour][m] + moved[colour]
            scale = math.exp(max(parts[1][colour][m], -7.0))
            p *= _bin(pixel[colour], x[colour], mean, scale)
        total += weights[m] * p
    return math.log(total)


def _bin(value: int, x: float, mean: float, scale: float) -> float:
    below = 0.0 if value == 0 else _sigmoid((x - 1.0 / 255.0 - mean) / scale)
    above = 1.0 if value == 255 else _sigmoid((x + 1.0 / 255.0 - mean) / scale)
    return above - below


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0

"""An inverse autoregressive flow of the latent (Kingma et al. 2016), one for all components.

Each step makes (s, m) of z by a masked network (MADE, Germain et al. 2015), numbers i of which depend on z_1 ... z_{i-1}
alone, and moves z to sigmoid(s) z + (1 - sigmoid(s)) m; so log |dz'/dz| = sum log sigmoid(s). All steps have the natural
order of the dimensions, as published.

Why one for all: the mixture's density at a point is the sum of its components' there. Under one shared map f the component j
has density q_j(z_0) / |df/dz_0| at f(z_0), whichever component drew z_0. With a flow for each component the published bound
takes q_j at another point than the one that was drawn, and can exceed the evidence.

Shapes: d latent dimensions, H hidden units, T steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbpi_mix.image.networks import uniform_parameter


class MaskedLinear(nn.Module):
    """A linear layer that keeps weights where the mask [out, in] is 1; the masked ones are counted, as published."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        out, fan_in = mask.shape
        self.weight = uniform_parameter((out, fan_in), fan_in)
        self.bias = uniform_parameter((out,), fan_in)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight * self.mask, self.bias)


class AutoregressiveStep(nn.Module):
    """One step, d -> H -> H -> 2 d by ReLU."""

    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        order = torch.arange(d)
        degrees = torch.arange(hidden) % max(1, d - 1)  # a hidden unit of degree k sees the dimensions 0 ... k
        first = (degrees.unsqueeze(1) >= order).float()
        inner = (degrees.unsqueeze(1) >= degrees).float()
        last = (order.unsqueeze(1) > degrees).float().repeat(2, 1)
        self.layers = nn.ModuleList([MaskedLinear(mask) for mask in (first, inner, last)])

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """s and m, each [..., d]."""
        x = z
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        s, m = self.layers[-1](x).chunk(2, -1)
        return s, m

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., d] -> where it goes [..., d], and the log-determinant of the Jacobian [...]."""
        s, m = self.parts(z)
        gate = torch.sigmoid(s)
        return gate * z + (1.0 - gate) * m, F.logsigmoid(s).sum(-1)

    def inverse(self, moved: Tensor) -> Tensor:
        """The z [..., d] that goes to `moved`, one dimension after the other."""
        z = torch.zeros_like(moved)
        for i in range(moved.shape[-1]):
            s, m = self.parts(z)
            gate = torch.sigmoid(s[..., i])
            found = (moved[..., i] - (1.0 - gate) * m[..., i]) / gate
            z = torch.cat([z[..., :i], found.unsqueeze(-1), z[..., i + 1 :]], -1)
        return z


class AutoregressiveFlow(nn.Module):
    """T steps, one after the other."""

    def __init__(self, d: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList([AutoregressiveStep(d, hidden) for _ in range(steps)])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., d] -> where it goes [..., d], and the log-determinant of the Jacobian [...]."""
        log_determinant = torch.zeros_like(z[..., 0])
        for step in self.steps:
            z, of_step = step(z)
            log_determinant = log_determinant + of_step
        return z, log_determinant

    def inverse(self, moved: Tensor) -> Tensor:
        """The z [..., d] that goes to `moved`: d network calls a step, where `forward` needs one."""
        for step in reversed(list(self.steps)):
            assert isinstance(step, AutoregressiveStep)
            moved = step.inverse(moved)
        return moved

"""A flow that moves each edge by a monotone rational-quadratic spline of its own, in plain torch.

Between LOW and HIGH the map of an edge has BINS bins; their widths and heights and the slopes at inner knots come from the
sums of its weight rows, plus biases that all edges share. Beyond, and where all of these are zero, it is the identity.
Gregory and Delbourgo (1982), "Piecewise rational quadratic interpolation to monotonic data"; Durkan, Bekasov, Murray and
Papamakarios (2019), "Neural spline flows".
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vbpi_mix.phylo.branches.flows.adapter import TorchFlow

BINS = 8
# The range of base draws (log-lengths plus 2): from 1.7e-5 to 2.7 substitutions per site.
LOW, HIGH = -9.0, 3.0
# The least share of the whole that a width or a height has, and the least slope at a knot.
LEAST_SHARE, LEAST_SLOPE = 1e-3, 1e-3
# What softplus turns into 1 - LEAST_SLOPE.
RESTING = math.log(math.expm1(1.0 - LEAST_SLOPE))


class EdgeSplines(nn.Module):
    """sums [T, E, 3 BINS - 1] (widths, heights, slopes at inner knots) and z [T, E] -> y [T, E], log|det| [T]."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.zeros(3 * BINS - 1, dtype=torch.float64))

    def forward(self, sums: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """As the class says."""
        widths, heights, slopes = (sums + self.biases).split([BINS, BINS, BINS - 1], dim=-1)
        x, y = _knots(widths), _knots(heights)
        inner = functional.softplus(slopes + RESTING) + LEAST_SLOPE
        slope = functional.pad(inner, (1, 1), value=1.0)
        inside = (z >= LOW) & (z <= HIGH)
        within = torch.where(inside, z, 0.5 * (LOW + HIGH))
        bin_ = (within.unsqueeze(-1) >= x[..., 1:-1]).sum(-1, keepdim=True)

        def at(values: Tensor, offset: int) -> Tensor:
            return values.gather(-1, bin_ + offset).squeeze(-1)

        width, height = at(x, 1) - at(x, 0), at(y, 1) - at(y, 0)
        steep, first, second = height / width, at(slope, 0), at(slope, 1)
        share = (within - at(x, 0)) / width
        rest = share * (1.0 - share)
        below = steep + (first + second - 2.0 * steep) * rest
        moved = at(y, 0) + height * (steep * share**2 + first * rest) / below
        derivative = steep**2 * (second * share**2 + 2.0 * steep * rest + first * (1.0 - share) ** 2) / below**2
        log_det = torch.where(inside, derivative.log(), 0.0).sum(-1)
        return torch.where(inside, moved, z), log_det


def _knots(free: Tensor) -> Tensor:
    """Knots [..., BINS + 1] from LOW to HIGH, of free numbers [..., BINS]."""
    shares = LEAST_SHARE + (1.0 - BINS * LEAST_SHARE) * torch.softmax(free, -1)
    inner = LOW + (HIGH - LOW) * shares.cumsum(-1)[..., :-1]
    return functional.pad(functional.pad(inner, (1, 0), value=LOW), (0, 1), value=HIGH)


class Spline(TorchFlow):
    """EdgeSplines with a row of weights for each feature."""

    def __init__(
        self, pendant: np.ndarray, n_splits: int, generator: torch.Generator, dtype: torch.dtype | None = None
    ) -> None:
        """As registry.FlowSpec says; nothing is drawn from the generator."""
        super().__init__("spline", EdgeSplines(), pendant.size, 3 * BINS - 1, dtype)

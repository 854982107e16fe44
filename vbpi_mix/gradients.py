"""The gradient of a tensor of which a step touches only some rows. Domains make it, the optimiser reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RowGradient:
    """The gradient of some rows of a tensor [..., C], its leading dimensions flattened to N rows; that of all others is zero.

    rows int64 [U], each at most once; values [U, C], of the tensor's type.
    """

    rows: np.ndarray
    values: np.ndarray

    def dense(self, parameter: Tensor) -> Tensor:
        """The same as a tensor of the parameter's shape, with its zeros."""
        found = torch.zeros_like(parameter, requires_grad=False)
        found.view(-1, parameter.shape[-1])[torch.from_numpy(self.rows)] = torch.from_numpy(self.values).to(found)
        return found

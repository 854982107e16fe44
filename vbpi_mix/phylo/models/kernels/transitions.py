"""Transition probabilities that several kernels share."""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import inline_kernel


@inline_kernel
def transition(t):
    """e and f of P(t) = e I + f J under JC69: e = exp(-4t/3), f = (1 - e) / 4; J is all ones."""
    return np.exp(-4.0 / 3.0 * t), -0.25 * np.expm1(-4.0 / 3.0 * t)

"""The transition probabilities of JC69, for every kernel: P(t) = e I + f J, e = exp(-4t/3), f = (1 - e) / 4, J all ones."""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import inline_kernel, kernel


@inline_kernel
def off_diagonal(t):
    """f. What is left to e is 1 - 4 f, exactly but for long branches, where it loses relative accuracy."""
    return -0.25 * np.expm1(-4.0 / 3.0 * t)


@kernel
def transition(t):
    """e and f."""
    return np.exp(-4.0 / 3.0 * t), off_diagonal(t)

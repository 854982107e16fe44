"""What all kernels that prune have in common: memory, and which nodes are rescaled."""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import allocates, inner_kernel, kernel
from vbpi_mix.kernels.simd import LANES


@inner_kernel
@allocates
def aligned(size):
    """Uninitialised float64 [size] whose first element sits on a 64-byte line, so that no vector straddles two."""
    raw = np.empty(size + LANES, np.float64)
    skip = (64 - raw.ctypes.data % 64) // 8 % LANES
    return raw[skip : skip + size]


@inner_kernel
@allocates
def aligned_zeros(size):
    """The same, filled with zeros."""
    array = aligned(size)
    array[:] = 0.0
    return array


@kernel
def mark_rescaled(children, n, between, pending, rescaled):
    """Choose the nodes to rescale, so that fewer than 2 * `between` taxa lie between them.

    children [n-2, 2]; pending int64 [2n-2]: memory; rescaled bool [2n-2].
    """
    pending[:n] = 1
    for k in range(n - 2):
        taxa = pending[children[k, 0]] + pending[children[k, 1]]
        rescaled[n + k] = taxa >= between
        pending[n + k] = 1 if rescaled[n + k] else taxa

"""The one policy by which numba compiles: what is cached, which reorderings are allowed, how many threads.

Kernels use `kernel` (sequential) or `parallel_kernel` (prange over trees or components). Reassociation and
contraction are allowed because sums over patterns must vectorise; NaN and infinity keep their meaning, since
a log-probability of minus infinity is an ordinary value here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}

kernel: Callable[..., Any] = numba.njit(cache=True, fastmath=FASTMATH, nogil=True, error_model="numpy")
parallel_kernel: Callable[..., Any] = numba.njit(
    cache=True, fastmath=FASTMATH, nogil=True, parallel=True, error_model="numpy"
)
inline_kernel: Callable[..., Any] = numba.njit(
    cache=True, fastmath=FASTMATH, nogil=True, inline="always", error_model="numpy"
)


def set_threads(threads: int) -> int:
    """Let the kernels use `threads` threads (at most what the machine has); returns the number in force."""
    available = int(numba.config.NUMBA_NUM_THREADS)
    in_force = max(1, min(threads, available))
    numba.set_num_threads(in_force)
    return in_force

"""Sums over the patterns of a block of threads, in one order, and how patterns are dealt out.

Floating-point sums by atomic operations would come in another order at every call: the same seed is to give the same numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import cuda

from vbpi_mix.phylo.models.gpu.arithmetic import device_function, smaller

# numba fills its configuration module when it is imported, so that a type checker sees nothing in it.
_numba_config: Any = numba.config
# In a block, a multiple of 16 and a power of two; of the simulator each thread is a thread of Python.
THREADS = 16 if getattr(_numba_config, "ENABLE_CUDASIM", False) else 128
# What sums one entry of a matrix; rows are set apart so that threads read from different banks.
_LANES = THREADS // 16
_ROW = THREADS + 8
_MATRIX = 16 * _ROW


def strips_of(size: int) -> int:
    """Into how many runs patterns are dealt, each for one block of threads: short ones while there are few patterns, so that
    all of the device has work, and then so long that sums over a block are a small part of the work.
    """
    each = min(8, -(-size // 8192))
    return -(-size // (THREADS * each))


@device_function
def strip(size):
    """Of this thread: its first pattern, and where the patterns of its block end."""
    length = THREADS * ((size + THREADS * cuda.gridDim.x - 1) // (THREADS * cuda.gridDim.x))
    first = cuda.blockIdx.x * length
    return first + cuda.threadIdx.x, smaller(first + length, size)


@device_function
def block_sum(x):
    """Of one number of each thread of the block; all threads call it and have the sum."""
    shared = cuda.shared.array(THREADS, np.float64)
    own, half = cuda.threadIdx.x, THREADS // 2
    shared[own] = x
    cuda.syncthreads()
    while half > 0:
        if own < half:
            shared[own] += shared[own + half]
        cuda.syncthreads()
        half //= 2
    found = shared[0]
    cuda.syncthreads()
    return found


@device_function
def _put(shared, at, x):
    """Four numbers of a thread, each in the row of its own sum."""
    shared[at] = x[0]
    shared[at + _ROW] = x[1]
    shared[at + 2 * _ROW] = x[2]
    shared[at + 3 * _ROW] = x[3]


@device_function
def store_block_sums(sums, out, at):
    """Sums over the block of a matrix of each thread, four rows of four, to `out` from `at` on; all threads call it."""
    shared = cuda.shared.array(_MATRIX, np.float64)
    gathered = cuda.shared.array(THREADS, np.float64)
    own = cuda.threadIdx.x
    _put(shared, own, sums[0])
    _put(shared, 4 * _ROW + own, sums[1])
    _put(shared, 8 * _ROW + own, sums[2])
    _put(shared, 12 * _ROW + own, sums[3])
    cuda.syncthreads()
    begin = own // _LANES * _ROW + own % _LANES
    total = 0.0
    for k in range(16):
        total += shared[begin + k * _LANES]
    gathered[own] = total
    # Behind this, `shared` may be filled again; `gathered` is not before the next call's first barrier.
    cuda.syncthreads()
    if own < 16:
        total = 0.0
        for k in range(_LANES):
            total += gathered[own * _LANES + k]
        out[at + own] = total


@cuda.jit
def add_strips(cross, size, strips):
    """Of each run of `strips` times `size` numbers: the sums over strips, in place of the first of them."""
    at = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if at < size:
        first = cuda.blockIdx.y * strips * size + at
        total = 0.0
        for k in range(strips):
            total += cross[first + k * size]
        cross[first] = total

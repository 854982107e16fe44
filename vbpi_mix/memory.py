"""Memory that is reused: arrays large enough that taking them from the system every step costs more than filling them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

LINE = 64  # bytes of a cache line
# Smaller arrays are not worth keeping: the allocator keeps them ready.
LEAST_BYTES = 1 << 16


class Pool:
    """Arrays that begin on a cache line. Memory is given out again only when no array or tensor refers to it any more."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._lent: dict[int, weakref.ref[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of that shape with anything in it."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < LEAST_BYTES:
            whole = np.empty(size + LINE, np.uint8)
        else:
            whole = self._borrow(size + LINE)
        skip = -whole.ctypes.data % LINE
        return whole[skip : skip + size].view(dtype).reshape(shape)

    def _borrow(self, size: int) -> np.ndarray:
        """At least so many bytes. Every view of the array, and every tensor made of one, keeps the array alive: numpy goes
        back along the bases of a view to the last one that is an array, and what is behind this one is none.
        """
        fitting = [(len(memory), i) for i, memory in enumerate(self._free) if len(memory) >= size]
        memory = self._free.pop(min(fitting)[1]) if fitting else bytearray(size + size // 4)
        whole = np.frombuffer(memory, np.uint8)
        self._lent[id(memory)] = weakref.ref(whole, self._taker(memory))
        return whole

    def _taker(self, memory: bytearray) -> Callable[[Any], None]:
        lent, this = self._lent, weakref.ref(self)

        def take_back(_: Any) -> None:
            lent.pop(id(memory), None)
            pool = this()
            if pool is not None:
                pool._free.append(memory)

        return take_back

"""Between main memory and a GPU, without waiting for the work that the GPU has in its queue.

A plain copy waits until the queue is empty: the GPU then idles while the next operations are put in. On the CPU all of this
is what torch does anyway.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The values on a device, in their own type or another; to a GPU from page-locked memory, at its leisure."""
    values = values if dtype is None else values.to(dtype)
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def fetch(value: Tensor) -> Callable[[], float]:
    """A number that is asked for now and read when the result is called. On the CPU it is read then; on a GPU a copy is put
    into the queue, and only what was in the queue before it is waited for.
    """
    if value.device.type != "cuda":
        return lambda: float(value.item())
    arrived = torch.empty((), dtype=value.dtype, pin_memory=True)
    arrived.copy_(value.detach(), non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def read() -> float:
        copied.synchronize()
        return float(arrived.item())

    return read

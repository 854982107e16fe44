"""Data-parallel work under a process group that the caller has set up (torchrun); without one, these are no-ops. So they are for
a process with followers (followers.py), which works as one alone.

Every rank draws the random numbers of the whole batch and keeps those of its own share, so that all generators stay in step
and the result is that of one process up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from vbpi_mix.followers import followers


def ranks() -> tuple[int, int]:
    """This process's rank, and how many there are: (0, 1) without a process group."""
    if followers() is None and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@dataclass(frozen=True)
class Share:
    """The part of a batch of `total` points that one rank works on: `count` points from `first`."""

    first: int
    count: int
    total: int

    @classmethod
    def of_this_rank(cls, total: int) -> Share:
        """As even as can be, in the order of ranks."""
        rank, n_ranks = ranks()
        first, end = total * rank // n_ranks, total * (rank + 1) // n_ranks
        return cls(first, end - first, total)

    def of(self, values: Tensor, dim: int) -> Tensor:
        """The share of `values`, whose dimension `dim` is the batch."""
        return values.narrow(dim, self.first, self.count)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Set every `.grad` to its mean over ranks, in one message; a missing one counts as zero."""
    _, n_ranks = ranks()
    if n_ranks == 1:
        return
    tensors = list(parameters)
    for tensor in tensors:
        if tensor.grad is None:
            tensor.grad = torch.zeros_like(tensor)
    together = torch.cat([tensor.grad.flatten() for tensor in tensors if tensor.grad is not None])
    together = sum_over_ranks(together) / n_ranks
    for tensor, part in zip(tensors, together.split([tensor.numel() for tensor in tensors]), strict=True):
        assert tensor.grad is not None
        tensor.grad.copy_(part.view_as(tensor))


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks, on the device of `values`."""
    if ranks()[1] == 1:
        return values
    total = values.to(_device_of_messages(), copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def from_first_rank(values: Sequence[float]) -> list[float]:
    """The first rank's numbers on every rank: for decisions that must be one, such as those of clocks."""
    if ranks()[1] == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=_device_of_messages())
    dist.broadcast(numbers, 0)
    return numbers.tolist()


def _device_of_messages() -> torch.device:
    """Where the backend wants its tensors."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

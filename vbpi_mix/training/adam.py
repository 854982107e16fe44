"""Adam, in one pass over memory per parameter, and the protocol of an optimiser.

For parameters in main memory one kernel updates the value and both moments element by element. For 57,000
parameters it takes about a third of the time of torch's fused Adam; a small tensor costs it 8 microseconds,
where a step of torch's costs 130 before any arithmetic. Same formula and constants as torch.optim.Adam, which
remains for parameters on another device.

A tensor of which a step touches only some rows can have its gradient as those rows, and then only they are updated:
each row keeps a clock of its own, and goes through Adam exactly as if the steps that did not touch it had not happened
(docs/flows.md compares this with dense Adam).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numba
import numpy as np
import torch

from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.adam import (
    BETA_1,
    BETA_2,
    EPSILON,
    RowState,
    adam_kernel,
    adam_rows,
    adam_rows_in_parallel,
    adam_vectors,
    adam_vectors_in_parallel,
)

Gradients = Mapping[torch.Tensor, Any]

# Fewer elements than this are updated on one thread.
PARALLEL_ELEMENTS = 50_000


class Optimiser(Protocol):
    """What the trainer asks of an optimiser; a problem may bring its own, e.g. for sparse updates."""

    def step(self, gradients: Gradients | None = None) -> None:
        """Move the parameters against their gradients: those given, and for all others those in `.grad`."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate that the groups' multipliers apply to."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts: tensors and plain containers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        ...


def make_adam(groups: Sequence[Mapping[str, Any]]) -> Optimiser:
    """The fastest Adam for groups of "params", a list of leaf tensors, and a "multiplier" (1 if absent).

    A group of one tensor [..., C] in main memory may be "by_row": each of its N rows, leading dimensions flattened, has a
    clock of its own and moves when a gradient touches it. That gradient is a RowGradient, or a tensor, whose rows of
    nothing but zeros are taken as not touched. "row_multipliers" float64 [N] are on top of the group's. One
    whose rows are a multiple of eight long may ask for "vectors": the same, faster where thousands of rows are short.
    ValueError if a parameter appears twice, or if there are multipliers for rows of a group that is not by row.
    """
    tensors = [tensor for group in groups for tensor in group["params"]]
    if len({id(tensor) for tensor in tensors}) != len(tensors):
        raise ValueError("a parameter appears twice among the parameter groups")
    if any("row_multipliers" in group and not group.get("by_row") for group in groups):
        raise ValueError("multipliers for rows need a gradient by rows")
    if all(_fits_kernel(tensor) for tensor in tensors):
        return KernelAdam(groups)
    return TorchAdam(groups)


def _fits_kernel(tensor: torch.Tensor) -> bool:
    floats = (torch.float32, torch.float64)
    return tensor.device.type == "cpu" and tensor.dtype in floats and tensor.is_contiguous()


@lru_cache(maxsize=1)
def _corrections() -> np.ndarray:
    """1 / (1 - beta_1^t) and 1 / sqrt(1 - beta_2^t) for t = 0 ... 49,999, from where on both are 1; [2, 50,000]."""
    t = np.arange(1, 50_000)
    return np.stack([np.insert(1.0 / (1.0 - BETA_1**t), 0, 0.0), np.insert(1.0 / np.sqrt(1.0 - BETA_2**t), 0, 0.0)])


class _Slot:
    """One parameter with its moments, all also as flat arrays over the tensors' own memory."""

    def __init__(self, parameter: torch.Tensor, multiplier: float) -> None:
        self.parameter = parameter
        self.multiplier = multiplier
        self.steps = 0
        self.first = torch.zeros_like(parameter, requires_grad=False)
        self.second = torch.zeros_like(parameter, requires_grad=False)
        self.moments = (_flat(self.first), _flat(self.second))
        self._find_values()

    def _find_values(self) -> None:
        self.values = _flat(self.parameter.detach())
        self.address = self.parameter.data_ptr()

    def step(self, learning_rate: float, gradient: torch.Tensor | RowGradient) -> None:
        """Move against a gradient."""
        if self.parameter.data_ptr() != self.address:  # someone assigned to .data
            self._find_values()
        if isinstance(gradient, RowGradient):
            gradient = gradient.dense(self.parameter)
        self.steps += 1
        size = learning_rate * self.multiplier / (1.0 - BETA_1**self.steps)
        correction = 1.0 / math.sqrt(1.0 - BETA_2**self.steps)
        adam_kernel(self.values, _flat(gradient), *self.moments, size, correction)

    def zero_grad(self) -> None:
        self.parameter.grad = None

    @property
    def clock(self) -> int | torch.Tensor:
        """Steps taken, for a checkpoint."""
        return self.steps

    @clock.setter
    def clock(self, steps: int | torch.Tensor) -> None:
        self.steps = int(steps)


class _RowSlot(_Slot):
    """A parameter whose gradient comes as some of its rows, and that counts the steps of each row."""

    def __init__(
        self,
        parameter: torch.Tensor,
        multiplier: float,
        row_multipliers: np.ndarray | None = None,
        vectors: bool = False,
    ) -> None:
        super().__init__(parameter, multiplier)
        self._columns = parameter.shape[-1]
        self._vectors = vectors
        self._row_steps = np.zeros(parameter.numel() // self._columns, dtype=np.int64)
        self._scale = np.full(self._row_steps.size, multiplier)
        if row_multipliers is not None:
            self._scale *= row_multipliers
        self._rates, self._rate = self._scale.copy(), 1.0

    def step(self, learning_rate: float, gradient: torch.Tensor | RowGradient) -> None:
        """Move the rows that a gradient touches."""
        if self.parameter.data_ptr() != self.address:
            self._find_values()
        if isinstance(gradient, torch.Tensor):
            gradient = _touched_rows(gradient)
        if learning_rate != self._rate:
            np.multiply(self._scale, learning_rate, out=self._rates)
            self._rate = learning_rate
        values = gradient.values.reshape(-1)
        threads = numba.get_num_threads() if values.size >= PARALLEL_ELEMENTS else 1
        state = RowState(self._columns, self.values, *self.moments, self._row_steps, self._rates)
        if self._vectors:
            update = adam_vectors_in_parallel if threads > 1 else adam_vectors
        else:
            update = adam_rows_in_parallel if threads > 1 else adam_rows
        update(gradient.rows, values, _corrections(), state)

    @property
    def clock(self) -> int | torch.Tensor:
        return torch.from_numpy(self._row_steps)

    @clock.setter
    def clock(self, steps: int | torch.Tensor) -> None:
        self._row_steps[:] = torch.as_tensor(steps).numpy()


def _make_slots(group: Mapping[str, Any]) -> list[_Slot]:
    multiplier = float(group.get("multiplier", 1.0))
    if group.get("by_row"):
        (parameter,) = group["params"]
        return [_RowSlot(parameter, multiplier, group.get("row_multipliers"), bool(group.get("vectors")))]
    return [_Slot(parameter, multiplier) for parameter in group["params"]]


def _touched_rows(gradient: torch.Tensor) -> RowGradient:
    """The rows of a dense gradient that are not zero throughout."""
    rows = gradient.detach().numpy().reshape(-1, gradient.shape[-1])
    touched = np.flatnonzero(rows.any(axis=1))
    return RowGradient(touched, rows[touched])


def _flat(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's memory as an array [N]; a copy only if it is not contiguous."""
    return tensor.numpy().reshape(-1)


class KernelAdam:
    """Adam for float32 and float64 parameters in main memory."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self._slots = [slot for group in groups for slot in _make_slots(group)]
        self._learning_rate = 0.0

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate that the multipliers apply to."""
        self._learning_rate = learning_rate

    def step(self, gradients: Gradients | None = None) -> None:
        """Update every parameter that has a gradient, among those given or in its `.grad`."""
        for slot in self._slots:
            gradient = gradients.get(slot.parameter) if gradients else None
            if gradient is None:
                gradient = slot.parameter.grad
            if gradient is not None:
                slot.step(self._learning_rate, gradient)

    def zero_grad(self) -> None:
        """Drop the gradients: the next backward pass hands over its own memory instead of adding to ours."""
        for slot in self._slots:
            slot.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Step counts and moments, in the order of the parameters."""
        return {
            "steps": [slot.clock for slot in self._slots],
            "first": [slot.first for slot in self._slots],
            "second": [slot.second for slot in self._slots],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. ValueError if it is of other parameters."""
        if len(state["steps"]) != len(self._slots):
            raise ValueError(f"optimiser state of {len(state['steps'])} parameters for {len(self._slots)}")
        for slot, steps, first, second in zip(
            self._slots, state["steps"], state["first"], state["second"], strict=True
        ):
            if first.shape != slot.first.shape:
                raise ValueError(f"optimiser state of shape {list(first.shape)} for {list(slot.first.shape)}")
            slot.clock = steps
            slot.first.copy_(first)
            slot.second.copy_(second)


class TorchAdam:
    """torch.optim.Adam, fused, behind the same protocol: for parameters that are not in main memory."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self._multipliers = [float(group.get("multiplier", 1.0)) for group in groups]
        self._adam = torch.optim.Adam(
            [{"params": list(group["params"])} for group in groups],
            lr=0.0,
            betas=(BETA_1, BETA_2),
            eps=EPSILON,
            fused=True,
        )

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate that the multipliers apply to."""
        for group, multiplier in zip(self._adam.param_groups, self._multipliers, strict=True):
            group["lr"] = learning_rate * multiplier

    def step(self, gradients: Gradients | None = None) -> None:
        """Update every parameter that has a gradient, among those given or in its `.grad`."""
        for parameter, gradient in (gradients or {}).items():
            parameter.grad = gradient.dense(parameter) if isinstance(gradient, RowGradient) else gradient
        self._adam.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self._adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """torch's own state."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._adam.load_state_dict(state)

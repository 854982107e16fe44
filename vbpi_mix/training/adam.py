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
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
import torch
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel
from vbpi_mix.gradients import RowGradient

Gradients = Mapping[torch.Tensor, Any]

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
# Fewer elements than this are updated on one thread.
PARALLEL_ELEMENTS = 50_000
# Rows of at least this many elements are worth the cost of slicing them out, which lets their loop be vectorised.
LONG_ROW = 16


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
    nothing but zeros are taken as not touched. "row_multipliers" float64 [N] are on top of the group's. ValueError if a
    parameter appears twice, or if there are multipliers for rows of a group that is not by row.
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


@kernel
def _move(first, second, gradient, size, correction, like):
    """Both moments after a gradient, and the step to subtract, in the type of `like`."""
    number = like.dtype.type
    beta_1, rest_1 = number(BETA_1), number(1.0 - BETA_1)
    beta_2, rest_2 = number(BETA_2), number(1.0 - BETA_2)
    mean = beta_1 * first + rest_1 * gradient
    square = beta_2 * second + rest_2 * gradient * gradient
    return mean, square, size * mean / (np.sqrt(square) * correction + number(EPSILON))


@kernel
def adam_kernel(values, gradients, first, second, size, correction):
    """One Adam step of flat arrays [N], in place.

    size = learning rate / (1 - beta_1^t), correction = 1 / sqrt(1 - beta_2^t), as python floats; they and
    the constants take the arrays' type, since one double among them would make the whole loop double.
    """
    number = values.dtype.type
    size, correction = number(size), number(correction)
    for i in range(np.uint64(values.size)):
        first[i], second[i], step = _move(first[i], second[i], gradients[i], size, correction, values)
        values[i] -= step


class RowState(NamedTuple):
    """A parameter whose rows go through Adam each on its own clock.

    columns: C. values, first and second moments flat [N * C]; steps int64 [N] that each row has taken; learning_rates
    float64 [N].
    """

    columns: Any
    values: Any
    first: Any
    second: Any
    steps: Any
    learning_rates: Any


@kernel
def _adam_row(row, source, gradients, corrections, state):
    """adam_kernel for one row; its gradient begins at gradients[source]."""
    columns, values, first, second = state.columns, state.values, state.first, state.second
    state.steps[row] += 1
    t = min(state.steps[row], corrections.shape[1] - 1)
    size = state.learning_rates[row] * corrections[0, t]
    correction = corrections[1, t]
    begin, end = row * columns, (row + 1) * columns
    if columns >= LONG_ROW:
        adam_kernel(
            values[begin:end], gradients[source : source + columns], first[begin:end], second[begin:end], size, correction
        )
        return
    number = values.dtype.type
    size, correction = number(size), number(correction)
    for i in range(columns):
        at = begin + i
        first[at], second[at], step = _move(first[at], second[at], gradients[source + i], size, correction, values)
        values[at] -= step


@kernel
def adam_rows(rows, gradients, corrections, state):
    """One Adam step of some rows of a RowState, in place: gradients flat [U * C] of rows [U]; corrections as _corrections
    has them.
    """
    for i in range(rows.shape[0]):
        _adam_row(rows[i], i * state.columns, gradients, corrections, state)


@parallel_kernel
def adam_rows_in_parallel(rows, gradients, corrections, state):
    """The same, rows in parallel."""
    for i in prange(rows.shape[0]):
        _adam_row(rows[i], i * state.columns, gradients, corrections, state)


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
        self, parameter: torch.Tensor, multiplier: float, row_multipliers: np.ndarray | None = None
    ) -> None:
        super().__init__(parameter, multiplier)
        self._columns = parameter.shape[-1]
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
        parallel = values.size >= PARALLEL_ELEMENTS and numba.get_num_threads() > 1
        update = adam_rows_in_parallel if parallel else adam_rows
        state = RowState(self._columns, self.values, *self.moments, self._row_steps, self._rates)
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
        return [_RowSlot(parameter, multiplier, group.get("row_multipliers"))]
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

"""Adam, in one pass over memory per parameter, and the protocol of an optimiser.

For parameters in main memory one kernel updates the value and both moments element by element. For 57,000
parameters it takes about a third of the time of torch's fused Adam; a small tensor costs it 8 microseconds,
where a step of torch's costs 130 before any arithmetic. Same formula and constants as torch.optim.Adam, which
remains for parameters on another device.

A tensor of which a step touches only some rows can have its gradient as those rows, and then only they are updated:
each row keeps a clock of its own, and goes through Adam exactly as if the steps that did not touch it had not been
(docs/flows.md compares this with dense Adam).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numba
import numpy as np
import torch
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-8
# Fewer elements than this are updated on one thread.
PARALLEL_ELEMENTS = 50_000
# Rows of at least this many elements are worth the cost of slicing them out, which lets their loop be vectorised.
LONG_ROW = 16


class Optimiser(Protocol):
    """What the trainer asks of an optimiser; a problem may bring its own, e.g. for sparse updates."""

    def step(self) -> None:
        """Move the parameters against their gradients."""
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


class RowGradient(Protocol):
    """The gradient of some rows of a parameter [N, C]; that of all others is zero."""

    @property
    def rows(self) -> np.ndarray:
        """int64 [U], each row at most once."""
        ...

    @property
    def values(self) -> np.ndarray:
        """[U, C], of the parameter's type."""
        ...


def make_adam(groups: Sequence[Mapping[str, Any]]) -> Optimiser:
    """The fastest Adam for groups of "params", a list of leaf tensors, and a "multiplier" (1 if absent).

    A group of one tensor [..., C] in main memory may have a "row_gradient": a function that returns the RowGradient of
    the step, with leading dimensions flattened to N rows, or None; and then "row_multipliers" float64 [N], on top of
    the group's. ValueError if a parameter appears twice, or if there are multipliers for rows without a row gradient.
    """
    tensors = [tensor for group in groups for tensor in group["params"]]
    if len({id(tensor) for tensor in tensors}) != len(tensors):
        raise ValueError("a parameter appears twice among the parameter groups")
    if any("row_multipliers" in group and "row_gradient" not in group for group in groups):
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


@kernel
def _adam_row(row, columns, source, values, gradients, first, second, steps, corrections, learning_rates):
    """adam_kernel for one row of flat `values`; its gradient begins at gradients[source]."""
    steps[row] += 1
    t = min(steps[row], corrections.shape[1] - 1)
    size = learning_rates[row] * corrections[0, t]
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
def adam_rows(rows, columns, values, gradients, first, second, steps, corrections, learning_rates):
    """One Adam step of some rows of flat arrays [N * C], in place: gradients [U * C] of rows [U]; steps int64 [N];
    corrections as _corrections has them; learning_rates [N].
    """
    for i in range(rows.shape[0]):
        _adam_row(rows[i], columns, i * columns, values, gradients, first, second, steps, corrections, learning_rates)


@parallel_kernel
def adam_rows_in_parallel(rows, columns, values, gradients, first, second, steps, corrections, learning_rates):
    """The same, rows in parallel."""
    for i in prange(rows.shape[0]):
        _adam_row(rows[i], columns, i * columns, values, gradients, first, second, steps, corrections, learning_rates)


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

    def step(self, learning_rate: float) -> None:
        gradient = self.parameter.grad
        if gradient is None:
            return
        if self.parameter.data_ptr() != self.address:  # someone assigned to .data
            self._find_values()
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
        gradient: Callable[[], RowGradient | None],
        row_multipliers: np.ndarray | None = None,
    ) -> None:
        super().__init__(parameter, multiplier)
        self._gradient = gradient
        self._columns = parameter.shape[-1]
        self._row_steps = np.zeros(parameter.numel() // self._columns, dtype=np.int64)
        self._scale = np.full(self._row_steps.size, multiplier)
        if row_multipliers is not None:
            self._scale *= row_multipliers
        self._rates, self._rate = self._scale.copy(), 1.0

    def step(self, learning_rate: float) -> None:
        gradient = self._gradient()
        if gradient is None:
            return
        if self.parameter.data_ptr() != self.address:
            self._find_values()
        if learning_rate != self._rate:
            np.multiply(self._scale, learning_rate, out=self._rates)
            self._rate = learning_rate
        values = gradient.values.reshape(-1)
        parallel = values.size >= PARALLEL_ELEMENTS and numba.get_num_threads() > 1
        update = adam_rows_in_parallel if parallel else adam_rows
        update(
            gradient.rows, self._columns, self.values, values, *self.moments, self._row_steps, _corrections(),
            self._rates,
        )  # fmt: skip

    @property
    def clock(self) -> int | torch.Tensor:
        return torch.from_numpy(self._row_steps)

    @clock.setter
    def clock(self, steps: int | torch.Tensor) -> None:
        self._row_steps[:] = torch.as_tensor(steps).numpy()


def _make_slots(group: Mapping[str, Any]) -> list[_Slot]:
    multiplier = float(group.get("multiplier", 1.0))
    if "row_gradient" in group:
        (parameter,) = group["params"]
        return [_RowSlot(parameter, multiplier, group["row_gradient"], group.get("row_multipliers"))]
    return [_Slot(parameter, multiplier) for parameter in group["params"]]


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

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for slot in self._slots:
            slot.step(self._learning_rate)

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

    def step(self) -> None:
        """Update every parameter that has a gradient."""
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

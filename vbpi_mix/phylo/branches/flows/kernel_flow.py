"""What flows with kernels share: sums of weight rows over the distinct edges of a batch, and their gradient.

Weights are kept in single precision by default and all arithmetic is double: what limits such a flow is how fast the
rows of a batch come from memory, and rounding a weight is no error, as the density is that of the rounded weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.memory import Pool
from vbpi_mix.phylo.branches.flows.contract import FlowGradient, FlowPass, take_over
from vbpi_mix.phylo.branches.kernels import profiles as kernels

# Fewer trees than this are not shared out among threads.
PARALLEL_TREES = 4


@dataclass(frozen=True, eq=False)
class KernelPass:
    """values [T, E] and log_det [T]; profiles int32 [V, 3] of the batch; and the kernels' own arrays."""

    values: np.ndarray
    log_det: np.ndarray
    profiles: np.ndarray
    run: Any


class KernelFlow(ABC):
    """flows.contract.BranchFlow with `weights` [n_features, blocks * stride] (float32 or float64) and `biases` float64.

    A row of weights is blocks of as many units; blocks are padded to whole vectors, the stride, with zeros that stay zero.
    Everything starts zero but what `_start` fills.
    """

    kernels: ModuleType

    def __init__(
        self, name: str, n_features: int, blocks: int, units: int, layers: int | None, dtype: torch.dtype | None
    ) -> None:
        """layers: with a bias for each unit of each; None: a bias for each unit. dtype: of the weights, float32 if not given."""
        self.name = name
        self._units, self._stride = units, -(-units // LANES) * LANES
        self._size = blocks * self._stride
        self.weights = _aligned((n_features, self._size), dtype or torch.float32).requires_grad_()
        biases = (units,) if layers is None else (layers, self._stride)
        self.biases = _aligned(biases, torch.float64).requires_grad_()
        self.shared = (self.biases,)
        self._memory = Pool()
        # Indexed by feature or profile: -1 throughout, and left so by the kernels that write on it.
        self._place = np.full(n_features, -1)

    def _start(self, block: int, rows: np.ndarray, fans: int, generator: torch.Generator) -> None:
        """Xavier-uniform values (Glorot and Bengio 2010) for a block of these rows; fans: inputs and outputs together."""
        bound = math.sqrt(6.0 / fans)
        uniform = torch.rand(rows.size, self._units, generator=generator, dtype=torch.float64)
        values = uniform.mul_(2.0).sub_(1.0).mul_(bound).to(self.weights.dtype)
        self._views()["weights"].detach()[torch.from_numpy(rows), block] = values

    @property
    def n_parameters(self) -> int:
        """Weights and biases, without padding."""
        return sum(view.numel() for view in self._views().values())

    @abstractmethod
    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> Any:
        """The kernels' arrays for a batch."""

    @abstractmethod
    def _new_gradient(self, run: Any, draws: np.ndarray, log_det: np.ndarray) -> Any:
        """The kernels' arrays for the gradient of a pass."""

    def _views(self) -> dict[str, Tensor]:
        """Weights [n_features, blocks, units] and biases without padding, as views of the parameters' own memory."""
        blocks = self.weights.view(self.weights.shape[0], -1, self._stride)
        return {"weights": blocks[:, :, : self._units], "biases": self.biases[..., : self._units]}

    def forward(self, rows: np.ndarray, draws: np.ndarray) -> KernelPass:
        """As the contract says."""
        trees, edges = draws.shape
        take = self._memory.take
        profile_of, found = take((trees, edges), np.int64), take((trees * edges, 3), np.int32)
        count = kernels.index_profiles(rows, self._place, take((trees * edges,), np.int64), profile_of, found)
        profiles = found[:count]
        sums = take((count * self._size,), np.float64)
        weights = self.weights.detach().numpy().reshape(-1)
        _share(kernels, "gather", count, trees, profiles, self._size, weights, sums)
        run = self._new_pass(profile_of, sums)
        run.states[:, 0] = draws
        _share(self.kernels, "forward", trees, trees, run)
        return KernelPass(run.states[:, -1].copy(), run.log_det, profiles, run)

    def backward(self, done: FlowPass, values: np.ndarray, log_det: np.ndarray) -> FlowGradient:
        """As the contract says."""
        assert isinstance(done, KernelPass)
        run, profiles, size = done.run, done.profiles, self._size
        trees, count = done.values.shape[0], profiles.shape[0]
        back = self._new_gradient(run, values.copy(), log_det)
        _share(self.kernels, "backward", trees, trees, run, back)
        users = self._group(run.profile_of.reshape(-1), count)
        sums = self._memory.take((count * size,), np.float64)
        _share(self.kernels, "profile_gradients", count, trees, users, run, back, sums)
        touched = self._group(profiles.reshape(-1), self.weights.shape[0])
        number = touched.keys.size
        weights = self._memory.take((number * size,), self.weights.detach().numpy().dtype)
        _share(kernels, "scatter", number, trees, touched, size, sums, weights)
        biases = np.empty(self.biases.numel())
        self.kernels.bias_gradient(run, back, biases)
        rows = RowGradient(touched.keys, weights.reshape(number, size))
        return FlowGradient(back.draws, rows, (torch.from_numpy(biases).view_as(self.biases),))

    def state_dict(self) -> dict[str, Tensor]:
        """"weights" and "biases", without padding."""
        return {name: view.detach().contiguous() for name, view in self._views().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As the contract says."""
        take_over(self._views(), state, "flow ", "of another support or another flow")

    def _group(self, values: np.ndarray, largest: int) -> Any:
        """kernels.group of non-negative values below `largest`."""
        if largest > self._place.size:
            self._place = np.full(largest, -1)
        keys, starts = np.empty(values.size, np.int64), np.empty(values.size + 1, np.int64)
        members = np.empty(values.size, np.int64)
        count = kernels.group(values, self._place, keys, starts, members)
        return kernels.Groups(keys[:count], starts[: count + 1], members)


def _aligned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that begin on a cache line; float32 or float64."""
    numpy_type = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    zeros = Pool().take(shape, numpy_type)
    zeros[:] = 0.0
    return torch.from_numpy(zeros)


def _share(module: ModuleType, name: str, count: int, trees: int, *arguments: Any) -> None:
    """Run a kernel over `count` items: on all threads, if there are trees enough and it has a parallel form."""
    parallel = getattr(module, f"{name}_in_parallel", None)
    chunks = min(numba.get_num_threads(), count) if trees >= PARALLEL_TREES else 1
    if parallel is not None and chunks > 1:
        parallel(chunks, *arguments)
    else:
        getattr(module, name)(0, count, *arguments)

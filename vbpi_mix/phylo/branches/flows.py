"""Normalising flows of log branch lengths, shared by the components of a mixture.

A flow takes the base draws z [T, E] of T trees to y = f(z), tree by tree. Its weights are rows, one for each branch
feature (split or primary subsplit pair); an edge has the sum of the rows of its features, so that the flow is the same
whatever the order of the edges and wherever the tree is rooted. Zhang (2020), "Improved variational Bayesian phylogenetic
inference with normalizing flows".

Weights are kept in single precision by default and all arithmetic is double: what limits the flow is how fast the rows
of a batch come from memory, and rounding a weight is no error, as the density is that of the rounded weights.
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

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.branches.kernels import planar, realnvp
from vbpi_mix.phylo.branches.kernels import profiles as kernels
from vbpi_mix.phylo.models.likelihood import aligned
from vbpi_mix.phylo.sbn.support import SubsplitSupport

FLOWS = ("none", "planar", "realnvp")
DEFAULT_LAYERS = {"planar": 16, "realnvp": 10}
DEFAULT_HIDDEN = 100
# Fewer trees than this are not shared out among threads.
PARALLEL_TREES = 4


@dataclass(frozen=True)
class RowGradient:
    """The gradient of some rows of a tensor [n_rows, C]; that of all others is zero. rows int64 [U], values [U, C].

    Both are scratch memory, valid until the flow's next `backward`.
    """

    rows: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class FlowPass:
    """What a batch leaves for its gradient: which call of `forward` it was, and the base draws and rows it was given."""

    call: int
    rows: np.ndarray
    draws: np.ndarray
    values: np.ndarray
    log_det: np.ndarray


class BranchFlow(ABC):
    """A flow with `weights` [n_features, size] (float32 or float64) and `biases` float64 [L, ...].

    Both start such that the flow is the identity; rows are padded to whole vectors, with zeros that stay zero.
    """

    kernels: ModuleType

    def __init__(self, name: str, weights: Tensor, biases: Tensor) -> None:
        self.name = name
        self.weights = weights.requires_grad_()
        self.biases = biases.requires_grad_()
        self._size = weights.shape[1]
        self._place = np.full(weights.shape[0], -1)
        self._buffers: dict[str, np.ndarray] = {}
        self._calls = 0
        self._run: Any = None
        self._profiles = np.empty((0, 3), dtype=np.int32)

    @property
    def n_parameters(self) -> int:
        """Weights and biases, without padding."""
        return sum(view.numel() for view in self._views().values())

    @abstractmethod
    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> Any:
        """The kernels' arrays for a batch."""

    @abstractmethod
    def _views(self) -> dict[str, Tensor]:
        """Weights and biases without padding, as views of the parameters' own memory."""

    def forward(self, rows: np.ndarray, draws: np.ndarray) -> FlowPass:
        """y and log|det dy/dz| [T] of base draws z float64 [T, E]; rows int32 [T, E, 3] are the features of each edge,
        -1 for none.
        """
        trees, edges = draws.shape
        profile_of = self._take("profile_of", trees * edges, np.int64).reshape(trees, edges)
        profiles = self._take("profiles", 3 * trees * edges, np.int32).reshape(-1, 3)
        link = self._take("link", trees * edges, np.int64)
        count = kernels.index_profiles(rows, self._place, link, profile_of, profiles)
        self._profiles = profiles = profiles[:count]
        sums = self._take("sums", count * self._size, np.float64)
        weights = self.weights.detach().numpy().reshape(-1)
        _share(kernels, "gather", count, trees, profiles, self._size, weights, sums)
        self._run = run = self._new_pass(profile_of, sums)
        run.states[:, 0] = draws
        _share(self.kernels, "forward", trees, trees, run)
        self._calls += 1
        return FlowPass(self._calls, rows, draws, run.states[:, -1].copy(), run.log_det)

    def backward(self, done: FlowPass, values: np.ndarray, log_det: np.ndarray) -> tuple[np.ndarray, RowGradient, Tensor]:
        """Gradients with respect to the base draws [T, E], the weights and the biases, given those with respect to y
        float64 [T, E] and log|det J| [T].

        Only the last batch is still at hand; an earlier one goes forward again, through the weights as they are now.
        """
        if done.call != self._calls:
            self.forward(done.rows, done.draws)
        run, profiles, size = self._run, self._profiles, self._size
        trees, count = done.draws.shape[0], profiles.shape[0]
        gradient = values.copy()
        _share(self.kernels, "backward", trees, trees, run, gradient, log_det)
        users = self._group("users", run.profile_of.reshape(-1), count)
        sums = self._take("sums_gradient", count * size, np.float64)
        _share(self.kernels, "profile_gradients", count, trees, users, run, sums)
        touched = self._group("touched", profiles.reshape(-1), self.weights.shape[0])
        number = touched.keys.size
        weights = self._take("weights_gradient", number * size, self.weights.detach().numpy().dtype)
        _share(kernels, "scatter", number, trees, touched, size, sums, weights)
        biases = np.empty(self.biases.numel())
        self.kernels.bias_gradient(run, biases)
        rows = RowGradient(touched.keys, weights.reshape(number, size))
        return gradient, rows, torch.from_numpy(biases).view_as(self.biases)

    def state_dict(self) -> dict[str, Tensor]:
        """"weights" and "biases", without padding."""
        return {name: view.detach().contiguous() for name, view in self._views().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a flow of the same shape; CheckpointError if it is of another."""
        take_over(self._views(), state, "flow ", "of another support or another flow")

    def _group(self, name: str, values: np.ndarray, largest: int) -> Any:
        """kernels.group of non-negative values below `largest`."""
        if largest > self._place.size:
            self._place = np.full(largest, -1)
        keys = self._take(f"{name} keys", values.size, np.int64)
        starts = self._take(f"{name} starts", values.size + 1, np.int64)
        members = self._take(f"{name} members", values.size, np.int64)
        count = kernels.group(values, self._place, keys, starts, members)
        return kernels.Groups(keys[:count], starts[: count + 1], members)

    def _take(self, name: str, size: int, dtype: Any) -> np.ndarray:
        """Scratch memory [size] that begins on a cache line; the same one every time, if it is large enough."""
        held = self._buffers.get(name)
        if held is None or held.size < size:
            held = self._buffers[name] = aligned((size + size // 4,), np.dtype(dtype))
        return held[:size]


class RealNVP(BranchFlow):
    """Affine coupling layers, pendant and internal edges conditioning in turn (kernels/realnvp.py).

    In-weights of splits start Xavier-uniform; those of primary subsplit pairs, out-weights and biases start zero. So what a
    flow does to a tree with pairs that it has seldom seen is what it does to the splits of that tree.
    """

    kernels = realnvp

    def __init__(
        self,
        pendant: np.ndarray,
        n_splits: int,
        layers: int,
        hidden: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """pendant bool [n_features]: whether the edges with a feature are pendant; the first n_splits are the splits."""
        self._hidden = hidden
        self._stride = -(-hidden // LANES) * LANES
        pairs, odd = divmod(layers, 2)
        weights = _aligned_tensor((pendant.size, (3 * pairs + 2 * odd) * self._stride), dtype)
        super().__init__("realnvp", weights, _aligned_tensor((layers, self._stride), torch.float64))
        bound = math.sqrt(6.0 / (n_splits + hidden))
        blocks = self._views()["weights"].detach()
        for kind in (realnvp.PENDANT, realnvp.INTERNAL):
            rows = np.flatnonzero(pendant[:n_splits] == (kind == realnvp.PENDANT))
            for layer in range(kind, layers, 2):
                uniform = torch.rand(rows.size, hidden, generator=generator, dtype=torch.float64)
                block = realnvp.block_offset(kind, layer, 1)
                blocks[torch.from_numpy(rows), block] = uniform.mul_(2.0).sub_(1.0).mul_(bound).to(dtype)

    def _views(self) -> dict[str, Tensor]:
        blocks = self.weights.view(self.weights.shape[0], -1, self._stride)
        return {"weights": blocks[:, :, : self._hidden], "biases": self.biases[:, : self._hidden]}

    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> realnvp.CouplingPass:
        trees, edges = profile_of.shape
        layers = self.biases.shape[0]
        units, moved = trees * layers * self._stride, (trees, layers, edges)
        return realnvp.CouplingPass(
            profile_of=profile_of,
            weights=sums,
            biases=self.biases.detach().numpy().reshape(-1),
            size=self._size,
            stride=self._stride,
            states=np.empty((trees, layers + 1, edges)),
            hidden=self._take("hidden", units, np.float64),
            sigmoid=np.empty(moved),
            log_det=np.empty(trees),
            hidden_gradient=self._take("hidden_gradient", units, np.float64),
            shift_gradient=np.empty(moved),
            s_gradient=np.empty(moved),
        )


class Planar(BranchFlow):
    """Planar layers (kernels/planar.py). w of splits starts Xavier-uniform; of pairs, and u and biases, zero."""

    kernels = planar

    def __init__(
        self, n_features: int, n_splits: int, layers: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        self._stride = -(-layers // LANES) * LANES
        weights = _aligned_tensor((n_features, 2 * self._stride), dtype)
        super().__init__("planar", weights, torch.zeros(layers, dtype=torch.float64))
        bound = math.sqrt(6.0 / (n_splits + 1))
        uniform = torch.rand(n_splits, layers, generator=generator, dtype=torch.float64)
        self._views()["weights"].detach()[:n_splits, 0] = uniform.mul_(2.0).sub_(1.0).mul_(bound).to(dtype)

    def _views(self) -> dict[str, Tensor]:
        halves = self.weights.view(self.weights.shape[0], 2, self._stride)
        return {"weights": halves[:, :, : self.biases.shape[0]], "biases": self.biases}

    def _new_pass(self, profile_of: np.ndarray, sums: np.ndarray) -> planar.PlanarPass:
        trees, edges = profile_of.shape
        layers = self.biases.shape[0]
        return planar.PlanarPass(
            profile_of=profile_of,
            weights=sums,
            biases=self.biases.detach().numpy(),
            size=self._size,
            stride=self._stride,
            states=np.empty((trees, layers + 1, edges)),
            log_det=np.empty(trees),
            sums_gradient=np.empty((trees, edges, self._size)),
            activation_gradient=np.empty((trees, layers)),
        )


def take_over(parameters: Mapping[str, Tensor], state: Mapping[str, Any], what: str, otherwise: str) -> None:
    """Copy tensors of a checkpoint into parameters of the same names; CheckpointError if a shape differs."""
    with torch.no_grad():
        for name, mine in parameters.items():
            given = state.get(name)
            if not isinstance(given, Tensor) or given.shape != mine.shape:
                found = list(given.shape) if isinstance(given, Tensor) else "nothing"
                raise CheckpointError(
                    f"the checkpoint's {what}{name} have shape {found}, this model's {list(mine.shape)}: it is {otherwise}"
                )
            mine.copy_(given)


def _share(module: ModuleType, name: str, count: int, trees: int, *arguments: Any) -> None:
    """Run a kernel over `count` items: on all threads, if there are trees enough and it has a parallel form."""
    parallel = getattr(module, f"{name}_in_parallel", None)
    chunks = min(numba.get_num_threads(), count) if trees >= PARALLEL_TREES else 1
    if parallel is not None and chunks > 1:
        parallel(chunks, *arguments)
    else:
        getattr(module, name)(0, count, *arguments)


def flow_size(name: str, layers: int | None = None, hidden: int | None = None) -> tuple[int | None, int | None]:
    """Layers and hidden units of the flow of that name, the published ones where not given; None for what it has not.

    ConfigError for another name, fewer than one layer or hidden unit, or a size of something that the flow has not.
    """
    if name not in FLOWS:
        raise ConfigError(f"flow {name!r} is unknown: give {', '.join(FLOWS)}")
    if name == "none" and layers is not None:
        raise ConfigError(f"{layers} layers of no flow: give planar or realnvp as well")
    if name != "realnvp" and hidden is not None:
        raise ConfigError(f"{hidden} hidden units: only realnvp has such, and the flow is {name}")
    for what, value in (("layers", layers), ("hidden units", hidden)):
        if value is not None and value < 1:
            raise ConfigError(f"a flow with {value} {what}: give at least 1")
    return layers or DEFAULT_LAYERS.get(name), hidden or (DEFAULT_HIDDEN if name == "realnvp" else None)


def make_flow(
    name: str,
    support: SubsplitSupport,
    generator: torch.Generator,
    layers: int | None = None,
    hidden: int | None = None,
    dtype: torch.dtype = torch.float32,
    split_only: bool = False,
) -> BranchFlow | None:
    """The flow of that name over the features of a support, or over its splits only; None for "none".

    Raises ConfigError as `flow_size` does.
    """
    layers, hidden = flow_size(name, layers, hidden)
    pendant = support.pendant_features[: support.n_splits if split_only else None]
    if layers is None:
        return None
    if hidden is None:
        return Planar(pendant.size, support.n_splits, layers, generator, dtype)
    return RealNVP(pendant, support.n_splits, layers, hidden, generator, dtype)


def _aligned_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that begin on a cache line."""
    numpy_type = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    return torch.from_numpy(aligned(shape, np.dtype(numpy_type)))

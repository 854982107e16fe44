"""Log-likelihoods of trees under models of four states, and all their gradients, on a CUDA device.

Patterns stay on the device; a call sends trees, lengths and models there and gets sums back. `evaluate_batch` stands for
that of kernels/four_states.py where patterns are `DevicePatterns`. All sums are taken in an order that the
data decide, so that the same call gives the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.gpu import kernels
from vbpi_mix.phylo.models.gpu.arithmetic import RATES, TAXA_BETWEEN_RESCALINGS, THREADS, slots_of
from vbpi_mix.phylo.models.kernels.pruning import mark_rescaled
from vbpi_mix.phylo.models.kernels.spectra import Results, correct_for_ascertainment
from vbpi_mix.phylo.models.rates import Rates

# numba takes a launch of few blocks for a mistake; here it is one of few patterns.
warnings.filterwarnings("ignore", message="Grid size .* will likely result in GPU under-utilization")

# Of the device's free memory, what the rows that are worked on at once may fill.
_SHARE_OF_MEMORY = 0.5
# Limit of CUDA for the second axis of a grid.
_MOST_BLOCKS = 65535


@dataclass(frozen=True, eq=False)
class DevicePart:
    """Patterns of one part of the data on the device (arithmetic.py), those of +ASC last, and the sum of the weights."""

    n_taxa: int
    size: int
    weight: float
    ascertained: bool
    codes: Any
    sites: Any
    work: _Memory


class DevicePatterns:
    """Patterns of several parts, each with its own parameters: row t G + g is part g of G under tree t."""

    on_device = True

    def __init__(self, parts: tuple[DevicePart, ...]) -> None:
        self.parts = parts

    @property
    def n_patterns(self) -> int:
        """Of all parts."""
        return sum(part.size for part in self.parts)


def join(packed: Sequence[DevicePatterns]) -> DevicePatterns:
    """The parts of all."""
    return DevicePatterns(tuple(part for each in packed for part in each.parts))


def evaluate_batch(
    children: np.ndarray,
    lengths: np.ndarray,
    patterns: DevicePatterns,
    rates: Rates,
    which: np.ndarray,
    chunks: int,
    request: tuple[bool, bool],
    results: Results,
) -> None:
    """Log-likelihoods of G parts under T trees, and where request[0] all their derivatives, as of kernels/four_states.py.

    chunks is of no account: how many rows are worked on at once is left to the device's memory. ConfigError if that has no room
    for one.
    """
    trees, models, parts = _with_slots(children), _models(rates), patterns.parts
    for g, part in enumerate(parts):
        rows = np.arange(g, which.size, len(parts))
        held = part.work.hold(rows.size, rates.rates.shape[1])
        for first in range(0, rows.size, held):
            chunk = slice(first, first + held)
            own = rows[chunk]
            _evaluate(part, (trees[chunk], lengths[chunk], models[which[own]]), own, request[0], results)


def pack(sets: np.ndarray, weights: np.ndarray, ascertainment: bool) -> DevicePatterns:
    """State sets [n, P] and weights [P] of one part, sent to the device; with ascertainment the constant patterns follow."""
    constant = 4 if ascertainment else 0
    size = sets.shape[1] + constant
    codes, sites = np.empty((sets.shape[0] + 1, size), np.uint8), np.zeros((2, size))
    codes[:-1, : sets.shape[1]] = sets
    codes[:-1, sets.shape[1] :] = 1 << np.arange(constant)
    codes[-1] = np.bitwise_and.reduce(codes[:-1], axis=0)
    sites[0, : weights.size], sites[1, weights.size :] = weights, 1.0
    n = sets.shape[0]
    part = DevicePart(
        n, size, float(weights.sum()), ascertainment, cuda.to_device(codes.ravel()), cuda.to_device(sites.ravel()),
        _Memory(n, size),
    )  # fmt: skip
    return DevicePatterns((part,))


class _Memory:
    """What the kernels write on the device (arithmetic.py), kept between calls; it grows when a call has more rows."""

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size
        self.strips = kernels.strips_of(size)
        self._rows, self._categories, self._is_full = 0, 0, False
        self.arrays: dict[str, Any] = {}

    def _sizes(self, categories: int) -> dict[str, int]:
        """Numbers of each array, for one row."""
        n, size, inner, nodes = self.n, self.size, self.n - 2, 2 * self.n - 2
        return {
            "trees": inner * 3,
            "lengths": nodes - 1,
            "models": RATES + 2 * categories,
            "corrections": 1,
            "transitions": categories * nodes * 16,
            "message": categories * inner * 4 * size,
            "scale": categories * slots_of(n) * size,
            "exponent": categories * size,
            "likelihood": categories * size,
            "totals": 3 * size,
            "sums": self.strips * (7 + categories),
            "cross": categories * self.strips * nodes * 16,
            "edges": categories * (nodes + 17),
        }

    def hold(self, rows: int, categories: int) -> int:
        """Make room for as many of the rows as the device has memory for, and return how many these are."""
        if categories == self._categories and (rows <= self._rows or self._is_full):
            return min(rows, self._rows)
        sizes = self._sizes(categories)
        bytes_of_row = 8 * sum(sizes.values())
        self.arrays.clear()
        self._rows = 0
        free = float(cuda.current_context().get_memory_info()[0])
        most = min(_SHARE_OF_MEMORY * free / bytes_of_row, _MOST_BLOCKS // categories)
        if most < 1:
            raise ConfigError(
                f"--device cuda: one tree of {self.n} taxa and {self.size} patterns takes {bytes_of_row / 2**30:.1f} GiB, and "
                f"half of the device's {free / 2**30:.1f} GiB of free memory may be used; leave --device cuda out"
            )
        held = int(min(rows, most))
        self.arrays = {
            name: cuda.device_array(held * each, np.int32 if name == "trees" else np.float64) for name, each in sizes.items()
        }
        self._rows, self._categories, self._is_full = held, categories, held == int(most)
        return held

    def send(self, name: str, values: np.ndarray) -> None:
        """Values to the front of an array."""
        self.arrays[name][: values.size].copy_to_device(np.ascontiguousarray(values).ravel())


def _with_slots(children: np.ndarray) -> np.ndarray:
    """Children [T, n-2, 2], and where the rescaling of each node is kept, -1 where it is not rescaled, int32 [T, n-2, 3]."""
    n = children.shape[1] + 2
    trees = np.empty((children.shape[0], n - 2, 3), np.int32)
    trees[:, :, :2] = children
    pending, rescaled = np.zeros(2 * n - 2, np.int64), np.zeros((children.shape[0], 2 * n - 2), np.bool_)
    for own, marks in zip(children, rescaled, strict=True):
        mark_rescaled(own, n, TAXA_BETWEEN_RESCALINGS, pending, marks)
    trees[:, :, 2] = np.where(rescaled[:, n:], np.cumsum(rescaled[:, n:], axis=1) - 1, -1)
    return trees


def _models(rates: Rates) -> np.ndarray:
    """Rates as the kernels take them, [M, 41 + 2 C]."""
    flat = [rates.vectors, rates.inverse, rates.values, rates.frequencies, rates.invariant, rates.rates, rates.weights]
    vectors = rates.values.shape[0]
    return np.concatenate([np.asarray(each, np.float64).reshape(vectors, -1) for each in flat], axis=1)


def _evaluate(
    part: DevicePart, batch: tuple[np.ndarray, np.ndarray, np.ndarray], rows: np.ndarray, gradient: bool, results: Results
) -> None:
    """One part under some trees, with their lengths and models; `rows` of the results."""
    trees, lengths, models = batch
    n, size, strips, at = part.n_taxa, part.size, part.work.strips, part.work.arrays
    count, categories = rows.size, (models.shape[1] - RATES) // 2
    shape, by_patterns = (n, size, categories), -(-size // THREADS)
    own, threads = count * categories, THREADS
    for name, values in (("trees", trees), ("lengths", lengths), ("models", models)):
        part.work.send(name, values)
    kernels.set_transitions[(-(-(2 * n - 3) // threads), own), threads](at["models"], at["lengths"], at["transitions"], shape)
    kernels.sweep_up[(by_patterns, own), threads](
        at["trees"], part.codes, at["transitions"], at["message"], at["scale"], at["exponent"], shape
    )
    of_root = at["message"], at["exponent"], at["likelihood"], at["totals"]
    kernels.root_values[(strips, count), threads](part.codes, part.sites, at["models"], *of_root, at["sums"], shape)
    corrections = np.zeros(count)
    if part.ascertained or not gradient:
        found = _root_sums(part, count, categories)
        results.values[rows], corrections = _values(part, found)
    if not gradient:
        return
    part.work.send("corrections", corrections)
    kernels.root_slopes[(strips, count), threads](
        part.codes, part.sites, at["models"], *of_root, at["corrections"], at["sums"], shape
    )
    kernels.sweep_down[(strips, own), threads](
        at["trees"], part.codes, at["transitions"], at["message"], at["scale"], at["cross"], shape
    )
    numbers = (2 * n - 2) * 16
    if strips > 1:
        kernels.add_strips[(-(-numbers // threads), own), threads](at["cross"], numbers, strips)
    kernels.pull_back[own, threads](at["models"], at["lengths"], at["cross"], at["edges"], strips, shape)
    _store(part, lengths, models, rows, results)


def _root_sums(part: DevicePart, count: int, categories: int) -> np.ndarray:
    """Of the root, [R, 7 + C], strips added."""
    numbers = count * part.work.strips * (7 + categories)
    found = part.work.arrays["sums"][:numbers].copy_to_host().reshape(count, part.work.strips, -1)
    return np.asarray(found.sum(axis=1))


def _values(part: DevicePart, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods [R] of sums of the root, and their derivatives in the likelihood of the constant patterns of +ASC."""
    if not part.ascertained:
        return found[:, 0], np.zeros(len(found))
    pairs = [correct_for_ascertainment(value, part.weight, constant) for value, constant in found[:, :2]]
    return np.array([value for value, _ in pairs]), np.array([slope for _, slope in pairs])


def _store(part: DevicePart, lengths: np.ndarray, models: np.ndarray, rows: np.ndarray, results: Results) -> None:
    """Sums from the device, as results."""
    count, nodes, categories = rows.size, lengths.shape[1] + 1, (models.shape[1] - RATES) // 2
    numbers = count * categories * (nodes + 17)
    of_edges = part.work.arrays["edges"][:numbers].copy_to_host().reshape(count, categories, nodes + 17)
    of_root = _root_sums(part, count, categories)
    results.values[rows] = _values(part, of_root)[0]
    results.lengths[rows] = (models[:, RATES : RATES + categories, None] * of_edges[:, :, 1:nodes]).sum(axis=1)
    results.eigen[rows] = of_edges[:, :, nodes : nodes + 16].sum(axis=1).reshape(count, 4, 4)
    results.rates[rows] = of_edges[:, :, nodes + 16]
    results.invariant[rows] = of_root[:, 2]
    results.frequencies[rows] = of_root[:, 3:7]
    results.weights[rows] = of_root[:, 7:]

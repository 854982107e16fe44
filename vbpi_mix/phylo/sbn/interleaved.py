"""Many networks at once: tables with the components side by side, of which a step reads and moves what its trees touch.

With one component after the other a step normalises, differentiates and updates every parameter of each. Side by side
[n_params, W] it looks up the groups that hold the parameters of its trees, once for all components, and normalises those
alone; their members are the rows that have a gradient (vbpi_mix.gradients.RowGradient), and no other row moves.

Shapes: T trees, A components, W the next multiple of eight, whose columns beyond A stay zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.sbn.kernels import draw
from vbpi_mix.phylo.sbn.kernels import interleaved as kernels
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

# Fewer trees times lanes than this are worked on by one thread.
PARALLEL_WORK = 256


def lanes_of(n_components: int) -> int:
    """W."""
    return -(-n_components // LANES) * LANES


def interleave(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A table [N, C * W] of values [A, N, C]: row i has the W values of each column of i; a leaf with gradient."""
    components, rows, columns = values.shape
    table = torch.zeros(rows, columns, lanes_of(components), dtype=dtype)
    table[:, :, :components] = torch.from_numpy(values.copy()).permute(1, 2, 0)
    return table.view(rows, -1).requires_grad_()


def component_view(table: Tensor, n_components: int, columns: int) -> Tensor:
    """The same memory as [A, N, C], without gradient; what is written to it is in the table."""
    return table.detach().view(table.shape[0], columns, -1)[:, :, :n_components].permute(2, 0, 1)


@dataclass(frozen=True, eq=False)
class InterleavedStep:
    """T trees under all A components, with all that the gradient needs. log_q float64 [T, A]."""

    log_q: np.ndarray
    touched: kernels.Touched
    arrays: kernels.InterleavedPass
    threads: int


def draw_topologies(
    table: np.ndarray, support: SubsplitSupport, sampled: np.ndarray, uniforms: np.ndarray, threads: int
) -> EncodedTopologies:
    """Topologies drawn from networks of a table [n_params, W]: equally many of each component in `sampled`, one after the
    other, with uniforms [T, n-1]. Of the networks no more is normalised than the draws come to.
    """
    encoded = EncodedTopologies.empty(uniforms.shape[0], support.n_taxa)
    nothing = np.empty(0), np.empty(0, np.bool_)
    network = draw.Network(*nothing, table.reshape(-1), table.shape[1], 0)
    arguments = sampled, network, uniforms, support.arrays, encoded.arrays
    if min(threads, sampled.size) > 1:
        draw.draw_from_table_in_parallel(min(threads, sampled.size), *arguments)
    else:
        draw.draw_from_table(0, sampled.size, *arguments)
    return encoded


def evaluate(
    table: np.ndarray, support: SubsplitSupport, encoded: EncodedTopologies, n_components: int, threads: int
) -> InterleavedStep:
    """log q_a(tau) of trees inside the support, under all A components of a table [n_params, W]."""
    width, trees = table.shape[1], len(encoded)
    touched = find_touched(support, encoded)
    used, groups, members = touched.used.size, touched.starts.size - 1, int(touched.starts[-1])
    arrays = kernels.InterleavedPass(
        width=width,
        children=encoded.children,
        log_q=np.empty(trees * width),
        rooting=np.empty(encoded.splits.size * width),
        log_probabilities=np.empty(used * width),
        weights=np.empty(members * width, table.dtype),
        inverse=np.empty(groups * width),
        log_totals=np.empty(groups * width),
    )
    flat, chunks = table.reshape(-1), chunks_of(threads, trees, width)
    if chunks > 1:
        kernels.evaluate_in_parallel(chunks, flat, touched, arrays)
    else:
        kernels.evaluate((0, width), flat, touched, arrays)
    return InterleavedStep(arrays.log_q.reshape(trees, width)[:, :n_components], touched, arrays, threads)


def pull_back(step: InterleavedStep, upstream: np.ndarray) -> RowGradient:
    """The gradient of the table, given that of log_q, [T, A]."""
    width, (trees, components) = step.arrays.width, upstream.shape
    if components < width:
        upstream = np.pad(upstream, ((0, 0), (0, width - components)))
    starts, first = step.touched.starts, step.touched.groups[:, 0]
    rows = np.arange(starts[-1]) + np.repeat(first - starts[:-1], np.diff(starts))
    counts = np.empty(step.touched.used.size * width)
    found = np.empty(rows.size * width, step.arrays.weights.dtype)
    arguments = step.touched, step.arrays, np.ascontiguousarray(upstream).reshape(-1), counts, found
    chunks = chunks_of(step.threads, trees, width)
    if chunks > 1:
        kernels.gradient_in_parallel(chunks, *arguments)
    else:
        kernels.gradient((0, width), *arguments)
    return RowGradient(rows, found.reshape(rows.size, width))


def find_touched(support: SubsplitSupport, encoded: EncodedTopologies) -> kernels.Touched:
    """The parameters and groups that trees use."""
    parameters, room = encoded.parameters.reshape(-1), min(encoded.parameters.size, support.n_params) + kernels.FIRST
    wanted = kernels.Touched(
        numbers=np.empty(parameters.size, np.int32),
        used=np.empty(room, np.int64),
        owner=np.empty(room, np.int64),
        groups=np.empty((room, 2), np.int64),
        starts=np.empty(0, np.int64),
    )
    used, count = kernels.find_touched(parameters, support.group_of, wanted)
    groups = support.groups[wanted.groups[:count, 0]]
    starts = np.concatenate([[0], np.cumsum(groups[:, 1] - groups[:, 0])])
    numbers = wanted.numbers.reshape(encoded.parameters.shape)
    return kernels.Touched(numbers, wanted.used[:used], wanted.owner[:used], groups, starts)


def chunks_of(threads: int, trees: int, width: int) -> int:
    """Into how many parts the lanes of so many trees are cut."""
    return min(threads, width // LANES) if trees * width >= PARALLEL_WORK else 1

"""Gamma lengths under many components side by side: a BasePass of which a step reads and moves only what its trees touch.

Shapes: T trees, E edges, A components, W the next multiple of eight, V distinct edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import EdgeBatch
from vbpi_mix.phylo.branches.kernels import gamma_interleaved as kernels
from vbpi_mix.phylo.branches.kernels.gamma_function import gamma_tables
from vbpi_mix.phylo.branches.kernels.profiles import index_profiles, number_distinct
from vbpi_mix.phylo.sbn.interleaved import chunks_of


@dataclass(frozen=True, eq=False)
class GammaLanesPass:
    """Draws [T, E] and their log densities [T, A], with what their gradient needs."""

    arrays: kernels.GammaLanes
    log_q: np.ndarray
    n_features: int
    chunks: int

    @property
    def draws(self) -> np.ndarray:
        """float64 [T, E]."""
        draws: np.ndarray = self.arrays.draws
        return draws


def sample(table: np.ndarray, batch: EdgeBatch, noise: np.ndarray) -> GammaLanesPass:
    """As BaseDensity.sample, from a table [n_features, 2 * W]; all components are evaluated, in order."""
    (trees, edges), width = noise.shape, table.shape[1] // 2
    profile_of, profiles = np.empty((trees, edges), np.int64), np.empty((trees * edges, 3), np.int32)
    count = index_profiles(
        batch.rows, np.full(table.shape[0], -1), np.empty(trees * edges, np.int64), profile_of, profiles
    )
    of_edges = np.empty((5, count * width))
    arrays = kernels.GammaLanes(
        width=width, component=batch.own, noise=noise, profiles=profiles[:count], profile_of=profile_of,
        draws=np.empty((trees, edges)), draw_slopes=np.empty((trees, edges)), log_q=np.empty(trees * width),
        modes=of_edges[0], shapes=of_edges[1], free=of_edges[2], constants=of_edges[3], slopes=of_edges[4],
        scores=np.empty(trees * edges * 2 * width, table.dtype),
    )  # fmt: skip
    chunks = chunks_of(batch.threads, trees, width)
    if chunks > 1:
        kernels.sample_in_parallel(chunks, table.reshape(-1), gamma_tables(), arrays)
    else:
        kernels.sample(table.reshape(-1), gamma_tables(), arrays)
    log_q = arrays.log_q.reshape(trees, width)[:, : batch.evaluated.size]
    return GammaLanesPass(arrays, log_q, table.shape[0], chunks)


def pull_back(done: GammaLanesPass, draws: np.ndarray, log_q: np.ndarray) -> RowGradient:
    """The gradient of the table, given those of the draws [T, E] and of log_q [T, A]."""
    q, width = done.arrays, done.arrays.width
    if log_q.shape[1] < width:
        log_q = np.pad(log_q, ((0, 0), (0, width - log_q.shape[1])))
    upstream = np.ascontiguousarray(log_q).reshape(-1)
    numbers = np.empty(q.profiles.size, np.int64)
    rows = number_distinct(q.profiles.reshape(-1), np.full(done.n_features, -1), numbers)
    moved, found = np.empty(draws.shape), np.empty(rows.size * 2 * width, q.scores.dtype)
    kernels.moved_draws(q, np.ascontiguousarray(draws), upstream, moved)
    places = numbers.reshape(q.profiles.shape)
    if done.chunks > 1:
        kernels.gradient_in_parallel(done.chunks, q, places, moved, upstream, found)
    else:
        kernels.gradient((0, width), q, places, moved, upstream, found)
    return RowGradient(rows, found.reshape(rows.size, 2 * width))

"""What base densities have in common whose two parameters of an edge are sums of rows of a table, drawn by a normal each.

A density of its own brings the module of its kernels, the arrays that they fill, and what they are called with besides.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import BasePass, EdgeBatch
from vbpi_mix.phylo.branches.kernels.profiles import number_distinct

# A branch that has learned nothing has a median of about exp(-2) = 0.135 substitutions per site.
LOG_LENGTH_SHIFT = -2.0


@dataclass(frozen=True, eq=False)
class TablePass:
    """Draws [T, E] and their log densities [T, R]; the batch, and the named tuple that the kernels filled for the gradient."""

    batch: EdgeBatch
    features_shape: tuple[int, ...]
    arrays: Any

    @property
    def draws(self) -> np.ndarray:
        """float64 [T, E]."""
        draws: np.ndarray = self.arrays.draws
        return draws

    @property
    def log_q(self) -> np.ndarray:
        """float64 [T, R]."""
        log_q: np.ndarray = self.arrays.log_q
        return log_q


class Tabular(ABC):
    """Tables float64 [A, n_features, 2], and draws and gradients by kernels.

    kernels: the module with `sample`, `pull_back` and their parallel forms. parallel_trees: fewer trees times components
    than this are worked on by one thread, which is about 0.1 ms of work.
    """

    kernels: ModuleType
    parallel_trees: int
    shift = LOG_LENGTH_SHIFT

    @abstractmethod
    def _arrays(self, batch: EdgeBatch, noise: np.ndarray) -> Any:
        """The kernels' named tuple for a batch, to be filled."""

    def _constants(self) -> tuple[Any, ...]:
        """What `kernels.sample` takes between the features and the arrays."""
        return ()

    @abstractmethod
    def _upstream(self, draws: np.ndarray, log_q: np.ndarray) -> tuple[Any, ...]:
        """Gradients with respect to draws [T, E] and log_q [T, R] as `kernels.pull_back` takes them."""

    def initial_features(self, n_features: int, n_components: int, generator: torch.Generator) -> Tensor:
        """Tables float64 [A, n_features, 2], Xavier-uniform per component."""
        bound = math.sqrt(6.0 / (n_features + 2))
        uniform = torch.rand(n_components, n_features, 2, generator=generator, dtype=torch.float64)
        return (uniform.mul_(2.0).sub_(1.0).mul_(bound)).requires_grad_()

    def noise(self, trees: int, edges: int, generator: torch.Generator) -> np.ndarray:
        """Standard normals [T, E]: a draw is the quantile that its normal has, so that no draw is ever rejected."""
        return torch.randn(trees, edges, generator=generator, dtype=torch.float64).numpy()

    def sample(self, features: np.ndarray, batch: EdgeBatch, noise: np.ndarray) -> TablePass:
        """As the contract says, in one pass of a kernel."""
        trees = noise.shape[0]
        arrays = self._arrays(batch, noise)
        chunks = min(batch.threads, trees) if trees * batch.evaluated.size >= self.parallel_trees else 1
        if chunks > 1:
            self.kernels.sample_in_parallel(chunks, features, *self._constants(), arrays)
        else:
            self.kernels.sample(0, trees, features, *self._constants(), arrays)
        return TablePass(batch, features.shape, arrays)

    def pull_back(self, done: BasePass, draws: np.ndarray, log_q: np.ndarray) -> RowGradient:
        """As the contract says: rows of the first evaluated component, then those of the next."""
        assert isinstance(done, TablePass)
        batch, n_features = done.batch, done.features_shape[1]
        numbers = np.empty(batch.rows.size, np.int64)
        touched = number_distinct(batch.rows.reshape(-1), np.full(n_features, -1), numbers)
        components = batch.evaluated.size
        tables = np.empty((components, touched.size, 2))
        several = components > 1 and batch.own.size * components >= self.parallel_trees
        run = self.kernels.pull_back_in_parallel if batch.threads > 1 and several else self.kernels.pull_back
        run(done.arrays, numbers.reshape(batch.rows.shape), *self._upstream(draws, log_q), tables)
        rows = (batch.evaluated[:, None] * n_features + touched).reshape(-1)
        return RowGradient(rows, tables.reshape(-1, 2))

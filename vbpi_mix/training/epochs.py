"""Data in mini-batches, epoch by epoch: which rows make up an iteration, and epochs as iterations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.training.extension import Standing


class EpochOrder:
    """Which of `count` rows make up iteration t, which follows from (seed, t) alone: a resumed run continues bit for bit.

    Each epoch has a permutation of its own; what is left over of it is dropped.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    @property
    def iterations(self) -> int:
        """Of an epoch: count // batch_size."""
        return self._count // self._batch_size

    def rows(self, iteration: int) -> Tensor:
        """[batch_size] the rows of iteration t >= 1."""
        epoch, step = divmod(iteration - 1, self.iterations)
        if epoch != self._epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            self._epoch, self._order = epoch, torch.from_numpy(order)
        return self._order[step * self._batch_size : (step + 1) * self._batch_size]


def iterations_of(epochs: int | None, per_epoch: int, standing: Standing) -> int | None:
    """Epochs as iterations. ConfigError, in epochs, if the run has had more than these."""
    if epochs is not None and epochs * per_epoch < standing.iterations:
        had = standing.iterations / per_epoch
        raise ConfigError(f"--epochs {epochs} in all, but the run has had {had:.4g}: give more")
    return None if epochs is None else epochs * per_epoch

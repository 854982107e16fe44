"""A cell model and its data in mini-batches, as training.batch_problem asks for them.

Which cells make up iteration t follows from (seed, t) alone, so that a resumed run continues bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vbpi_mix.cells.mixture import CellDraws, CellMixture, CellTarget
from vbpi_mix.cells.model import CellModel
from vbpi_mix.errors import ConfigError
from vbpi_mix.parallel import Share
from vbpi_mix.training.epochs import EpochOrder


@dataclass(frozen=True, eq=False)
class CellBatch:
    """Cells that mixture and target are conditioned on."""

    mixture: CellMixture
    target: CellTarget
    share: Share

    def diagnostics(self, draws: CellDraws) -> tuple[Tensor]:
        """Of each cell, how far its components are apart."""
        return (draws.diversity(),)


class CellBatches:
    """A model and its cells: float32 counts [N, G] to train on, [M, G] to validate.

    batch_size  cells of an iteration; what is left over of an epoch is dropped, and the next permutation leaves others over
    seed        of the order of the cells

    ConfigError if there are fewer cells than a batch has.
    """

    diagnostic_names = ("diversity",)

    def __init__(self, model: CellModel, training: Tensor, validation: Tensor, *, batch_size: int, seed: int) -> None:
        if not 2 <= batch_size <= len(training):
            raise ConfigError(f"batch size {batch_size} for {len(training)} training cells: give from 2 to {len(training)}")
        self.model = model
        self.batch_size = batch_size
        self._training = training
        self._validation = validation
        self._order = EpochOrder(len(training), batch_size, seed)

    @property
    def n_components(self) -> int:
        """A."""
        return self.model.spec.components

    @property
    def iterations_per_epoch(self) -> int:
        """N // batch_size."""
        return self._order.iterations

    def training(self, iteration: int, generator: torch.Generator) -> CellBatch:
        """The batch of iteration t >= 1, the model in training mode."""
        self.model.train()
        return self._batch(self._training[self._order.rows(iteration)])

    def validation(self) -> Iterator[CellBatch]:
        """The validation cells, the model in evaluation mode."""
        self.model.eval()
        for counts in self._validation.split(self.batch_size):
            yield self._batch(counts)

    def _batch(self, counts: Tensor) -> CellBatch:
        whole = Share(0, len(counts), len(counts))
        return CellBatch(CellMixture(self.model, counts), CellTarget(self.model, counts), whole)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Two groups, "encoder" and "decoder"."""
        return [
            {"name": "encoder", "params": list(self.model.encoder.parameters())},
            {"name": "decoder", "params": list(self.model.decoder.parameters())},
        ]

    def state_dict(self) -> Mapping[str, Any]:
        """That of the model, stored statistics included."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same model, in place. RuntimeError if it is of another."""
        self.model.load_state_dict(state)

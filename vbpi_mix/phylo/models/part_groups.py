"""Parts of a character model that are worked on together: those that have one model, and those that one call evaluates.

Shapes: T trees, M parameter vectors, G parts of the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.phylo.models import reversible_likelihood
from vbpi_mix.phylo.models.part import PartModel
from vbpi_mix.phylo.models.rates import Rates


@dataclass(frozen=True, eq=False)
class Alike:
    """Parts that have the same model and priors: their numbers [G], where in theta their parameters are [G, d], and the model."""

    numbers: np.ndarray
    places: np.ndarray
    model: PartModel

    def gather(self, theta: np.ndarray) -> np.ndarray:
        """Their parameters as rows, [G M, d], part after part, of theta [M, D]."""
        parts, size = self.places.shape
        return np.ascontiguousarray(theta[:, self.places].transpose(1, 0, 2)).reshape(parts * theta.shape[0], size)


@dataclass(frozen=True, eq=False)
class Kind:
    """Parts whose likelihoods one call evaluates: their numbers [G] and patterns."""

    numbers: np.ndarray
    packed: reversible_likelihood.PackedPatterns

    def stack(self, rates: Sequence[Rates]) -> Rates:
        """Of all parts' M parameter vectors each, those of its own, [G M]."""
        if self.numbers.size == 1:
            return rates[int(self.numbers[0])]
        return Rates(*(np.concatenate(arrays) for arrays in zip(*(rates[g] for g in self.numbers.tolist()), strict=True)))

    def rows(self, which: np.ndarray, vectors: int) -> np.ndarray:
        """Which of the G M parameter vectors each part has under each tree, [T G], where tree t has number which[t] of M."""
        return np.asarray(which[:, None] + vectors * np.arange(self.numbers.size)).ravel()

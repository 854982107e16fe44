"""Held-out likelihood of cells by importance sampling, cell by cell.

For every cell the same weights w of L samples of each of the A components, all A in the denominator, give two forms in nats:

    published   (1/A) sum_a log (1/L) sum_l w_al
    pooled      log (1/(A L)) sum_al w_al         never smaller, and tends to log p(x) as L grows

The noise of test cell i is a stream of its own, made of (seed, i): no result depends on other cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.cells.mixture import CellMixture, CellTarget
from vbpi_mix.cells.model import CellModel
from vbpi_mix.estimators import pooled_estimate, published_estimate
from vbpi_mix.evaluation import draw_log_weights
from vbpi_mix.training.validation import hash_seed


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Of each test cell [N], in nats: both forms, and the single-sample bound."""

    published: NDArray[np.float64]
    pooled: NDArray[np.float64]
    elbo: NDArray[np.float64]
    importance_samples: int

    def mean(self, column: str) -> float:
        """Over the cells."""
        return float(np.mean(getattr(self, column)))

    def standard_error(self, column: str) -> float:
        """Of the mean, over the cells: what another sample of test cells would change; Monte Carlo error included."""
        values = getattr(self, column)
        return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def held_out(
    model: CellModel,
    counts: Tensor,
    *,
    importance_samples: int,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> HeldOut:
    """Evaluate counts [N, G], the model in evaluation mode. `progress` is told how many cells are done, and of how many."""
    model.eval()
    rows = []
    for index, cell in enumerate(counts.split(1)):
        generator = torch.Generator().manual_seed(hash_seed(seed, index))
        log_w = draw_log_weights(CellMixture(model, cell), CellTarget(model, cell), importance_samples, generator).double()
        rows.append([float(form) for form in (published_estimate(log_w), pooled_estimate(log_w), log_w.mean())])
        if progress is not None:
            progress(index + 1, len(counts))
    published, pooled, elbo = np.array(rows).T
    return HeldOut(published, pooled, elbo, importance_samples)


def of_all_models(results: Sequence[HeldOut]) -> HeldOut:
    """The likelihood of models as one, each with the same probability: the mean of p(x) over them.

    The published form and the bound are means of logarithms.
    """
    if len(results) == 1:
        return results[0]
    together = {name: np.stack([getattr(each, name) for each in results]) for name in ("published", "pooled", "elbo")}
    pooled = np.logaddexp.reduce(together["pooled"], 0) - math.log(len(results))
    return HeldOut(together["published"].mean(0), pooled, together["elbo"].mean(0), results[0].importance_samples)


def features(model: CellModel, counts: Tensor) -> NDArray[np.float32]:
    """Means and variances of all components at counts [N, G], side by side: [N, 2 A d]."""
    model.eval()
    with torch.no_grad():
        q = model.encoder(counts)
    return torch.cat([q.mean, q.log_variance.exp()], 2).movedim(0, 1).flatten(1).numpy()

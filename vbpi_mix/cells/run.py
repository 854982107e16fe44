"""A run of cells: load it, and evaluate it alone or with others as an ensemble. `cells.fit` makes one.

The checkpoint holds the model, config.yaml everything else that makes it. The cells stay where they are; a checksum of their
counts tells whether they are those that the run was trained on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vbpi_mix.cells.config import KIND, RunConfig
from vbpi_mix.cells.data import CellData, CellsError
from vbpi_mix.cells.evaluation import HeldOut, features, held_out, of_all_models
from vbpi_mix.cells.h5ad import LABEL_KEYS
from vbpi_mix.cells.model import CellModel, build_model
from vbpi_mix.cells.scores import Accuracy, Clusters, classify, cluster
from vbpi_mix.cells.sources import load_cells
from vbpi_mix.errors import ConfigError
from vbpi_mix.training.recorded_model import read_into
from vbpi_mix.training.reports import TrainingResult
from vbpi_mix.training.run_directory import RunDirectory

# Entries of summary.json that tell of the model that was evaluated, and not of a later one.
EVALUATED = ("negative_log_likelihood", "miselbo", "miselbo_standard_error", "svm_accuracy", "clusters")
CountCallback = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Of the test cells: held-out likelihood, and what their latents know of types (None if that was not asked for)."""

    held_out: HeldOut
    accuracy: Accuracy | None
    clusters: Clusters | None

    def summary(self) -> dict[str, Any]:
        """Entries of summary.json: EVALUATED."""
        forms = [
            {
                "form": form,
                "nll": -self.held_out.mean(form),
                "standard_error": self.held_out.standard_error(form),
                "importance_samples": self.held_out.importance_samples,
                "cells": len(self.held_out.pooled),
            }
            for form in ("published", "pooled")
        ]
        return {
            "negative_log_likelihood": forms,
            "miselbo": self.held_out.mean("elbo"),
            "miselbo_standard_error": self.held_out.standard_error("elbo"),
            "svm_accuracy": None if self.accuracy is None else dataclasses.asdict(self.accuracy),
            "clusters": None if self.clusters is None else dataclasses.asdict(self.clusters),
        }


@dataclass(frozen=True, eq=False)
class CellRun:
    """A run and its model, which is in evaluation mode. result: of the training that made it here; None if it was loaded."""

    directory: RunDirectory
    config: RunConfig
    model: CellModel
    result: TrainingResult | None = None

    @property
    def epochs(self) -> float:
        """Of all training so far; NaN for a run that was loaded."""
        return math.nan if self.result is None else self.result.iterations / self.config.training["validate_every"]

    def cells(self, data: str | None = None, labels: str | None = None) -> CellData:
        """The data it was trained on; see `run_cells`."""
        return run_cells(self.config, data, labels)

    def evaluate(self, cells: CellData | None = None, **choices: Any) -> Evaluation:
        """`evaluate` of this run alone, also written to summary.json."""
        found = evaluate([self], self.cells() if cells is None else cells, **choices)
        with self.directory:
            self.directory.update_summary(found.summary())
        return found


def evaluate(
    runs: Sequence[CellRun],
    cells: CellData,
    *,
    importance_samples: int = 100,
    seed: int = 1,
    likelihood_only: bool = False,
    progress: CountCallback | None = None,
) -> Evaluation:
    """The test cells under a run, or under several that were trained apart, as an ensemble of equal shares.

    An ensemble's features are those of its members side by side, its likelihood the mean of theirs. CellsError if the cells have
    no labels, unless likelihood_only; ConfigError if runs are of different data. Nothing is written.
    """
    if importance_samples < 1:
        raise ConfigError(f"{importance_samples} importance samples asked for: give at least 1")
    for run in runs[1:]:
        if run.config.data["sha256"] != runs[0].config.data["sha256"]:
            raise ConfigError(f"{run.directory.path} is of other cells than {runs[0].directory.path}: an ensemble needs the same")
    counts = torch.from_numpy(cells.counts[cells.test])
    accuracy, clusters = None, None
    if not likelihood_only:
        labels = cells.test_labels()
        known = np.concatenate([features(run.model, counts) for run in runs], 1)
        accuracy, clusters = classify(known, labels, seed), cluster(known, labels, seed)
    results = []
    for number, run in enumerate(runs):
        told = _of_part(progress, number, len(runs))
        results.append(held_out(run.model, counts, importance_samples=importance_samples, seed=seed, progress=told))
    return Evaluation(of_all_models(results), accuracy, clusters)


def _of_part(progress: CountCallback | None, number: int, parts: int) -> CountCallback | None:
    """What one of several models reports to."""
    return None if progress is None else lambda done, total: progress(number * total + done, parts * total)


def load(path: str | Path) -> CellRun:
    """The run in a directory.

    Raises RunDirectoryError if it is not a run of cells, CheckpointError if its checkpoint is missing, damaged or foreign.
    """
    directory = RunDirectory.open(path)
    config = RunConfig.read(directory)
    model = build_model(config.model)
    read_into(model, directory, KIND)
    return CellRun(directory, config, model.eval())


def run_cells(config: RunConfig, data: str | None = None, labels: str | None = None) -> CellData:
    """The data of a run, found again: in the file that is given, or where the run found them. labels: another column.

    Their column of labels may have gone since, as training does not look at it. CellsError if the cells are not at hand, or are
    not those that the run was trained on.
    """
    recorded = config.data
    source = recorded["source"] if data is None else data
    guesses = LABEL_KEYS if recorded.get("labels") is None else (recorded["labels"],)
    cells = load_cells(source, recorded["genes"], recorded.get("layer"), labels, guesses)
    if cells.checksum() != recorded["sha256"]:
        raise CellsError(f"the cells of {source} are not those that the run was trained on: name their file with --data")
    return cells

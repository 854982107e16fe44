"""Cells as the models take them.

    CellData   counts [N, G], the chosen genes of the cells that are kept, and which cells train, validate and test
    RawCells   what a file or the simulator gives: counts [N0, G0] of all genes, sparse or not, and names

From raw to data: counts are checked; cells without any count are dropped; the G genes of the largest variance are kept, in the
order of the file; the cells are split by a permutation drawn from SPLIT_SEED, in the proportions 2400 : 200 : 405 of the
published split (Kviman et al. 2023). The library size of a cell is the sum of its counts in the chosen genes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vbpi_mix.errors import ConfigError, VbpiMixError
from vbpi_mix.sizes import check_memory

SPLIT_SEED = 42
PUBLISHED_SPLIT = {"train": 2400, "validation": 200, "test": 405}
# So that validation and test have two cells each, and a standard error.
SMALLEST = 30


class CellsError(VbpiMixError):
    """Cells are missing, malformed, or not what a run was trained on."""


@dataclass(frozen=True, eq=False)
class RawCells:
    """Counts [N0, G0], a numpy array or a sparse matrix of scipy, with a name for each gene.

    where       for messages: the file and the place in it that the counts come from
    labels      [N0] the type of each cell, empty where the file does not say; None if there are none
    labels_key  what the file calls them
    place       which of several places in the file has the counts; empty if there is no choice
    """

    where: str
    counts: Any
    genes: tuple[str, ...]
    labels: NDArray[Any] | None = None
    labels_key: str | None = None
    place: str = ""


@dataclass(frozen=True, eq=False)
class CellData:
    """Cells, split.

    counts                   float32 [N, G], whole numbers; every cell has at least one
    genes                    G names
    labels                   [N] text, empty where a cell has none; or None
    labels_key, place        see RawCells
    train, validation, test  rows of counts
    dropped                  cells that had no count in any of the genes
    """

    name: str
    counts: NDArray[np.float32]
    genes: tuple[str, ...]
    labels: NDArray[np.str_] | None
    labels_key: str | None
    place: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    dropped: int

    def facts(self) -> dict[str, Any]:
        """What a run records of its data: sizes, place and checksum of the counts, the seed of the split."""
        return {
            "name": self.name,
            "counts_from": self.place or None,
            "cells": len(self.counts),
            "dropped": self.dropped,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "split_seed": SPLIT_SEED,
            "labels": self.labels_key,
            "sha256": self.checksum(),
        }

    def checksum(self) -> str:
        """SHA-256 of the counts and of the split."""
        digest = hashlib.sha256()
        for part in (self.counts, self.train, self.validation, self.test):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def labels_notice(self) -> str:
        """That some cells lack labels, for people; nothing if none does, or there are no labels at all."""
        missing = 0 if self.labels is None else int((self.labels == "").sum())
        if not missing:
            return ""
        return f"{self.name}: labels {self.labels_key} are missing for {missing:,} of {len(self.counts):,} cells"

    def test_labels(self) -> NDArray[np.str_]:
        """[test cells]. CellsError if there are none, or a test cell lacks its own."""
        if self.labels is None:
            raise CellsError(
                f"{self.name} has no labels: name their column with --labels, or evaluate with --likelihood-only"
            )
        found = self.labels[self.test]
        missing = int((found == "").sum())
        if missing:
            raise CellsError(
                f"{self.labels_notice()}, {missing:,} of them test cells: fill them in, name another column with --labels, or "
                "evaluate with --likelihood-only"
            )
        return found


def prepare(name: str, raw: RawCells, n_genes: int) -> CellData:
    """Raw counts as data. CellsError if they are no counts, or too few cells have any."""
    check_counts(raw)
    kept = np.flatnonzero(_sums(raw.counts, 1) > 0)
    columns = top_genes(raw.counts[kept], n_genes)
    check_memory(12.0 * len(kept) * len(columns), f"{len(kept):,} cells of {len(columns):,} genes", CellsError)
    counts = raw.counts[kept][:, columns]
    counts = np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts, dtype=np.float32)
    some = counts.sum(1) > 0
    kept, counts = kept[some], np.ascontiguousarray(counts[some])
    if len(kept) < SMALLEST:
        raise CellsError(f"{raw.where}: {len(kept)} cells have counts, and at least {SMALLEST} are needed")
    train, validation, test = split(len(kept))
    return CellData(
        name=name,
        counts=counts,
        genes=tuple(raw.genes[column] for column in columns),
        labels=None if raw.labels is None else np.asarray(raw.labels)[kept].astype(str),
        labels_key=raw.labels_key,
        place=raw.place,
        train=train,
        validation=validation,
        test=test,
        dropped=raw.counts.shape[0] - len(kept),
    )


def flaw_of_counts(counts: Any) -> str | None:
    """What keeps a matrix, sparse or not, from being one of counts; None if nothing does."""
    values = np.asarray(counts.data if hasattr(counts, "tocsr") else counts)
    if values.dtype.kind not in "fiub":
        return f"numbers of type {values.dtype}"
    with np.errstate(invalid="ignore"):  # of what is not finite
        fractions = values % 1 != 0 if values.dtype.kind == "f" else values < 0
    for flawed, what in (
        (~np.isfinite(values), "numbers that are not finite"),
        (values < 0, "negative numbers"),
        (fractions, "fractions"),
        (values > 2**24, "counts above 16,777,216"),
    ):
        if flawed.any():
            return f"{what} ({values[flawed].ravel()[0]:.6g})"
    return None


def check_counts(raw: RawCells) -> None:
    """CellsError unless all counts are whole numbers of at least 0, and there are cells and genes."""
    if raw.counts.ndim != 2 or min(raw.counts.shape) == 0:
        raise CellsError(f"{raw.where} holds no cells or no genes (shape {tuple(raw.counts.shape)})")
    flaw = flaw_of_counts(raw.counts)
    if flaw is not None:
        raise CellsError(f"{raw.where} holds {flaw}, not counts: give raw counts, before any normalisation")


def top_genes(counts: Any, n_genes: int) -> NDArray[np.int64]:
    """The columns of the largest variance, in ascending order; of equal ones the first. All, if there are no more."""
    if n_genes < 1:
        raise ConfigError(f"{n_genes} genes asked for: give at least 1")
    cells = max(1, counts.shape[0])
    mean = _sums(counts, 0) / cells
    squares = counts.astype(np.float64).power(2) if hasattr(counts, "tocsr") else np.square(counts, dtype=np.float64)
    variance = _sums(squares, 0) / cells - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:n_genes])


def split(n_cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train, to validate and to test, each in ascending order."""
    whole = sum(PUBLISHED_SPLIT.values())
    validation, test = (max(2, round(n_cells * PUBLISHED_SPLIT[part] / whole)) for part in ("validation", "test"))
    order = np.random.RandomState(SPLIT_SEED).permutation(n_cells)
    ends = (n_cells - validation - test, n_cells - test)
    train, held_out, tested = (np.sort(part).astype(np.int64) for part in np.split(order, ends))
    return train, held_out, tested


def _sums(counts: Any, axis: int) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=axis, dtype=np.float64)).ravel()

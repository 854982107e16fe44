"""Raw counts and labels from an .h5ad file, by anndata (optional: `pip install 'vbpi-mix[cells]'`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vbpi_mix.cells.data import CellsError, RawCells, flaw_of_counts
from vbpi_mix.cells.hdf5_check import check_it_ends
from vbpi_mix.errors import shorten
from vbpi_mix.files import is_there

# Where files keep the types of their cells, the first that is there.
LABEL_KEYS = ("cell_type", "celltype", "cell_types", "level1class", "labels", "label")
COUNTS_LAYER = "counts"


def read_h5ad(
    path: Path, layer: str | None = None, labels: str | None = None, guesses: Sequence[str] = LABEL_KEYS
) -> RawCells:
    """Counts from the layer named; else from layers["counts"], raw.X or X, the first that holds counts.

    labels: the column of obs with the types of the cells; by default the first of `guesses` that is there, if any. It may lack
    entries, as only scores need them. CellsError if the file cannot be read, or has no such layer or column or no counts.
    """
    content = _read(path)
    place, counts, genes = _counts_of(content, path, layer)
    key = _labels_key(content, path, labels, guesses)
    values = None if key is None else _labels_of(content, key)
    return RawCells(f"{place} of {path}", counts, tuple(map(str, genes)), values, key, place)


def _read(path: Path) -> Any:
    if not is_there(path, CellsError) or not path.is_file():
        raise CellsError(f"{path}: no such file; give an .h5ad file, simulated, or cortex")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations in the libraries below
            import anndata
    except ImportError:
        raise CellsError(f"{path}: .h5ad files need anndata: pip install 'vbpi-mix[cells]'") from None
    check_it_ends(path, CellsError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are not unique, and how old the file is
            return anndata.read_h5ad(path)
    except MemoryError:
        raise
    except Exception as error:  # a foreign file can fail in any way that HDF5 or anndata can
        reason = shorten(str(error).strip().split("\n")[0])
        raise CellsError(f"{path} is not an .h5ad file, or damaged ({reason})") from error


def _counts_of(content: Any, path: Path, layer: str | None) -> tuple[str, Any, Any]:
    """Where the counts are, the counts, and the names of their genes."""
    if layer is not None and layer not in content.layers:
        there = ", ".join(content.layers) or "none"
        raise CellsError(f"{path} has no layer {layer!r}: there are {there}")
    flaws = []
    for name, counts, genes in _places(content, layer):
        flaw = flaw_of_counts(counts)
        if flaw is None:
            return name, counts.tocsr() if hasattr(counts, "tocsr") else np.asarray(counts), genes
        flaws.append(f"{name} holds {flaw}")
    found = "; ".join(flaws) or "it has no matrix at all"
    raise CellsError(f"{path} holds no raw counts: {found}; put them into layers['{COUNTS_LAYER}'], or name --layer")


def _places(content: Any, layer: str | None) -> Iterator[tuple[str, Any, Any]]:
    """Name, matrix and genes of every place that may have counts, in the order to try."""
    if layer is not None:
        yield f"layer {layer}", content.layers[layer], content.var_names
        return
    if COUNTS_LAYER in content.layers:
        yield f"layer {COUNTS_LAYER}", content.layers[COUNTS_LAYER], content.var_names
    if content.raw is not None:
        yield "raw.X", content.raw.X, content.raw.var_names
    if content.X is not None:
        yield "X", content.X, content.var_names


def _labels_key(content: Any, path: Path, labels: str | None, guesses: Sequence[str]) -> str | None:
    if labels is None:
        return next((key for key in guesses if key in content.obs), None)
    if labels not in content.obs:
        there = shorten(", ".join(map(str, content.obs.columns))) or "none"
        raise CellsError(f"{path} has no labels {labels!r}: the columns of obs are {there}")
    return labels


def _labels_of(content: Any, key: str) -> NDArray[Any]:
    column = content.obs[key]
    return np.where(column.isna().to_numpy(), "", column.astype(str).to_numpy(dtype=str))

"""Cells by name: `simulated`, `cortex`, or the path of an .h5ad file (or of CORTEX's published table)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vbpi_mix.cells.config import SIMULATED
from vbpi_mix.cells.cortex import NAME as CORTEX
from vbpi_mix.cells.cortex import cortex_source, obtain_cortex, read_cortex
from vbpi_mix.cells.data import CellData, CellsError, RawCells, prepare
from vbpi_mix.cells.h5ad import LABEL_KEYS, read_h5ad
from vbpi_mix.cells.simulated import simulate

NAMES = (SIMULATED, CORTEX)


def load_cells(
    data: str,
    n_genes: int,
    layer: str | None = None,
    labels: str | None = None,
    guesses: Sequence[str] = LABEL_KEYS,
) -> CellData:
    """The cells of a name or file, checked, with the n_genes of largest variance, and split; layer to guesses: see `read_h5ad`.

    CellsError if they cannot be read or are no counts, DownloadError if CORTEX cannot be fetched.
    """
    raw = _read(data, layer, labels, guesses)
    return prepare(name_of(data), raw, n_genes)


def name_of(data: str) -> str:
    """What a run of these cells is called: the name, or that of the file without its ending."""
    return data if data in NAMES else Path(data).stem


def _read(data: str, layer: str | None, labels: str | None, guesses: Sequence[str]) -> RawCells:
    is_table = data == CORTEX or Path(data).name == cortex_source().file
    if data != SIMULATED and not is_table:
        return read_h5ad(Path(data), layer, labels, guesses)
    if layer is not None:
        raise CellsError(f"--layer {layer}: {name_of(data)} has no layers; leave it out")
    raw = simulate() if data == SIMULATED else read_cortex(obtain_cortex() if data == CORTEX else Path(data))
    if labels not in (None, raw.labels_key):
        raise CellsError(f"{name_of(data)} has no labels {labels!r}: there are {raw.labels_key}")
    return raw

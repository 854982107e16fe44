"""CORTEX: 3,005 cells of mouse cortex and hippocampus in seven classes (Zeisel et al. 2015), as published.

The file is sought as $VBPI_MIX_DATA/cortex/NAME and in the user's cache, and then downloaded there. A table by tabs: lines that
say of each cell its tissue, class and so on (empty first column, the name in the second), an empty line, then a line for each
gene: its name, a cluster number, and a count for each cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import yaml

from vbpi_mix import data_files
from vbpi_mix.cells.data import CellsError, RawCells
from vbpi_mix.data_files import DATA_VARIABLE
from vbpi_mix.download import OFFLINE_VARIABLE, DownloadError, download, is_offline

NAME = "cortex"
CLASSES = "level1class"


@dataclass(frozen=True)
class CellSource:
    """A published file: its name, a checksum as `download` takes it, and where it is, in the order to try."""

    file: str
    checksum: str
    urls: tuple[str, ...]


def cortex_source() -> CellSource:
    """What data/cortex/cells.yaml says."""
    facts = yaml.safe_load(resources.files("vbpi_mix_data").joinpath(NAME, "cells.yaml").read_text("utf-8"))
    return CellSource(facts["file"], f"md5:{facts['md5']}", tuple(place["url"] for place in facts["locations"]))


def obtain_cortex(offline: bool = False) -> Path:
    """The file, downloaded if it is not here. CellsError if it may not be, DownloadError if it cannot be."""
    source = cortex_source()
    own = data_files.data_folder()
    cached = data_files.cache_folder() / NAME / source.file
    for place in (*([own / NAME / source.file] if own else []), cached):
        if place.is_file():
            return place
    cure = f"put {source.file} into {NAME}/ of the folder that {DATA_VARIABLE} names"
    if is_offline(offline):
        raise CellsError(f"{NAME} is not here and downloads are off ({OFFLINE_VARIABLE}); {cure}")
    try:
        download(source.urls, cached, source.checksum)
    except DownloadError as error:
        raise DownloadError(f"{error}; try again, or {cure}") from None
    return cached


def read_cortex(path: Path) -> RawCells:
    """Counts of all genes, and the seven classes. CellsError, naming the line, for a file of another kind."""
    classes, genes = None, []
    rows: list[np.ndarray] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                first, *rest = line.rstrip("\r\n").split("\t")
                if first:
                    genes.append(first)
                    rows.append(_counts(path, number, rest[1:], len(rows[0]) if rows else None))
                elif rest and rest[0] == CLASSES:
                    classes = np.array(rest[1:])
    except UnicodeDecodeError:
        raise CellsError(f"{path} is not the published table: it is no text") from None
    if classes is None or not rows:
        raise CellsError(f"{path} is not the published table: it lacks {'genes' if classes is not None else CLASSES}")
    if len(classes) != len(rows[0]):
        raise CellsError(f"{path}: {CLASSES} names {len(classes)} cells, and genes have {len(rows[0])} counts")
    return RawCells(str(path), np.stack(rows, 1), tuple(genes), classes, CLASSES)


def _counts(path: Path, number: int, texts: list[str], expected: int | None) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is no count, as is said of all of them
            counts = np.array(texts, dtype=np.float32)
    except ValueError:
        raise CellsError(f"{path}, line {number}: a count is no number: fetch the file again") from None
    if not len(counts) or (expected is not None and len(counts) != expected):
        raise CellsError(f"{path}, line {number}: {len(counts)} counts, not {expected or 'some'}: fetch the file again")
    return counts

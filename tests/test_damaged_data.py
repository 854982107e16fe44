"""Damaged files of images and cells, and of runs that had not begun: read, or refused in one short line.

`pytest -m slow tests/test_damaged_data.py` tries for FUZZ_MINUTES (10) with each reader.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import warnings

import numpy as np
import pytest
import yaml
from damage import check_message, damaged_texts, read_or_refuse, try_for_minutes, try_often

from vbpi_mix.cells import hdf5_check
from vbpi_mix.cells.cortex import read_cortex
from vbpi_mix.cells.data import CellsError, check_counts
from vbpi_mix.cells.h5ad import read_h5ad
from vbpi_mix.image.evaluation import EvaluationPlan, ImageResults
from vbpi_mix.image.formats import CIFAR_RECORD, read_cifar, read_cifar_archive, read_idx_images, read_idx_labels
from vbpi_mix.phylo.asked import UNFINISHED, Asked, asked_for
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trace import TraceWriter

PLAN = EvaluationPlan(importance_samples=1, images=2, available=4, seed=1, model="m")
IDX_IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(12))
IDX_LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4])
RECORDS = bytes(2 * CIFAR_RECORD)
TABLE = "\t\tcell\tc1\tc2\n\tlevel1class\ta\tb\n\ttotal\t1\t2\ngene1\t1\t0\t3\ngene2\t1\t2\t0\n"
TRACE = "iteration,seconds,bound,beta,learning_rate\n1,0.1,-3.0,1,0.1\n2,0.2,-2.0,1,0.1\n"


def archive():
    """The batches of CIFAR-10, two records each."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name in ("data_batch_1.bin", "test_batch.bin"):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(RECORDS)
            file.addfile(entry, io.BytesIO(RECORDS))
    return content.getvalue()


def h5ad(folder):
    """A file of three cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata = pytest.importorskip("anndata")
        anndata.AnnData(np.arange(6, dtype=np.float32).reshape(3, 2)).write_h5ad(folder / "cells.h5ad")
    return (folder / "cells.h5ad").read_bytes()


def asked():
    """The configuration of a run that had not begun to train."""
    given = Asked("x.nex", ["x.t"], FitConfig.of(constraint="(a,b)", trees_from="y/*.t")).entries()
    return yaml.safe_dump({"format": "vbpi-mix run", "version": 2, "command": "fit", UNFINISHED: given})


def read_asked(path):
    path.rename(path.with_name("config.yaml"))
    asked_for(RunDirectory.open(path.parent))


# Reader and what it reads, made in a folder.
READERS = {
    "idx images": (lambda path: read_idx_images(path, 2, 3), lambda folder: IDX_IMAGES),
    "idx images, gzip": (lambda path: read_idx_images(path, 2, 3), lambda folder: gzip.compress(IDX_IMAGES)),
    "idx labels": (lambda path: read_idx_labels(path, 2), lambda folder: IDX_LABELS),
    "cifar": (lambda path: read_cifar([path]), lambda folder: RECORDS),
    "cifar archive": (read_cifar_archive, lambda folder: archive()),
    "cortex": (read_cortex, lambda folder: TABLE),
    "h5ad": (read_h5ad, h5ad),
    "trace": (lambda path: TraceWriter(path, keep_until=1), lambda folder: TRACE),
    "evaluation": (
        lambda path: ImageResults.load(path, PLAN),
        lambda folder: json.dumps({"plan": vars(PLAN), "images": [0], "published": [1.0], "pooled": [1.0]}),
    ),
    "what was asked": (read_asked, lambda folder: asked()),
}


def try_reader(folder, name):
    read, make = READERS[name]

    def check(content):
        place = folder / "x"
        place.write_bytes(content)
        read_or_refuse(read, place)

    return damaged_texts([make(folder)]), check


@pytest.mark.parametrize("name", READERS)
def test_damaged_data_are_read_or_refused_in_one_line(tmp_path, name):
    # Those of HDF5 are each tried in a process of their own.
    try_often(*try_reader(tmp_path, name), examples=20 if name == "h5ad" else 60)


def test_a_count_that_no_number_holds_is_refused_without_a_warning(tmp_path):
    """Found by chance, after five minutes."""
    (tmp_path / "x").write_text(TABLE.replace("gene1\t1\t0", "gene1\t1\t" + 60 * "9"))
    cells = read_cortex(tmp_path / "x")
    assert np.isinf(cells.counts).sum() == 1
    with pytest.raises(CellsError, match=r"holds numbers that are not finite \(inf\), not counts"):
        check_counts(cells)


def test_what_made_hdf5_read_for_ever_is_read_or_refused(tmp_path):
    """A byte too many, by which a heap of texts contained itself; found by chance."""
    content = h5ad(tmp_path)
    (tmp_path / "x").write_bytes(content[:2667] + b"\0" + content[2667:])
    read_or_refuse(read_h5ad, tmp_path / "x")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import time\ntime.sleep(600)", "cannot be read in 1 seconds"),
        ("import os\nos.kill(os.getpid(), 11)", "the HDF5 library crashes on it"),
        ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass", "or reads it for ever"),
    ],
)
def test_a_file_whose_reading_does_not_end_is_damaged(tmp_path, monkeypatch, program, message):
    (tmp_path / "program.py").write_text(program)
    place = tmp_path / "x.h5ad"
    place.write_bytes(h5ad(tmp_path))
    assert read_h5ad(place).counts.shape == (3, 2)
    monkeypatch.setattr(hdf5_check, "__file__", str(tmp_path / "program.py"))
    monkeypatch.setattr(hdf5_check, "_PATIENCE", 0.3 if "sleep" in program else 20.0)
    with pytest.raises(CellsError, match=f"x.h5ad is damaged: .*{message}") as caught:
        read_h5ad(place)
    check_message(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_data_for_minutes(tmp_path, name):
    try_for_minutes(*try_reader(tmp_path, name))

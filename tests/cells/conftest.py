"""Cells in an empty world."""

from __future__ import annotations

import pytest
import torch

from vbpi_mix import data_files
from vbpi_mix_cli.main import main


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def empty_world(tmp_path, monkeypatch):
    """A folder, made the current one; no data folder, no cache, no downloads."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(data_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("VBPI_MIX_DATA", raising=False)
    monkeypatch.setenv("VBPI_MIX_OFFLINE", "1")
    return here


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of A = 2 on the simulated cells, two epochs long. Tests copy what they change."""
    place = tmp_path_factory.mktemp("trained") / "simulated.vbpi"
    main(["cells", "simulated", "--A", "2", "--epochs", "2", "--batch-size", "256", "--out", str(place), "--quiet"])
    return place


@pytest.fixture
def copied(trained, empty_world):
    """A copy of that run in the current folder."""
    place = empty_world / "simulated.vbpi"
    place.mkdir()
    for path in trained.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place

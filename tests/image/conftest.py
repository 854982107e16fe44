"""Image data sets in an empty world."""

from __future__ import annotations

import pytest
import torch

from vbpi_mix import data_files


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

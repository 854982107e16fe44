"""Fixtures that every room shares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from vbpi_mix import data_files


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """Folder with DS1 ... DS8, primates and the images; tests that need it are skipped where it is absent."""
    named = os.environ.get("VBPI_MIX_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "DS1").is_dir():
        pytest.skip(f"no benchmark data in {folder}; set VBPI_MIX_DATA to the folder that holds DS1 ... DS8")
    return folder


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    def error_line(self):
        """The one line that an expected error prints; status 2."""
        assert self.status == 2, (self.status, self.out, self.err)
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def run(capsys):
    """run("fit", "x.nex", ...) -> Outcome."""

    from vbpi_mix_cli.main import main

    def call(*arguments):
        try:
            main([str(a) for a in arguments])
            status = 0
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


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


@pytest.fixture
def copied(trained, empty_world):
    """A copy of the run `trained`, which a room's conftest makes, in the current folder."""
    place = empty_world / trained.name
    place.mkdir()
    for path in trained.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place

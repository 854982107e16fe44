"""Image data sets in an empty world, and a way to run the command line in the process."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from vbpi_mix import data_files
from vbpi_mix_cli.main import main


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


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
        assert self.out == ""
        return lines[0]


@pytest.fixture
def run(capsys):
    """run("image", "digits", ...) -> Outcome."""

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

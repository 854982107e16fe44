"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """Folder with DS1 ... DS8, primates and the images; tests that need it are skipped where it is absent."""
    named = os.environ.get("VBPI_MIX_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "DS1").is_dir():
        pytest.skip(f"no benchmark data in {folder}; set VBPI_MIX_DATA to the folder that holds DS1 ... DS8")
    return folder

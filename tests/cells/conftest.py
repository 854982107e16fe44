"""Cells in an empty world."""

from __future__ import annotations

import pytest
import torch

from vbpi_mix_cli.main import main


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of A = 2 on the simulated cells, two epochs long. Tests copy what they change."""
    place = tmp_path_factory.mktemp("trained") / "simulated.vbpi"
    main(["cells", "simulated", "--A", "2", "--epochs", "2", "--batch-size", "256", "--out", str(place), "--quiet"])
    return place

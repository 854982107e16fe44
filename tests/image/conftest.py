"""Image data sets in an empty world."""

from __future__ import annotations

import pytest
import torch
from image_commands import TRAIN

from vbpi_mix_cli.main import main


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of A = 3, S = 2 on the digits, six iterations long. Tests copy what they change."""
    place = tmp_path_factory.mktemp("trained") / "digits.vbpi"
    main([str(a) for a in (*TRAIN, "--A", 3, "--out", place)])
    return place

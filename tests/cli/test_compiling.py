"""A first run says that it compiles, and a later one nothing."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
from vbpi_mix_cli.compiling import compilation_shown
from vbpi_mix.phylo.trees.topology import random_topologies

with compilation_shown(sys.argv[1] == "quiet", lambda: print("room", file=sys.stderr)):
    random_topologies(5, 2, np.random.default_rng(1))
"""


def lines_of(cache, mode):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], env=environment, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_compilation_is_said_once(tmp_path):
    room, begun, again, ended = lines_of(tmp_path / "cache", "plain")
    assert (room, begun, again) == ("room", "compiling kernels: this is the first run that needs them", "room")
    assert ended.startswith("kernels compiled in ")
    assert lines_of(tmp_path / "cache", "plain") == []
    assert lines_of(tmp_path / "other", "quiet") == []

"""A victim for all modules of this folder, a small problem, and what undisturbed fits of it learn."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty import COMMAND, Victim, hidden, learned, write_problem


@pytest.fixture(scope="session")
def victim():
    made = Victim()
    yield made
    made.process.stdin.close()
    made.process.wait()
    made.process.stdout.close()


@pytest.fixture
def five(tmp_path):
    """A folder with five taxa and a few trees of them."""
    write_problem(tmp_path)
    return tmp_path


@dataclass
class Finished:
    """Runs of seeds 3 and 4 that nothing disturbed, and how many steps the first took."""

    folder: Path
    steps: int

    def put(self, seed, folder):
        """A copy as five.vbpi."""
        shutil.copytree(self.folder / f"seed-{seed}.vbpi", folder / "five.vbpi")

    def learned(self, seed=3):
        return learned(self.folder / f"seed-{seed}.vbpi")


@pytest.fixture(scope="session")
def finished(victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_problem(folder)
    steps = []
    for seed in (3, 4):
        done = victim(folder, *COMMAND, "--seed", seed, "--out", f"seed-{seed}.vbpi")
        assert done["status"] == 0, done["err"]
        steps.append(done["steps"])
    assert not hidden(folder)
    return Finished(folder, steps[0])

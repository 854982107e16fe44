"""One process at a time writes into a run: the other gets one line, and nothing is mixed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from faulty import COMMAND, EVAL, RESUME

HOLD = """
import sys
from vbpi_mix.training.run_directory import RunDirectory
with RunDirectory.open(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(cases, tmp_path):
    """A run that another process is at work on."""
    five = cases["eval"].put(tmp_path / "here")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(five / "five.vbpi")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield five, process
        process.kill()


def test_the_second_process_gets_one_line(victim, held):
    five, process = held
    before = {path.name: path.read_bytes() for path in (five / "five.vbpi").iterdir()}
    for command in (
        RESUME,
        (*COMMAND, "--force"),
        EVAL,
        ("report", "five.vbpi", "--quiet"),
    ):
        done = victim(five, *command)
        assert done["status"] == 2, done
        (line,) = done["err"].splitlines()
        assert "is in use by another process of vbpi-mix" in line
    assert {path.name: path.read_bytes() for path in (five / "five.vbpi").iterdir()} == before
    # The system takes the lock from a process that is killed.
    process.kill()
    process.wait()
    time.sleep(0.05)
    assert victim(five, *RESUME)["status"] == 0

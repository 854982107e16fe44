"""Jobs of several processes, and a small problem for them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch.distributed as dist
from ranks_problem import write_problem


@dataclass
class Ended:
    """A process of a job that has ended."""

    status: int
    out: str
    err: str


class Jobs:
    """The process of job.py."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        script = Path(__file__).with_name("job.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, *arguments, folders, killed=None, at=1, version=None):
        """Run a command, a process in each of the folders; how each has ended, in the order of ranks."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        request = {
            "arguments": [str(each) for each in arguments], "folders": [str(each) for each in folders], "port": port,
            "killed": killed, "at": at, "version": version,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return [Ended(**each) for each in json.loads(self.process.stdout.readline())]


@pytest.fixture(scope="session")
def job():
    if not dist.is_available():
        pytest.skip("this build of torch has no torch.distributed")
    made = Jobs()
    yield made
    made.process.stdin.close()
    made.process.wait()
    made.process.stdout.close()


@pytest.fixture
def five(tmp_path):
    """A folder with five taxa and a few trees of them."""
    write_problem(tmp_path)
    return tmp_path

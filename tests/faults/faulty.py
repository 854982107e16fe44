"""The process that commands with faults run in, what they are, and what a run has learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

FIT = ("fit", "five.fasta", "--trees", "five.nwk", "--A", "2", "--S", "1", "--K", "2", "--iterations", "6", "--seed", "3")
QUICK = ("--threads", "1", "--quiet")
COMMAND = (*FIT, "--answer-draws", "50", *QUICK)
RESUME = ("fit", "--resume", "five.vbpi", *QUICK)
EVAL = ("eval", "five.vbpi", "--importance-samples", "10", "--repeats", "2", *QUICK)


class Victim:
    """The process of victim.py."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        script = Path(__file__).with_name("victim.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, folder, *arguments, at=0, fault="kill"):
        """Run a command in a folder; the answer of victim.py."""
        request = {"arguments": [str(each) for each in arguments], "folder": str(folder), "at": at, "fault": fault}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def write_problem(folder):
    """Five taxa and a few trees of them."""
    rows = {"a": "ACGTACGTAC", "b": "ACGTACGTAA", "c": "ACGTTCGTCA", "d": "ACCTTCGGCA", "e": "ACCTTAGGCA"}
    (folder / "five.fasta").write_text("".join(f">{name}\n{row}\n" for name, row in rows.items()))
    (folder / "five.nwk").write_text("((a,b),c,(d,e));\n((a,c),b,(d,e));\n((a,b),d,(c,e));\n")


def learned(run):
    """What a run has learned, and what it answers: all that does not tell of time."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    tensors = {name: value for name, value in state["problem"].items() if isinstance(value, torch.Tensor)}
    texts = {name: (run / name).read_text() for name in ("consensus.nwk", "splits.csv", "topologies.trprobs")}
    return {name: value.tolist() for name, value in tensors.items()}, texts, bounds_of(run), state["training"]["iteration"]


def bounds_of(run):
    """The rows of a trace without the seconds, the one column that no two runs share."""
    rows = [line.split(",") for line in (run / "trace.csv").read_text().splitlines()]
    return [(row[0], *row[2:]) for row in rows]


def hidden(folder):
    """Hidden files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))

"""The process that commands with faults run in, what they are, and what a run has learned."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml

FIT = ("fit", "five.fasta", "--trees", "five.nwk", "--A", "2", "--S", "1", "--K", "2", "--iterations", "12", "--seed", "3")
QUICK = ("--threads", "1", "--quiet")
COMMAND = (*FIT, "--answer-draws", "50", *QUICK)
RESUME = ("fit", "--resume", "five.vbpi", *QUICK)
EVAL = ("eval", "five.vbpi", "--importance-samples", "10", "--repeats", "2", *QUICK)


class Victim:
    """The process of victim.py."""

    def __init__(self):
        # Threads of OpenMP do not survive a fork; those of the other layer do.
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}
        script = Path(__file__).with_name("victim.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}
        )

    def __call__(self, folder, *arguments, at=0, fault="kill"):
        """Run a command in a folder; the answer of victim.py."""
        request = {"arguments": [str(each) for each in arguments], "folder": str(folder), "at": at, "fault": fault}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, folder, *arguments):
        """A command that comes to its end; how many steps it takes."""
        done = self(folder, *arguments)
        assert done["status"] == 0, done["err"]
        return done["steps"]


def write_problem(folder):
    """Five taxa and a few trees of them."""
    rows = {"a": "ACGTACGTAC", "b": "ACGTACGTAA", "c": "ACGTTCGTCA", "d": "ACCTTCGGCA", "e": "ACCTTAGGCA"}
    (folder / "five.fasta").write_text("".join(f">{name}\n{row}\n" for name, row in rows.items()))
    (folder / "five.nwk").write_text("((a,b),c,(d,e));\n((a,c),b,(d,e));\n((a,b),d,(c,e));\n")


def contents(folder):
    """All files below a folder by name, without what tells of time or cannot but differ: what faults must not change."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): _content(path, str(folder)) for path in files}


def _content(path, folder):
    if path.name == "checkpoint.pt":
        state = torch.load(path, weights_only=True)
        return timeless({name: state[name] for name in ("kind", "config", "problem", "training")})
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [timeless(row) for row in csv.DictReader(file)]
    if path.suffix in (".json", ".yaml"):
        # Replicates say where the files start from.
        return timeless(yaml.safe_load(path.read_text().replace(folder, "here")))
    # Logs, pages and pictures hold hours and seconds.
    return None if path.suffix in (".txt", ".html", ".png", ".svg") else path.read_bytes()


def timeless(value):
    """Plain data without entries that tell of time, or of how often a run was cut off; tensors as their bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {name: timeless(each) for name, each in value.items() if not re.search("seconds|commands", str(name))}
    return [timeless(each) for each in value] if isinstance(value, list | tuple) else value


def hidden(folder):
    """Hidden files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))

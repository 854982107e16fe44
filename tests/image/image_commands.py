"""What the tests of `vbpi-mix image` share: a small run, what it left, and an interruption."""

from __future__ import annotations

import csv
import json
import signal

from vbpi_mix.training.batch_problem import BatchProblem

SMALL = ("--epochs", 2, "--batch-size", 400, "--threads", 1)
TRAIN = ("image", "digits", *SMALL, "--quiet")


def trace_without_seconds(path):
    rows = list(csv.DictReader((path / "trace.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def summary(path):
    return json.loads((path / "summary.json").read_text())


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt_at(patch, when):
    original = BatchProblem.objective

    def objective(self, iteration, beta, generator):
        if iteration == when:
            signal.raise_signal(signal.SIGINT)
        return original(self, iteration, beta, generator)

    patch.setattr(BatchProblem, "objective", objective)

"""`vbpi-mix image` under torchrun, and variables of torchrun that make no sense."""

import subprocess
import sys

import pytest
import torch
from image_commands import TRAIN, files, trace_without_seconds

from vbpi_mix_cli import torchrun


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is missing"),
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE=x makes no sense"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0 makes no sense"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 makes no sense"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK=-1 makes no sense"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500"}, "MASTER_ADDR is missing"),
        ({"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE=two makes no sense"),
    ],
)
def test_variables_that_torchrun_would_not_set_are_one_line(run, copied, empty_world, monkeypatch, variables, words):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert words in run("image", "eval", copied, "--importance-samples", 1, "--images", 2).error_line()
    if "LOCAL_WORLD_SIZE" not in variables:  # one thread is one thread
        assert words in run(*TRAIN, "--out", "new.vbpi").error_line()
        assert not (empty_world / "new.vbpi").exists()


def test_more_processes_than_gpus_are_one_line(run, empty_world, monkeypatch):
    variables = {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "process 3 on this machine finds no GPU of its own: there are 2" in run(*TRAIN, "--device", "cuda").error_line()


def test_processes_share_the_cores_of_a_machine(monkeypatch):
    monkeypatch.setattr(torchrun, "available_cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert torchrun.default_threads() == 8
    for processes, threads in ((3, 2), (16, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert torchrun.default_threads() == threads


def test_pictures_are_drawn_by_one_process(run, copied, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "image sample is for one process" in run("image", "sample", copied).error_line()


def launch(*arguments, processes=2):
    """A command under torchrun, as a subprocess that has ended."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    words = [str(a) for a in arguments]
    return subprocess.run([*launcher, "vbpi_mix_cli.main", *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_torchrun_evaluates_what_one_process_evaluates(run, copied):
    options = ("image", "eval", copied, "--importance-samples", 3, "--images", 9, "--images-at-once", 2, "--threads", 1)
    alone = run(*options)
    kept = copied / "nll-L3-n9-seed1.json"
    content = kept.read_bytes()
    kept.unlink()
    together = launch(*options)
    assert together.returncode == 0, together.stderr
    assert together.stdout == alone.out
    assert kept.read_bytes() == content


@pytest.mark.slow
def test_torchrun_refuses_in_one_line(run, copied):
    before = (copied / "checkpoint.pt").read_bytes()
    refused = launch(*TRAIN)
    assert refused.returncode != 0
    assert refused.stderr.count("holds a run already") == 1
    assert not [line for line in refused.stderr.splitlines() if line.startswith("  File") and "main.py" in line]  # but torchrun's
    assert (copied / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_torchrun_trains_what_one_process_trains(run, empty_world):
    """Two processes on one machine: the bounds of one process, up to rounding."""
    options = [str(a) for a in (*TRAIN, "--A", 3)]
    assert run(*options, "--out", "one").status == 0
    launched = launch(*options, "--out", "two")
    assert launched.returncode == 0, launched.stderr
    bounds = [[float(row["miselbo"]) for row in trace_without_seconds(empty_world / name)] for name in ("one", "two")]
    assert len(bounds[0]) == 2
    assert bounds[1] == pytest.approx(bounds[0], abs=1e-2)
    assert files(empty_world / "one") == files(empty_world / "two")

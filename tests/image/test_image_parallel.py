"""Two processes on half of each batch do what one does on the whole of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from parallel_worker import evaluation, gradient_and_training

from vbpi_mix import parallel
from vbpi_mix.parallel import Share, average_gradients, from_first_rank, ranks, sum_over_ranks
from vbpi_mix.training.run_directory import RunDirectory

HERE = Path(__file__).parent


def committed(folder):
    folder.mkdir()
    for phi_per in ("point", "batch"):
        RunDirectory.create(folder / f"{phi_per}.vbpi").commit({})
    return folder


def run_two_processes(folder):
    """What both ranks found."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(HERE / "parallel_worker.py")]
    workers = [
        subprocess.Popen([*command, str(rank), "2", str(folder)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of two processes, and what both found."""
    if not dist.is_available():
        pytest.skip("this build of torch has no torch.distributed")
    folder = committed(tmp_path_factory.mktemp("two") / "runs")
    return folder, run_two_processes(folder)


def test_two_processes_train_as_one(tmp_path, together):
    alone = committed(tmp_path / "one")
    folder_of_both, (first, second) = together
    for phi_per in ("point", "batch"):
        wanted = gradient_and_training(alone, phi_per)
        assert bool((wanted["gradient"] != 0).any())
        for name, value in wanted.items():
            assert torch.equal(first[phi_per][name], second[phi_per][name]), name
            torch.testing.assert_close(first[phi_per][name], value, rtol=1e-9, atol=1e-10)
        rows, more = (
            (folder / f"{phi_per}.vbpi" / "trace.csv").read_text().count("\n") for folder in (alone, folder_of_both)
        )
        assert rows == more > 1
        assert (folder_of_both / f"{phi_per}.vbpi" / "checkpoint.pt").is_file()


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_two_processes_evaluate_as_one(tmp_path, together, norm):
    """Bit for bit, also where the images of a block share statistics."""
    folder, found = together
    wanted = evaluation(tmp_path / "nll.json", norm)
    for columns in found:
        for name, values in wanted.items():
            assert torch.equal(columns[f"evaluation, norm {norm}"][name], values), name
    assert (folder / f"nll-{norm}.json").read_bytes() == (tmp_path / "nll.json").read_bytes()
    assert len(wanted["pooled"].unique()) == 7


def test_without_a_process_group_nothing_changes():
    assert ranks() == (0, 1)
    assert Share.of_this_rank(7) == Share(0, 7, 7)
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert sum_over_ranks(values) is values
    average_gradients([values])
    assert values.grad is None
    assert from_first_rank([3.0, 1.0]) == [3.0, 1.0]


@pytest.mark.parametrize("total", [1, 5, 12])
def test_shares_are_a_partition(total, monkeypatch):
    points = torch.arange(total)
    found = []
    for rank in range(4):
        monkeypatch.setattr(parallel, "ranks", lambda rank=rank: (rank, 4))
        found.append(Share.of_this_rank(total).of(points, 0))
    assert torch.equal(torch.cat(found), points)
    assert max(map(len, found)) - min(map(len, found)) <= 1

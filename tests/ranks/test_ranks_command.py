"""Commands of trees as jobs of several processes: what they learn, how they end, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ranks_problem import write_problem

FIT = (
    "fit", "five.fasta", "--trees", "five.nwk", "--A", "2", "--S", "1", "--K", "4", "--iterations", "12", "--seed", "3",
    "--answer-draws", "50", "--threads", "1", "--quiet",
)  # fmt: skip
RESUME = ("fit", "--resume", "five.vbpi", "--threads", "1", "--quiet")
EVAL = ("eval", "five.vbpi", "--importance-samples", "10", "--repeats", "2", "--threads", "1", "--quiet")


def learned(run):
    """What a run has learned, and what it answers."""
    rows = [line.split(",") for line in (run / "trace.csv").read_text().splitlines()]
    texts = [(run / name).read_text() for name in ("consensus.nwk", "splits.csv", "topologies.trprobs")]
    return [(row[0], *row[2:]) for row in rows], texts


def one_line(*ended):
    """The only line that a job has written on standard error; all its processes ended with status 2."""
    assert [each.status for each in ended] == [2] * len(ended), [each.err for each in ended]
    lines = [line for each in ended for line in each.err.splitlines()]
    assert len(lines) == 1, lines
    assert not any(each.out for each in ended)
    return lines[0]


@pytest.fixture(scope="module")
def alone(job, tmp_path_factory):
    """A run of one process, and what its evaluation says."""
    folder = tmp_path_factory.mktemp("alone")
    write_problem(folder)
    (fitted,) = job(*FIT, folders=[folder])
    assert fitted.status == 0, fitted.err
    (evaluated,) = job(*EVAL, folders=[folder])
    return folder / "five.vbpi", without_seconds(evaluated.out)


def without_seconds(text):
    """What an evaluation prints, but for its time."""
    assert text
    return [line.rsplit(",", 1)[0] if line.endswith(" s") else line for line in text.splitlines()]


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_learn_and_say_what_one_does(job, five, alone, size):
    first, *others = job(*FIT, folders=[five] * size)
    assert [first.status, first.err] == [0, ""]
    assert all((other.status, other.out, other.err) == (0, "", "") for other in others)
    run, said = alone
    assert learned(five / "five.vbpi") == learned(run)
    assert sorted(path.name for path in (five / "five.vbpi").iterdir()) == sorted(path.name for path in run.iterdir())
    if size == 2:
        first, other = job(*EVAL, folders=[five] * 2)
        assert (other.status, other.out, other.err) == (0, "", "")
        assert without_seconds(first.out) == said


def test_two_processes_sample_the_trees_of_one(job, five):
    sample = ("support", "five.fasta", "--generations", "400", "--seed", "2", "--threads", "1", "--quiet")
    for size in (1, 2):
        first, *_ = job(*sample, "--out", f"{size}.trprobs", folders=[five] * size)
        assert first.status == 0, first.err
    assert (five / "1.trprobs").read_text() == (five / "2.trprobs").read_text()


def test_a_killed_process_ends_all_and_the_run_goes_on_with_others(job, five, alone):
    # The start asks some hundred times; the checkpoint before the first iteration is there.
    first, second, third = job(*FIT, "--init", "em", folders=[five] * 3, killed=1, at=5)
    assert second.status == -9
    assert one_line(first, third) == (
        "error: process 2 of 3 has ended or cannot be reached: start all again; a fit goes on with --resume, on any number of "
        "processes"
    )
    assert job(*RESUME, folders=[five] * 2)[0].status == 0
    resumed = learned(five / "five.vbpi")
    (whole,) = job(*FIT, "--init", "em", "--out", "whole.vbpi", folders=[five])
    assert whole.status == 0, whole.err
    assert resumed == learned(five / "whole.vbpi")


def test_without_the_first_process_the_others_end(job, five):
    first, *others = job(*FIT, "--init", "em", folders=[five] * 3, killed=0, at=5)
    assert first.status == -9
    assert "error: the first process has ended or cannot be reached" in one_line(*others)
    (resumed,) = job(*RESUME, folders=[five])
    assert resumed.status == 0, resumed.err


def test_other_versions_are_refused(job, five):
    line = one_line(*job(*FIT, folders=[five] * 3, version="0.0.9"))
    assert line.startswith("error: process 3 of 3 runs vbpi_mix 0.0.9, the first vbpi_mix ")
    assert not (five / "five.vbpi").exists()


@pytest.mark.parametrize("name", ["five.fasta", "five.nwk"])
def test_other_files_are_refused(job, five, name):
    other = five / "other"
    other.mkdir()
    write_problem(other)
    (other / name).write_text((other / name).read_text() + "\n")
    assert one_line(*job(*FIT, folders=[five, other])).startswith(f"error: process 2 of 2 sees another {name} than the first")
    (other / name).unlink()
    assert one_line(*job(*FIT, folders=[five, other])).startswith(f"error: process 2 of 2 does not see {name}")
    assert not (five / "five.vbpi").exists()


def test_what_one_process_refuses_is_one_line(job, five):
    line = one_line(*job(*FIT, "--K", "0", folders=[five] * 2))
    assert line == "error: --K must be a whole number of at least 1, not 0"


def test_commands_that_are_not_shared_out_are_run_by_the_first_process(job, five, alone):
    run, _ = alone
    first, other = job("export", run, "--out", "tables", folders=[five] * 2)
    assert first.status == 0, first.err
    assert (other.status, other.out, other.err) == (0, "", "")
    first, other = job("fit", "--help", folders=[five] * 2)
    assert "torchrun" in first.out
    assert (first.status, other.status, other.out) == (0, 0, "")


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "2", "RANK": "2"}])
def test_variables_that_make_no_sense_are_one_line(run, empty_world, monkeypatch, variables):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for command in ("fit", "draw"):
        assert "among the variables of torchrun" in run(command, "x").error_line()


@pytest.mark.slow
def test_torchrun_starts_it(five, alone):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vbpi_mix_cli"]
    done = subprocess.run([*launcher, *FIT], cwd=five, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert learned(five / "five.vbpi") == learned(alone[0])

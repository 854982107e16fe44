"""What a run shows: plain lines when piped, a bar on a terminal, nothing when quiet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from vbpi_mix.training.reports import TrainingReport
from vbpi_mix_cli.progress import CountProgress, Progress, clock_time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def report(iteration: int, seconds: float, **changes) -> TrainingReport:
    values = {
        "iterations": 40_000,
        "seconds_left": 80.0,
        "bound": -7110.321,
        "beta": 1.0,
        "learning_rate": 0.001,
    }
    return TrainingReport(iteration=iteration, seconds=seconds, **{**values, **changes})


def test_piped_output_is_plain_lines_at_intervals():
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        for second in range(1, 26):
            progress(report(400 * second, float(second)))
        progress(report(10_100, 25.25, finished=True))
    assert stream.getvalue().splitlines() == [
        "iteration 4,000  bound -7110.32  400 it/s  lr 0.001  left 1:20",
        "iteration 8,000  bound -7110.32  400 it/s  lr 0.001  left 1:20",
        "iteration 10,100  bound -7110.32  400 it/s  lr 0.001  took 0:25",
    ]


def test_a_line_says_only_what_is_known():
    stream = io.StringIO()
    Progress(stream=stream, line_every=0.5)(
        report(30, 10.0, iterations=None, seconds_left=None, beta=0.25, metrics={"accuracy": 0.5})
    )
    Progress(stream=stream)(report(0, 0.0, bound=float("nan"), finished=True))
    assert stream.getvalue().splitlines()[-1] == "iteration 0  bound nan  lr 0.001  took 0:00"


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_silent(terminal):
    stream = Terminal() if terminal else io.StringIO()
    with Progress(quiet=True, stream=stream) as progress:
        progress(report(100, 20.0, finished=True))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("iterations", [40_000, None])
def test_a_terminal_gets_a_bar(iterations):
    pytest.importorskip("tqdm")
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress(report(400, 1.0, iterations=iterations))
        progress(report(800, 2.0, iterations=iterations, finished=True))
    shown = stream.getvalue()
    assert "\r" in shown
    assert shown.endswith("\n")
    assert "bound -7110.32  400 it/s" in shown
    assert "400" in shown
    assert "800" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (80, "1:20"), (7384, "2:03:04")]
)
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text


@pytest.mark.parametrize(
    ("stream", "quiet", "shown"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
)
def test_a_count_is_a_bar_on_a_terminal_or_nothing(stream, quiet, shown):
    with CountProgress("images", quiet, stream) as progress:
        progress(1, 3)
        progress(3, 3)
    assert ("images:" in stream.getvalue()) == shown
    assert ("/3" in stream.getvalue()) == shown
    assert bool(stream.getvalue()) == shown


def test_bars_are_drawn_in_one_module_of_the_command_line():
    folder = Path(__file__).resolve().parents[2] / "cli"
    assert [path.name for path in folder.glob("*.py") if "import tqdm" in path.read_text("utf-8")] == ["progress.py"]

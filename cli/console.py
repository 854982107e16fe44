"""What a training run shows on standard error: a bar on a terminal, else plain lines, or nothing (quiet)."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from vbpi_mix.errors import ConfigError

if TYPE_CHECKING:
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.problem import Problem
    from vbpi_mix.training.reports import TrainingReport, TrainingResult
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix.training.trainer import Trainer

LINE_EVERY_SECONDS = 10.0


class Progress:
    """A trainer's progress callback; as a context manager it leaves the terminal tidy on any exit.

    On a terminal: one tqdm bar with bound, rate and time left. Piped: a line every `line_every` seconds of
    training and one at the end. `quiet`: nothing. `note`: what is said beside the numbers, if anything.
    """

    def __init__(
        self,
        quiet: bool = False,
        stream: TextIO | None = None,
        line_every: float = LINE_EVERY_SECONDS,
        note: str = "",
    ) -> None:
        self._note = note
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._line_every = line_every
        self._on_terminal = self._stream.isatty()
        self._bar: Any = None
        self._next_line: float | None = None
        self._last: tuple[int, float] | None = None
        self._rate = math.nan

    def __call__(self, report: TrainingReport) -> None:
        """Show a report, if it is time to."""
        if self._quiet:
            return
        self._note_rate(report)
        if self._on_terminal:
            self._show_bar(report)
        else:
            self._show_line(report)

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _note_rate(self, report: TrainingReport) -> None:
        """Iterations per second since the report before this one (from the start, for the first)."""
        iteration, seconds = self._last if self._last is not None else (0, 0.0)
        if report.iteration > iteration and report.seconds > seconds:
            self._rate = (report.iteration - iteration) / (report.seconds - seconds)
        self._last = (report.iteration, report.seconds)

    def _show_line(self, report: TrainingReport) -> None:
        if self._next_line is None:
            self._next_line = report.seconds - report.seconds % self._line_every + self._line_every
        if report.finished or report.seconds >= self._next_line:
            self._next_line = report.seconds + self._line_every
            print(describe(report, self._rate, self._note), file=self._stream, flush=True)

    def _show_bar(self, report: TrainingReport) -> None:
        if self._bar is None:
            self._bar = self._new_bar(report)
        self._bar.n = report.iteration
        self._bar.set_postfix_str(_state(report, self._rate, self._note), refresh=False)
        self._bar.refresh()
        if report.finished:
            self.close()

    def _new_bar(self, report: TrainingReport) -> Any:
        from tqdm import tqdm

        form = "{n:,}/{total:,} |{bar}| {postfix}" if report.iterations else "iteration {n:,}  {postfix}"
        return tqdm(
            total=report.iterations,
            file=self._stream,
            bar_format=form,
            dynamic_ncols=True,
            mininterval=0.0,
        )


def describe(report: TrainingReport, rate: float, note: str = "") -> str:
    """One plain line on a report, `rate` being iterations per second."""
    return f"iteration {report.iteration:,}  {_state(report, rate, note)}"


def _state(report: TrainingReport, rate: float, note: str) -> str:
    parts = [f"bound {report.bound:.2f}"]
    parts.extend(f"{name} {value:.2f}" for name, value in report.metrics.items())
    if note:
        parts.append(f"({note})")
    if math.isfinite(rate):
        parts.append(f"{rate:,.0f} it/s" if rate >= 10 else f"{rate:.2g} it/s")
    parts.append(f"lr {report.learning_rate:.3g}")
    if report.beta < 1.0:
        parts.append(f"beta {report.beta:.3f}")
    if report.finished:
        parts.append(f"took {clock_time(report.seconds)}")
    elif report.seconds_left is not None:
        parts.append(f"left {clock_time(report.seconds_left)}")
    return "  ".join(parts)


def clock_time(seconds: float) -> str:
    """1:20 for 80 seconds, 2:03:04 above an hour."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def describe_elbo(elbo: float, standard_error: float) -> str:
    """The single-sample bound for a reader: it says little where a few draws carry it."""
    if standard_error < 1.0:
        return f"ELBO {elbo:.2f} (se {standard_error:.2f})"
    return f"ELBO {elbo:.4g} (se {standard_error:.2g}: a few draws with very long branches carry it)"


def train(
    problem: Problem,
    training: TrainingConfig,
    run: RunDirectory,
    config: dict[str, Any],
    quiet: bool,
    resume: bool,
    evaluated: Collection[str] = (),
    note: str = "",
) -> TrainingResult:
    """Train to the end or to an interruption, from the last checkpoint if `resume`, shown (with a note) and logged.

    evaluated: entries of summary.json that tell of the model as it was, and go when training goes on. CheckpointError,
    before anything is changed, if there is a checkpoint that does not load, or none although the run was trained.
    """
    from vbpi_mix.training.trainer import Trainer

    with Progress(quiet, note=note) as progress:
        trainer = Trainer(problem, training, run, progress, run_config=config)
        if resume:
            _take_up(trainer, run, quiet)
            run.write_config(config)
            if not trainer.ended:
                run.drop_from_summary(evaluated)
        run.log(f"{'resumed' if resume else 'started'} at iteration {trainer.iteration:,}")
        result = trainer.run()
    run.log(f"stopped: {result.stop_reason}, {result.iterations:,} iterations, {result.seconds:.1f} s")
    return result


def _take_up(trainer: Trainer, run: RunDirectory, quiet: bool) -> None:
    """Bring a trainer to where the run stands, and say so where a user may expect more."""
    from vbpi_mix.training.extension import has_checkpoint

    remark = ""
    if has_checkpoint(run):
        trainer.resume()
        if trainer.ended:
            remark = f"nothing left to train: the run is at its end, after {trainer.iteration:,} iterations"
    else:
        remark = "no checkpoint yet: starting from the beginning"
    if remark and not quiet:
        click.echo(remark, err=True)


def shown_path(path: Path) -> Path:
    """A path as a user would type it: relative, if it is below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def check_only_resume(allowed: Collection[str]) -> None:
    """ConfigError if the current command was given an option that a resumed run has fixed; `allowed` are parameter names."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in allowed and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise ConfigError(f"{parameter.opts[0]} cannot be given with --resume: the run has fixed it")


class CountProgress:
    """Progress of something counted, told (done, total): a tqdm bar on a terminal, nothing when piped or quiet."""

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._what = what
        self._shown = not quiet and sys.stderr.isatty()
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=self._what, leave=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> CountProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

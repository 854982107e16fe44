"""Progress on standard error: a bar on a terminal, else plain lines now and then, or nothing (quiet)."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from vbpi_mix.phylo.sampling.sampler import McmcReport
    from vbpi_mix.training.reports import TrainingReport

LINE_EVERY_SECONDS = 10.0


class _Display:
    """One bar, made when it is first shown, or lines; as a context manager it leaves the terminal tidy on any exit.

    quiet: nothing is shown. stream: standard error by default. line_every: seconds of the work between lines.
    """

    def __init__(
        self, quiet: bool = False, stream: TextIO | None = None, line_every: float = LINE_EVERY_SECONDS
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._on_terminal = self._stream.isatty()
        self._line_every = line_every
        self._next_line: float | None = None
        self._bar: Any = None

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open_bar(self, **options: Any) -> Any:
        """The bar; options of tqdm count where it is made."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(file=self._stream, **options)
        return self._bar

    def _move_bar(self, position: float, text: str, total: float | None, form: str) -> None:
        """Show the bar at once, with a text beside it."""
        bar = self._open_bar(total=total, bar_format=form, dynamic_ncols=True, mininterval=0.0)
        bar.n = position
        bar.set_postfix_str(text, refresh=False)
        bar.refresh()

    def _is_line_due(self, seconds: float, always: bool) -> bool:
        """Whether it is time for a line, after so many seconds of the work; `always`: it is."""
        if self._next_line is None:
            self._next_line = seconds - seconds % self._line_every + self._line_every
        if not always and seconds < self._next_line:
            return False
        self._next_line = seconds + self._line_every
        return True

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Progress(_Display):
    """A trainer's progress callback: bound, rate and time left, and a last line at the end.

    note: what is said beside the numbers, if anything.
    """

    def __init__(
        self,
        quiet: bool = False,
        stream: TextIO | None = None,
        line_every: float = LINE_EVERY_SECONDS,
        note: str = "",
    ) -> None:
        super().__init__(quiet, stream, line_every)
        self._note = note
        self._last: tuple[int, float] = (0, 0.0)
        self._rate = math.nan

    def __call__(self, report: TrainingReport) -> None:
        """Show a report, if it is time to."""
        if self._quiet:
            return
        self._note_rate(report)
        if self._on_terminal:
            form = "{n:,}/{total:,} |{bar}| {postfix}" if report.iterations else "iteration {n:,}  {postfix}"
            self._move_bar(report.iteration, _state(report, self._rate, self._note), report.iterations, form)
            if report.finished:
                self.close()
        elif self._is_line_due(report.seconds, report.finished):
            self._print(describe(report, self._rate, self._note))

    def _note_rate(self, report: TrainingReport) -> None:
        """Iterations per second since the report before this one (from the start, for the first)."""
        iteration, seconds = self._last
        if report.iteration > iteration and report.seconds > seconds:
            self._rate = (report.iteration - iteration) / (report.seconds - seconds)
        self._last = (report.iteration, report.seconds)


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


class SamplerProgress(_Display):
    """The tree sampler's progress callback: generations, and how far the chains agree."""

    _REFRESH_SECONDS = 0.2

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        super().__init__(quiet, stream)
        self._next_refresh = 0.0

    def __call__(self, report: McmcReport) -> None:
        """Show a report, if it is time to."""
        if self._quiet:
            return
        if self._on_terminal:
            if report.finished or report.seconds >= self._next_refresh:
                self._next_refresh = report.seconds + self._REFRESH_SECONDS
                self._move_bar(min(1.0, report.share_done), describe_sampling(report), 1.0, "|{bar}| {postfix}")
        elif self._is_line_due(report.seconds, report.finished or not report.generations):
            self._print(describe_sampling(report))


def describe_sampling(report: McmcReport) -> str:
    """One plain line on a report of the sampler."""
    if report.generations == 0:
        return "starting the sampler (the first time, its kernels are compiled)"
    text = f"generation {report.generations:,}  {clock_time(report.seconds)}"
    for name, value, digits in (("ASDSF", report.asdsf, 4), ("agreement", report.agreement, 3)):
        text += "" if math.isnan(value) else f"  {name} {value:.{digits}f}"
    if not math.isnan(report.log_posterior):
        text += f"  log posterior {report.log_posterior:,.1f}"
    return text


class CountProgress(_Display):
    """Progress of something counted, told (done, total): a bar that goes when it is full, and nothing when piped."""

    def __init__(self, what: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        super().__init__(quiet, stream)
        self._what = what

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if self._on_terminal and not self._quiet:
            bar = self._open_bar(total=total, desc=self._what, leave=False)
            bar.update(done - bar.n)

"""trace.csv: how a run went, one row every few iterations.

Columns: iteration, seconds (of training so far), bound (mean over the iterations since the row before), beta,
learning_rate, then the problem's validation metrics, empty where none was measured. Every column but seconds
is reproducible.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.files import append_text, write_text

COLUMNS = ("iteration", "seconds", "bound", "beta", "learning_rate")


class TraceWriter:
    """Appends whole lines to a trace, many at a time.

    A writer for a new run starts the file; one for a resumed run keeps the rows up to the iteration
    `keep_until` and drops what was written after it.
    """

    def __init__(
        self, path: str | os.PathLike[str], metrics: Sequence[str] = (), keep_until: int | None = None
    ) -> None:
        self._path = Path(path)
        self._metrics = tuple(metrics)
        self._lines: list[str] = []
        header = ",".join((*COLUMNS, *self._metrics)) + "\n"
        kept = "" if keep_until is None else self._rows_until(keep_until, header)
        write_text(self._path, header + kept)

    def _rows_until(self, iteration: int, header: str) -> str:
        """The complete rows of the old file up to `iteration`; none if there is no old file."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise RunDirectoryError(f"{self._path} cannot be read as a trace: {error}") from error
        if not lines or lines[0] != header:
            raise RunDirectoryError(
                f"{self._path} has other columns than this run's ({header.strip()}): move it away to resume"
            )
        return "".join(line for line in lines[1:] if line.endswith("\n") and _iteration(line) <= iteration)

    def row(
        self,
        iteration: int,
        seconds: float,
        bound: float,
        beta: float,
        learning_rate: float,
        metrics: Mapping[str, float],
    ) -> None:
        """Note one row; it is on disk after the next `flush`."""
        line = f"{iteration},{seconds:.3f},{bound!r},{beta:.6g},{learning_rate:.6g}"
        for name in self._metrics:
            line += f",{float(metrics[name])!r}" if name in metrics else ","
        self._lines.append(line + "\n")

    def flush(self) -> None:
        """Append the noted rows to the file."""
        if self._lines:
            append_text(self._path, "".join(self._lines))
            self._lines.clear()


def _iteration(line: str) -> float:
    """The iteration of a row; infinity for a line that is none, which drops it."""
    first = line.split(",", 1)[0]
    return int(first) if first.isdigit() else float("inf")

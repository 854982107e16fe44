"""Standard output and error of a command: there whatever it was started with, and what cannot be shown stops no work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Forgiving:
    """Standard error whose reader may be gone, or whose disk may be full: from then on nothing is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._silent = False

    def write(self, text: str) -> int:
        """As of a text stream."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As of a text stream."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, do: Any, *given: str) -> None:
        if self._silent:
            return
        try:
            do(*given)
        except OSError:
            self._silent = True
            discard(self._stream)


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere: else the interpreter stumbles over it at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


@contextmanager
def usable_streams() -> Iterator[None]:
    """Streams that were closed lead nowhere, so that no file gets their numbers; standard error fails nobody."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    before = sys.stderr or _nowhere("w")
    sys.stderr = Forgiving(before)
    try:
        yield
    finally:
        sys.stderr = before


def _nowhere(mode: str) -> Any:
    """A stream for the rest of the process."""
    return open(os.devnull, mode, encoding="utf-8")

"""Ctrl-C and SIGTERM as a request to stop at the end of an iteration."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# torchrun passes on to its processes what the terminal, or the system, has sent them already: so soon after, it is the same one.
ECHO_SECONDS = 1.0


class StopRequest:
    """While entered, the first SIGINT or SIGTERM sets `asked`; a second one raises KeyboardInterrupt.

    Outside the main thread, where python lets nobody handle signals, it never sets anything.
    """

    def __init__(self) -> None:
        self.asked = False
        self._echo_until = 0.0
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() >= self._echo_until:
            raise KeyboardInterrupt
        if not self.asked and "TORCHELASTIC_RUN_ID" in os.environ:
            self._echo_until = time.monotonic() + ECHO_SECONDS
        self.asked = True

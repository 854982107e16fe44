"""Lines on standard error about kernels that are being compiled, which a first run waits for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import click


def compilation_shown(quiet: bool, make_room: Callable[[], object]) -> AbstractContextManager[None]:
    """Within it, what is compiled is said as it happens. make_room: called before each line, to end a bar."""
    if quiet:
        return nullcontext()
    # numba is not loaded before a command needs it.
    from vbpi_mix.accelerate import compilation_told

    def tell(seconds: float) -> None:
        make_room()
        click.echo(describe(seconds), err=True)

    return compilation_told(tell)


def describe(seconds: float) -> str:
    """One line on so many seconds of compilation."""
    if seconds == 0.0:
        return "compiling kernels: this is the first run that needs them"
    return f"kernels compiled in {seconds:.0f} s so far; they are kept for later runs"

"""What made a result: versions and the kind of machine, without names of machines or folders."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import metadata
from typing import Any

import vbpi_mix

# The command line that is at work, as it was typed; None where the library is called.
TYPED: ContextVar[str | None] = ContextVar("TYPED", default=None)
FROM_PYTHON = "called from Python"


def versions() -> dict[str, str]:
    """Versions of python, vbpi_mix and the libraries that numbers depend on ("missing" if not installed)."""
    found = {"python": platform.python_version(), "vbpi_mix": vbpi_mix.__version__}
    for package in ("torch", "numpy", "numba"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def typed_commands(summary: Mapping[str, Any] | None = None) -> list[str]:
    """The commands that have worked on a run, this one last. summary: its summary.json so far."""
    return [*(summary or {}).get("commands", []), TYPED.get() or FROM_PYTHON]


def available_cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment() -> dict[str, str | int]:
    """Facts of the machine that can change a number or a time."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
        "cores": available_cores(),
    }


def use_threads(threads: int, torch_threads: int | None = None) -> int:
    """Let kernels use `threads` threads, torch `torch_threads` (None: as many); returns the kernels' number.

    Sums that torch splits over threads may round differently with another number of them: a problem that
    promises the same trace for every number of threads passes torch_threads=1. Kernels come first: where numba and torch share
    an OpenMP library, numba's first call sets torch's number too.
    """
    import torch

    from vbpi_mix.accelerate import set_threads

    in_force = set_threads(threads)
    torch.set_num_threads(threads if torch_threads is None else torch_threads)
    return in_force

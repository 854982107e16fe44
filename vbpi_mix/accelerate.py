"""The one policy by which numba compiles: what is cached and where, which reorderings are allowed, how many threads.

Kernels use `kernel` (sequential), `inline_kernel` (copied into its callers) or `parallel_kernel` (prange over trees or
components). An `inline_kernel`, an `inner_kernel` and one whose name begins with an underscore are called by kernels alone, never
from Python: what would turn Python's values into their arguments is not compiled. A kernel that makes arrays says so
(`allocates`): all others do not count who holds an array, and are compiled in less time. Products may be contracted; NaN and
infinity keep their meaning, since a log-probability of minus infinity is an ordinary value here. Sums are taken in the order that
is written: the compiler would choose another in every copy of a kernel, and a process that compiles runs other copies than one
that loads (docs/development/log.md). Loops that must vectorise say so (kernels/simd.py).

numba notices a change of the file that defines a cached kernel, but not of the files whose kernels it calls. So the
cache is a folder of its own for every state of the `kernels` rooms, in the user's cache; NUMBA_CACHE_DIR, where it is
set, is taken in its place. Which folders are trusted: kernel_cache.py. A kernel that stands elsewhere calls none of another
file (tests/test_architecture.py).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Threads that wait at the end of a parallel region spin for some ten microseconds and then sleep. Read when the OpenMP
# runtime starts: on a machine that others use too, a thread that spins takes the core that the thread it waits for needs
# (docs/development/log.md).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numba
from numba.core import event

from vbpi_mix import kernel_cache

FASTMATH = {"contract", "arcp", "nsz"}
NO_C_WRAPPER = {"no_cfunc_wrapper": True}
_ALLOCATING: set[Callable[..., Any]] = set()


def _source_digest() -> str:
    """Digest of this file and of every file of a `kernels` room."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for source in [Path(__file__), *sorted(package.glob("**/kernels/*.py"))]:
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


# numba fills its configuration module when it is imported, so that a type checker sees nothing in it.
_numba_config: Any = numba.config
# The folder that the user named is held to the same rule.
if not _numba_config.CACHE_DIR:
    _numba_config.CACHE_DIR = kernel_cache.trusted_folder(_source_digest())
_IS_CACHED = bool(_numba_config.CACHE_DIR) and kernel_cache.is_usable(Path(_numba_config.CACHE_DIR))


def _policy(*, inner: bool = False, **choices: Any) -> Callable[..., Any]:
    """A decorator that makes kernels, which are kept on disk where there is a place for them."""

    def decorate(function: Callable[..., Any]) -> Any:
        # Of these options numba's types do not know all.
        options: dict[str, Any] = {**choices, **NO_C_WRAPPER}
        options["no_cpython_wrapper"] = inner or function.__name__.startswith("_")
        options["_nrt"] = "parallel" in choices or function in _ALLOCATING
        made: Any = numba.njit(fastmath=FASTMATH, nogil=True, error_model="numpy", **options)(function)
        if _IS_CACHED and hasattr(made, "enable_caching"):
            made._cache = kernel_cache.CheckedCache(function)
        return made

    return decorate


def allocates(function: Callable[..., Any]) -> Callable[..., Any]:
    """Below the decorator of a kernel that makes arrays, or keeps one that a kernel it calls has made.

    It, and a parallel one, count who holds an array, and would give back what nobody has counted: so they take none that a kernel
    without this mark returns, and Python does not either.
    """
    _ALLOCATING.add(function)
    return function


kernel: Callable[..., Any] = _policy()
inner_kernel: Callable[..., Any] = _policy(inner=True)
parallel_kernel: Callable[..., Any] = _policy(parallel=True)
inline_kernel: Callable[..., Any] = _policy(inner=True, forceinline=True)


def set_threads(threads: int) -> int:
    """Let the kernels use `threads` threads (at most what the machine has); returns the number in force."""
    available = int(getattr(numba.config, "NUMBA_NUM_THREADS", 1))
    in_force = max(1, min(threads, available))
    numba.set_num_threads(in_force)
    return in_force


def is_kept(name: str) -> bool:
    """Whether a kernel whose name is like this pattern is in the cache."""
    return _IS_CACHED and any(Path(_numba_config.CACHE_DIR).glob(f"*/*.{name}-*.nbi"))


class _Compiling(event.Listener):
    """Tells how long was compiled: as it begins, then every so often. Compilations that one needs are part of it."""

    EVERY_SECONDS = 10.0

    def __init__(self, tell: Callable[[float], object]) -> None:
        self.seconds = 0.0
        self._tell = tell
        self._depth = 0
        self._begun = 0.0
        self._next = 0.0

    def on_start(self, event: Any) -> None:
        """A kernel begins to be compiled."""
        if self._depth == 0:
            self._begun = time.perf_counter()
            self._report()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """It is."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._begun
            self._report()

    def _report(self) -> None:
        if self.seconds >= self._next:
            self._next = self.seconds + self.EVERY_SECONDS
            self._tell(self.seconds)


@contextmanager
def compilation_told(tell: Callable[[float], object]) -> Iterator[None]:
    """Within it, `tell` is told the seconds of compilation so far: 0 as the first kernel is compiled, then every ten seconds,
    and in the end. Kernels that come from the cache are not compiled.
    """
    compiling = _Compiling(tell)
    with event.install_listener("numba:compile", compiling):
        yield
    if compiling.seconds > 0.0:
        tell(compiling.seconds)

"""Locks on files and folders, which the system itself releases when their process ends, however it ends.

flock of the standard library, and not portalocker: that locks files alone, so that a run's folder would need one more file
in it, and it does the same underneath. A lock that is held by the kernel cannot go stale, and a folder that is renamed keeps
its lock. Where there is no flock (Windows, some network file systems) nothing is locked.
"""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """A lock on an open file or folder, released by `release` or with this object."""

    def __init__(self, descriptor: int) -> None:
        self._close = weakref.finalize(self, os.close, descriptor)

    def release(self) -> None:
        """Let others have it. A second call does nothing."""
        self._close()


def lock(path: Path) -> Lock | None:
    """The lock on a file or folder; None if someone else has it, in this process or in another.

    Raises OSError if there is no such place or it cannot be opened.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY)
        if not take(descriptor):
            os.close(descriptor)
            return None
        if is_at(descriptor, path):
            return Lock(descriptor)
        # What was there has been moved away between the two steps.
        os.close(descriptor)


def take(descriptor: int) -> bool:
    """Lock what is open, until it is closed; False if someone else has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # All other reasons are those of file systems that have no locks.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether what is open still stands at that path."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)

"""A run that is to replace another: it is trained in a hidden folder beside it, and then takes its place.

    .NAME.replacement   the new run, from its start until it has been trained
    .NAME.replaced      the old one, while it is being removed

The old run is moved aside, the new one to its place, the old one removed; whatever step is the last one done, the next
command that looks at NAME finds out from these names and does the rest (`recover`).

Linux can exchange two names in one step (renameat2), but not on every file system, and Python has no call for it. `recover` would
be needed elsewhere all the same, and after an exchange a hidden folder whose removal was cut off could not be told from a new run
that is still to be trained: here its name says which it is.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from vbpi_mix import leftovers, locks
from vbpi_mix.training.run_files import own_of_user


def replacement_of(place: Path) -> Path:
    """Where the run that is to replace the one at `place` is trained."""
    return place.parent / f".{place.name}.replacement"


def _replaced(place: Path) -> Path:
    return place.parent / f".{place.name}.replaced"


def replace(place: Path, new: Path) -> None:
    """Let a trained run take the place of another, with what the user has put there. Both are locked by the caller.

    Raises OSError, and the old run is where it was.
    """
    for item in own_of_user(place):
        _copy(place / item, new / item)
    aside = _replaced(place)
    leftovers.remove(aside, place.name)
    place.rename(aside)
    try:
        new.rename(place)
    except OSError:
        aside.rename(place)
        raise
    leftovers.remove(aside, place.name)


def recover(place: Path) -> None:
    """Do what killed processes have left undone at a place: the rest of a replacement, and hidden folders removed."""
    leftovers.sweep(place.parent, place.name)
    aside, new = _replaced(place), replacement_of(place)
    if aside.is_dir() and _is_free(aside):
        if not place.exists():
            (new if new.is_dir() else aside).rename(place)
        leftovers.remove(aside, place.name)
    if new.is_dir() and not place.exists() and _is_free(new):
        new.rename(place)


def _is_free(folder: Path) -> bool:
    """Whether no process is at work there."""
    with suppress(OSError):
        lock = locks.lock(folder)
        if lock is not None:
            lock.release()
            return True
    return False


def _copy(source: Path, target: Path) -> None:
    """A file, link or folder; files as further names of the same file where the system can do that."""
    if target.exists() or target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)

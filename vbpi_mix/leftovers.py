"""Files and folders that are not yet what they will be: how they are named, and what is done about those of killed processes.

They are hidden, named after what they will be with eight letters and an ending of ours, and locked as long as their process
lives. So whatever bears such a name and is not locked was left behind, and the next command there removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vbpi_mix import locks
from vbpi_mix.locks import Lock

PART, STARTING = ".part", ".starting"
# What files that are written together are named after; one that makes a folder of them names them all.
TOGETHER = "together"
_NAMES = "names.json"
# Bytes of a name that are kept: with what is added it stays below what file systems allow (255).
_MOST_BYTES = 200


def hidden_name(name: str, ending: str) -> str:
    """A name for what will be `name`."""
    return f".{_stem(name)}.{secrets.token_hex(4)}{ending}"


def new_file(target: Path) -> tuple[int, Path]:
    """A hidden file beside what it will be, open for writing and locked, with the permissions of a new file. Raises OSError."""
    while True:
        path = target.parent / hidden_name(target.name, PART)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        # Between the two steps it looked like one that was left behind.
        if locks.take(descriptor) and locks.is_at(descriptor, path):
            return descriptor, path
        os.close(descriptor)


def new_folder(parent: Path, name: str, ending: str = PART) -> tuple[Path, Lock]:
    """A hidden folder that will be `name` in `parent`, and its lock. Raises OSError."""
    while True:
        path = parent / hidden_name(name, ending)
        path.mkdir()
        with suppress(FileNotFoundError):
            lock = locks.lock(path)
            if lock is not None:
                return path, lock


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have left in a folder: of the file or folder `name`, or of all. What they left half done
    of files that are written together is undone."""
    for path in list(_found(folder, name)):
        with suppress(OSError):
            lock = locks.lock(path)
            if lock is None:
                continue
            try:
                if path.is_dir():
                    _undo(folder, path)
                    _open_up(path)
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                lock.release()


def move_in(source: Path, target: Path) -> None:
    """Move a file from a hidden folder to its place, with the permissions of a new file: the user's umask decides them."""
    like = source.parent / "new"
    like.touch()
    os.chmod(source, like.stat().st_mode & 0o777)
    os.replace(source, target)


def remove(folder: Path, name: str) -> None:
    """Remove a folder that was or was to be `name`, in one step for those who look there: what is cut short is hidden."""
    with suppress(OSError):
        hidden = folder.parent / hidden_name(name, STARTING)
        folder.rename(hidden)
        folder = hidden
    _open_up(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Let folders within be changed that their owner has protected: what is to be removed is of no use half removed."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with suppress(OSError):
        folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
        for path in list(folder.iterdir()):
            _open_up(path)


def exchange(place: Path, new: Path, names: Sequence[str]) -> None:
    """Move files from the hidden folder `new` to `place`; if one of them cannot be, move all back.

    Its list of names says that not all have been moved: it is there from the first step to the last.
    """
    (new / "replaced").mkdir()
    (new / "writing").write_text(json.dumps(list(names)), encoding="utf-8")
    (new / "writing").rename(new / _NAMES)
    try:
        for name in names:
            if (place / name).exists():
                os.replace(place / name, new / "replaced" / name)
            os.replace(new / name, place / name)
    except BaseException:
        _undo(place, new)
        raise
    (new / _NAMES).unlink()


def _undo(place: Path, new: Path) -> None:
    """Move back what `exchange` has moved, if it has not come to its end."""
    try:
        names = json.loads((new / _NAMES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    # Each step can be done again: this too may be cut short. A name of ours leads nowhere else.
    for name in (each for each in names if Path(each).name == each):
        if not (new / name).exists():
            os.replace(place / name, new / name)
        if (new / "replaced" / name).exists():
            os.replace(new / "replaced" / name, place / name)
    (new / _NAMES).unlink()


def _is_own(entry: os.DirEntry[str]) -> bool:
    """Whether it is this user's: in a folder that others can write to, they could have put it there."""
    return not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _stem(name: str) -> str:
    return name.encode("utf-8", "surrogateescape")[:_MOST_BYTES].decode("utf-8", "ignore")


def _found(folder: Path, name: str | None) -> Iterator[Path]:
    stem = ".+" if name is None else re.escape(_stem(name))
    pattern = re.compile(rf"\.{stem}\.[a-z0-9_]{{8}}({PART}|{STARTING})", re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and not entry.is_symlink() and _is_own(entry):
                yield Path(entry.path)

"""Files written whole or not at all.

A reader of a file written here sees the old contents or the new, never a part: the new contents go to a
temporary file in the same folder, reach the disk, and take the old name in one step.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml


@contextmanager
def atomic_write(path: str | os.PathLike[str], binary: bool = False) -> Iterator[IO[Any]]:
    """A file object whose contents become `path` when the block ends; an exception leaves `path` as it was.

    Text is UTF-8 with plain newlines. Raises OSError if the folder is missing or not writable.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with _open(descriptor, binary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode_for(target))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_write(path) as file:
        file.write(text)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path, binary=True) as file:
        file.write(data)


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write `value` to `path` as indented JSON, atomically. TypeError if it is not plain data."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_yaml(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write `value` to `path` as YAML of plain data only, in its own order, atomically."""
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


def _open(descriptor: int, binary: bool) -> IO[Any]:
    if binary:
        return os.fdopen(descriptor, "wb")
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")


def _mode_for(target: Path) -> int:
    """The permissions the file has already, or those an ordinary new file would get."""
    with suppress(FileNotFoundError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

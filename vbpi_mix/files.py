"""Files that a user names: read with what is wrong in one line, refused before the work, written whole after it.

A reader of a file written here sees the old contents or the new, never a part: the new contents go to a
temporary file in the same folder, reach the disk, and take the old name in one step.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from vbpi_mix.errors import ConfigError, VbpiMixError

GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path, what: str, error: type[VbpiMixError]) -> bytes:
    """Content of a text file, decompressed if it is gzip by its first bytes, without a byte order mark.

    what: the kind of file that is wanted, for the message. Raises `error` if the path does not exist, is a
    folder, cannot be read or is empty, or if the compressed data are damaged or cut short.
    """
    if path.is_dir():
        raise error(f"{path}: this is a folder; name the {what} in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path of the {what}") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check its permissions") from None
    if data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise error(f"{path}: the gzip file is damaged or cut short; fetch it again") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise error(f"{path}: the file is empty; give the {what} itself")
    return data


def read_utf8(path: Path, what: str, error: type[VbpiMixError]) -> bytes:
    """Content of a text file that a user names, as UTF-8 with lines that end in a newline, whatever it is written in.

    That may be UTF-8 or UTF-16, with a byte order mark or without, or else Latin-1, plain or gzip-compressed, with the line
    ends of any system. Raises `error` as `read_bytes` does, or if the file is UTF-16 and damaged.
    """
    data = read_bytes(path, what, error)
    encoding = _encoding_of(data)
    if encoding != "utf-8":
        try:
            data = data.decode(encoding).removeprefix("\ufeff").encode()
        except UnicodeError:
            raise error(f"{path}: the file is damaged: it begins as UTF-16, and is none; save it as UTF-8") from None
        if not data.strip():
            raise error(f"{path}: the file is empty; give the {what} itself")
    # A lone carriage return ends a line in files of old Macintosh programs.
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def read_text(path: Path, what: str, error: type[VbpiMixError]) -> str:
    """What `read_utf8` reads, as text."""
    return read_utf8(path, what, error).decode()


def _encoding_of(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = data[:64]
    # Text of these formats begins with ASCII, of which every other byte is 0 in UTF-16.
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if len(head) >= 8 and len(data) % 2 == 0 and not any(zeros) and any(head):
            return encoding
    try:
        data.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_free(
    places: Sequence[str | os.PathLike[str] | None], force: bool, error: type[VbpiMixError] = ConfigError
) -> None:
    """Raise `error` unless every file can be made, none twice, and none is replaced without `force`.

    None among the places is a file that is not wanted.
    """
    wanted = [Path(place) for place in places if place is not None]
    for number, place in enumerate(wanted):
        check_folder(place, error)
        if place.is_dir():
            raise error(f"{place} is a folder; name a file")
        if place.exists() and not force:
            raise error(f"{place} exists; choose another name, or replace it with --force")
        if place.absolute() in [other.absolute() for other in wanted[:number]]:
            raise error(f"{place} is given for two outputs; choose two names")


def check_folder(place: Path, error: type[VbpiMixError]) -> None:
    """Raise `error` unless the folder that a file or folder is to be made in exists."""
    if not place.absolute().parent.is_dir():
        raise error(f"{place} cannot be made: the folder {place.parent} does not exist; make it first")


def write_whole(path: str | os.PathLike[str], content: str | bytes, error: type[VbpiMixError] = ConfigError) -> None:
    """Write a file that a user named, atomically. Raises `error` if it cannot be written."""
    try:
        if isinstance(content, str):
            write_text(path, content)
        else:
            write_bytes(path, content)
    except OSError as problem:
        raise error(f"{path}: cannot be written ({problem.strerror}); choose another place") from None


def check_writable(folder: str | os.PathLike[str], error: type[VbpiMixError] = ConfigError) -> None:
    """Raise `error` unless files can be made in the folder, or the folder can be made."""
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise error(f"{place} is not a folder; choose another place")
    if not place.exists():
        check_folder(place, error)
    try:
        with tempfile.TemporaryFile(dir=place if place.exists() else place.absolute().parent):
            pass
    except OSError as problem:
        raise error(f"{place}: nothing can be written there ({problem.strerror}); choose another place") from None


def write_together(folder: str | os.PathLike[str], contents: Mapping[str, str]) -> None:
    """Write several files of a folder, which is made if there is none, all or none of them: text by name.

    Raises OSError, after which every file is what it was.
    """
    place = Path(folder)
    is_new = not place.exists()
    place.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=place) as hidden:
            for name, text in contents.items():
                write_text(Path(hidden) / name, text)
            _exchange(place, Path(hidden), list(contents))
    except BaseException:
        if is_new:
            with suppress(OSError):
                place.rmdir()
        raise
    _sync_folder(place)


def _exchange(place: Path, new: Path, names: Sequence[str]) -> None:
    """Move files from `new` to `place`; if one of them cannot be, move all back."""
    aside = new / "replaced"
    aside.mkdir()
    moved: list[str] = []
    try:
        for name in names:
            moved.append(name)
            if (place / name).exists():
                os.replace(place / name, aside / name)
            os.replace(new / name, place / name)
    except BaseException:
        for name in moved:
            if (aside / name).exists():
                os.replace(aside / name, place / name)
            elif not (new / name).exists():
                (place / name).unlink(missing_ok=True)
        raise


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

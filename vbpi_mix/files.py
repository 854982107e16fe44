"""Files that a user names: read with what is wrong in one line, refused before the work, written whole after it.

A reader of a file written here sees the old contents or the new, never a part: the new contents go to a
temporary file in the same folder, reach the disk, and take the old name in one step.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from vbpi_mix import leftovers
from vbpi_mix.errors import ConfigError, VbpiMixError, shorten
from vbpi_mix.sizes import gunzip

GZIP_MAGIC = b"\x1f\x8b"
# What other programs pack by, by first bytes; text begins like none of them.
_PACKED = {
    "bzip2": rb"BZh[1-9]1AY&SY", "xz": rb"\xfd7zXZ\x00", "zstd": rb"\x28\xb5\x2f\xfd", "zip": rb"PK\x03\x04",
    "7-Zip": rb"7z\xbc\xaf\x27\x1c",
}  # fmt: skip
# A full disk is found by writing: an empty file can still be made there.
PROBE_BYTES = 4096


def read_bytes(path: Path, what: str, error: type[VbpiMixError]) -> bytes:
    """Content of a text file, decompressed if it is gzip by its first bytes, without a byte order mark.

    what: the kind of file that is wanted, for the message. Raises `error` if the path does not exist, is a
    folder, cannot be read or is empty, if it is compressed otherwise, or if the compressed data are damaged or cut short.
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
            data = gunzip(data, str(path), error)
        except (EOFError, zlib.error):
            raise error(f"{path}: the gzip file is damaged or cut short; fetch it again") from None
    for program, magic in _PACKED.items():
        if re.match(magic, data):
            raise error(f"{path}: this is not a text file, but packed by {program}; unpack it, or pack it by gzip")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise error(f"{path}: the file is empty; give the {what} itself")
    return data


def read_utf8(path: Path, what: str, error: type[VbpiMixError]) -> bytes:
    """Content of a text file that a user names, as UTF-8 with lines that end in a newline, whatever it is written in.

    That may be UTF-8 or UTF-16, with a byte order mark or without, or else Latin-1, plain or gzip-compressed, with the line
    ends of any system. Letters and their accents are composed (NFC): files of one name may have it either way, and it looks
    alike. Raises `error` as `read_bytes` does, or if the file is UTF-16 and damaged.
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
    if not data.isascii() and not unicodedata.is_normalized("NFC", text := data.decode()):
        data = unicodedata.normalize("NFC", text).encode()
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
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """A checksum of a file, in hexadecimal, by an algorithm that hashlib knows."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def check_free(
    places: Sequence[str | os.PathLike[str] | None], force: bool, error: type[VbpiMixError] = ConfigError
) -> None:
    """Raise `error` unless every file can be written, none twice, and none is replaced without `force`.

    None among the places is a file that is not wanted. What writers that were killed have left of these files is removed.
    """
    wanted = [Path(place) for place in places if place is not None]
    for number, place in enumerate(wanted):
        check_folder(place, error)
        if is_there(place, error) and place.is_dir():
            raise error(f"{place} is a folder; name a file")
        if is_regular(place) and not force:
            raise error(f"{place} exists; choose another name, or replace it with --force")
        if place.absolute() in [other.absolute() for other in wanted[:number]]:
            raise error(f"{place} is given for two outputs; choose two names")
    for place in wanted:
        if place.exists() and not place.is_file():
            continue
        check_writable(place.parent, error)
        leftovers.sweep(place.parent, place.name)


def check_folder(place: Path, error: type[VbpiMixError]) -> None:
    """Raise `error` unless the folder that a file or folder is to be made in exists."""
    if is_there(place.absolute().parent, error) and place.absolute().parent.is_dir():
        return
    for above in place.parents:
        if is_there(above, error) and not above.is_dir():
            raise error(f"{place} cannot be made: {above} is a file and no folder; choose another place")
    raise error(f"{place} cannot be made: the folder {place.parent} does not exist; make it first")


def is_there(place: Path, error: type[VbpiMixError] = ConfigError) -> bool:
    """Whether a path exists. Raises `error` if the system refuses the name itself, as one that is too long."""
    try:
        return place.exists()
    except OSError as problem:
        shown = shorten(str(place))
        raise error(f"{shown} cannot be looked for ({problem.strerror}); choose a shorter or another name") from None


def is_regular(place: Path) -> bool:
    """Whether a file is there that would be replaced: not a device or pipe, which is written to."""
    return place.is_file() or (place.is_symlink() and not place.exists())


def write_whole(path: str | os.PathLike[str], content: str | bytes, error: type[VbpiMixError] = ConfigError) -> None:
    """Write a file that a user named, atomically. Raises `error` if it cannot be written."""
    try:
        if isinstance(content, str):
            write_text(path, content)
        else:
            write_bytes(path, content)
    except OSError as problem:
        raise error(f"{path}: cannot be written ({problem.strerror}); choose another place") from None


def write_all(contents: Mapping[str, str | bytes], error: type[VbpiMixError] = ConfigError) -> None:
    """Write files that a user named, all or none: none has its name before there is room for all. Raises `error` if one cannot
    be written."""
    devices = [path for path in contents if Path(path).exists() and not Path(path).is_file()]
    files = {Path(path): content for path, content in contents.items() if path not in devices}
    try:
        with ExitStack() as new:
            ready = []
            for target, content in files.items():
                with naming(target):
                    file, temporary = new.enter_context(_beside(target, binary=True))
                    file.write(content.encode() if isinstance(content, str) else content)
                    _complete(file, temporary, target)
                ready.append((temporary, target))
            for temporary, target in ready:
                with naming(target):
                    os.replace(temporary, target)
    except OSError as problem:
        raise error(f"{problem.filename}: cannot be written ({problem.strerror}); choose another place") from None
    for target in files:
        _sync_folder(target.parent)
    for path in devices:
        write_whole(path, contents[path], error)


def check_writable(folder: str | os.PathLike[str], error: type[VbpiMixError] = ConfigError) -> None:
    """Raise `error` unless files can be made and filled in the folder, or the folder can be made."""
    place = Path(folder)
    if is_there(place, error) and not place.is_dir():
        raise error(f"{place} is not a folder; choose another place")
    if not place.exists():
        check_folder(place, error)
    try:
        with tempfile.TemporaryFile(dir=place if place.exists() else place.absolute().parent) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as problem:
        raise error(f"{place}: nothing can be written there ({problem.strerror}); choose another place") from None


def write_together(folder: str | os.PathLike[str], contents: Mapping[str, str]) -> None:
    """Write several files of a folder, which is made if there is none, all or none of them: text by name.

    Raises OSError, after which every file is what it was. If the process is killed meanwhile, the next call there sees to it.
    """
    place = Path(folder)
    is_new = not place.exists()
    place.mkdir(exist_ok=True)
    leftovers.sweep(place, leftovers.TOGETHER)
    hidden, lock = leftovers.new_folder(place, leftovers.TOGETHER)
    try:
        for name, text in contents.items():
            write_text(hidden / name, text)
        leftovers.exchange(place, hidden, list(contents))
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                place.rmdir()
        raise
    finally:
        lock.release()
    shutil.rmtree(hidden, ignore_errors=True)
    _sync_folder(place)


@contextmanager
def atomic_write(path: str | os.PathLike[str], binary: bool = False) -> Iterator[IO[Any]]:
    """A file object whose contents become `path` when the block ends; an exception leaves `path` as it was.

    Text is UTF-8 with plain newlines. A device or pipe is written to as it is. Raises OSError, which names `path`, if it cannot
    be written.
    """
    target = Path(path)
    with naming(target):
        if target.exists() and not target.is_file():
            with _open(os.open(target, os.O_WRONLY), binary) as file:
                yield file
            return
        with _beside(target, binary) as (file, temporary):
            yield file
            _complete(file, temporary, target)
            os.replace(temporary, target)
        _sync_folder(target.parent)


@contextmanager
def _beside(target: Path, binary: bool) -> Iterator[tuple[IO[Any], Path]]:
    """A new file in the folder of what it will be, and its name until then; an exception removes it."""
    descriptor, temporary = leftovers.new_file(target)
    try:
        with _open(descriptor, binary) as file:
            yield file, temporary
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _complete(file: IO[Any], temporary: Path, target: Path) -> None:
    """Bring a new file to the disk, with the permissions of the one that it replaces."""
    file.flush()
    os.fsync(file.fileno())
    _keep_mode(target, temporary)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError inside names this path: one of a full disk names none, and one of a temporary file that file."""
    try:
        yield
    except OSError as problem:
        problem.filename, problem.filename2 = str(path), None
        raise


def append_text(path: str | os.PathLike[str], text: str) -> None:
    """Append to a text file, all or nothing. Raises OSError, which names `path`."""
    target = Path(path)
    with naming(target):
        before = target.stat().st_size if target.exists() else None
        try:
            with target.open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError:
            with suppress(OSError):
                target.unlink() if before is None else os.truncate(target, before)
            raise


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
    write_text(path, yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Plain data, each value written out: readers refuse aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _open(descriptor: int, binary: bool) -> IO[Any]:
    if binary:
        return os.fdopen(descriptor, "wb")
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")


def _keep_mode(target: Path, temporary: Path) -> None:
    """Give a new file the permissions of the one it replaces, if there is one."""
    with suppress(FileNotFoundError):
        os.chmod(temporary, target.stat().st_mode & 0o777)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

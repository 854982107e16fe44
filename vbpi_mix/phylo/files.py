"""Bytes of input files, plain or gzip-compressed, and files written whole or not at all."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from vbpi_mix.errors import VbpiMixError


def read_bytes(path: Path, what: str, error: type[VbpiMixError]) -> bytes:
    """Content of the file, decompressed if it is gzip by its first bytes, without a byte order mark.

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
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise error(f"{path}: the gzip file is damaged or cut short; fetch it again") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise error(f"{path}: the file is empty; give the {what} itself")
    return data


def write_whole(path: Path, text: str, error: type[VbpiMixError]) -> None:
    """Write beside the target and rename, so that a reader never sees half a file.

    Raises `error` if the folder does not exist or cannot be written to.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise error(f"{path}: cannot be written ({problem.strerror}); choose another folder") from None

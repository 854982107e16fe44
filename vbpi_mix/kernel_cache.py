"""Where compiled kernels are kept: only where nobody else could have put them, since to load one is to run it.

numba keeps kernels as pickles of machine code. A folder for them is taken only if it is the user's own and neither it nor a
folder above it can be changed by others; else kernels are compiled in every process and kept in memory. Each file ends with
a checksum, which pickles are read without: a file that is damaged counts as none, and is written again.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_DIGEST_BYTES = hashlib.sha256().digest_size


def trusted_folder(name: str) -> str:
    """A folder of that name for compiled kernels, in the user's cache or beside temporary files; "" if there is none to trust."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for base in (home / "vbpi-mix", Path(tempfile.gettempdir()) / f"vbpi-mix-{os.environ.get('USER', 'user')}"):
        folder = base / "kernels" / name
        with suppress(OSError):
            base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (base, folder.parent):
                each.mkdir(mode=0o700, exist_ok=True)
            if is_usable(folder):
                return str(folder)
    return ""


def is_usable(folder: Path) -> bool:
    """Whether a folder is trusted and can be written; it is made, closed to others, if there is none."""
    with suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return is_trusted(folder) and os.access(folder, os.W_OK)


def is_trusted(folder: Path) -> bool:
    """Whether a folder is the user's own, and no other user but root can write into it, or put another in its place."""
    if not hasattr(os, "getuid"):  # Windows: folders of a user are closed to others
        return True
    try:
        resolved = folder.resolve(strict=True)
        own = resolved.stat()
        above = [each.stat() for each in resolved.parents]
    except OSError:
        return False
    if own.st_uid != os.getuid() or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    return all(_keeps_what_is_in_it(each) for each in above)


def _keeps_what_is_in_it(folder: os.stat_result) -> bool:
    """Whether others cannot rename or remove what the user has in a folder: it is not theirs, and closed to them or sticky."""
    closed = not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder.st_uid in (0, os.getuid()) and (closed or bool(folder.st_mode & stat.S_ISVTX))


class _CheckedFile(IndexDataCacheFile):
    """An index and its data files, each with a checksum at its end."""

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        return super()._load_data(name) if _is_whole(self._data_path(name)) else None

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        data = content.getvalue()
        with super()._open_for_write(filepath) as file:
            file.write(data + hashlib.sha256(data).digest())


class CheckedCache(FunctionCache):
    """The cache of one kernel. What cannot be read is compiled, and what cannot be written is not kept, both in silence."""

    def __init__(self, kernel: Any) -> None:
        super().__init__(kernel)
        plain = self._cache_file
        self._cache_file = _CheckedFile(plain._cache_path, self._impl.filename_base, plain._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As of numba's cache."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # what another version has written can fail in any way
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """As of numba's cache."""
        with suppress(OSError):
            super().save_overload(sig, data)


def _is_whole(path: str) -> bool:
    """Whether a file ends with the checksum of what is before it."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return hashlib.sha256(data).digest() == digest

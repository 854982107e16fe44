"""Sizes that are looked at before memory is taken: what a user asks for, and what files say that they hold."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

from vbpi_mix.errors import ConfigError, VbpiMixError

# Text shrinks by a factor of ten or so; what grows by more than this, and to this size, was made to fill the memory.
MOST_GROWTH, HARMLESS_BYTES = 250, 200_000_000
_CHUNK = 1 << 20
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Main memory of this machine, or what its container may use of it."""
    found = [1 << 63]
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for place in _CGROUP_LIMITS:
        with suppress(ValueError, OSError):
            found.append(int(Path(place).read_text(encoding="ascii")))
    return min(found)


def check_memory(estimate: float, what: str, error: type[VbpiMixError] = ConfigError) -> None:
    """Raise `error`, with the estimate, if `what` would take more bytes than there are."""
    there = memory_bytes()
    if estimate > there:
        raise error(f"{what}: about {describe_bytes(estimate)} of memory, and there are {describe_bytes(there)}; ask for less")


def describe_bytes(count: float) -> str:
    """For people: "1.5 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.3g} {unit}" if count < 1e12 else f"{count / size:,.0f} {unit}"
    return f"{count / 1e3:.3g} kB"


def gunzip(data: bytes, what: str, error: type[VbpiMixError]) -> bytes:
    """The contents of gzipped data. Raises `error`, beginning with `what`, where they grow beyond all measure or memory, and
    EOFError or zlib.error where the data are damaged or cut short."""
    most = min(memory_bytes() // 4, max(HARMLESS_BYTES, MOST_GROWTH * len(data)))
    pieces, size = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            piece = member.decompress(data, _CHUNK)
            data = member.unconsumed_tail
            size += len(piece)
            if size > most:
                raise error(f"{what}: the gzip file unpacks to more than {describe_bytes(most)}; unpack and look at it first")
            if not piece and not data and not member.eof:
                raise EOFError("the data end early")
            pieces.append(piece)
        # Zeros may follow, as tape drives leave them.
        data = member.unused_data.lstrip(b"\0")
    return b"".join(pieces)

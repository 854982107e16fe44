"""Whether an HDF5 file can be read to its end, tried in a process of its own: on a damaged file the HDF5 library may never
return, and nothing in the same process can stop it, or it may crash.

As a program it reads all attributes and data of the file that is named, within the seconds of processor time that are given.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from vbpi_mix.errors import VbpiMixError
from vbpi_mix.sizes import HARMLESS_BYTES, MOST_GROWTH

# Processor time: what a small file is allowed, and so much more for each byte. A disk of 2 MB a second is slow.
_SECONDS, _SECONDS_PER_BYTE = 4.0, 5e-7
# The clock, which counts what other programs take, gives up later.
_PATIENCE = 20.0


def check_it_ends(path: Path, error: type[VbpiMixError]) -> None:
    """Raise `error` if reading the file takes for ever or crashes; whatever else is wrong with it is left to its reader."""
    seconds = _SECONDS + _SECONDS_PER_BYTE * path.stat().st_size
    command = [sys.executable, "-P", __file__, str(path), str(int(seconds) + 1)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_PATIENCE * seconds)
    except subprocess.TimeoutExpired:
        raise error(f"{path} is damaged: it cannot be read in {_PATIENCE * seconds:.0f} seconds") from None
    if done.returncode < 0:
        raise error(f"{path} is damaged: the HDF5 library crashes on it, or reads it for ever")


def _read(path: str, seconds: int) -> None:
    import h5py

    most = max(HARMLESS_BYTES, MOST_GROWTH * Path(path).stat().st_size)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def read(name: str, item: h5py.HLObject) -> None:
        # What fails is no matter here; what does not end is.
        for key in item.attrs:
            with suppress(Exception):
                item.attrs[key]
        if isinstance(item, h5py.Dataset) and item.nbytes <= most:
            with suppress(Exception):
                item[()]

    with suppress(Exception), h5py.File(path, "r") as file:
        read("/", file)
        file.visititems(read)


if __name__ == "__main__":
    _read(sys.argv[1], int(sys.argv[2]))

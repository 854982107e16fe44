"""Readers of the two formats that image data sets come in: IDX, and the binary version of CIFAR-10.

Either may be gzipped. Whatever is wrong with a file is a DatasetError of one line that names it.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vbpi_mix.errors import VbpiMixError
from vbpi_mix.sizes import gunzip

GZIP_MAGIC = b"\x1f\x8b"
# Two zero bytes, 8: unsigned bytes, 3: dimensions (number, rows, columns).
IDX_IMAGES_MAGIC = b"\x00\x00\x08\x03"
IDX_HEADER = 16
IDX_LABELS_MAGIC = b"\x00\x00\x08\x01"
IDX_LABELS_HEADER = 8
CIFAR_SHAPE = (3, 32, 32)
CIFAR_RECORD = 1 + 3 * 32 * 32
CIFAR_LABELS = 10
CURE = "replace it by the published file"


class DatasetError(VbpiMixError):
    """A data set is unknown, not at hand, or its files are not what they should be."""


def read_bytes(path: Path) -> bytes:
    """The contents of a file, unpacked if gzipped. DatasetError if it is missing, unreadable, damaged or cut short."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: put the published file there") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error})") from None
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gunzip(content, str(path), DatasetError)
    except EOFError:
        raise DatasetError(f"{path} is cut short: the gzip data end early; {CURE}") from None
    except zlib.error as error:
        raise DatasetError(f"{path} is damaged: its gzip data cannot be unpacked ({error}); {CURE}") from None


def read_idx_images(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Images [N, height, width] of an IDX file. DatasetError if it holds anything else."""
    content = read_bytes(path)
    if len(content) < IDX_HEADER or not content.startswith(IDX_IMAGES_MAGIC):
        raise DatasetError(
            f"{path} is not an IDX file of images (its first bytes are {content[:4].hex() or 'none'}); {CURE}"
        )
    number, rows, columns = (int.from_bytes(content[at : at + 4], "big") for at in (4, 8, 12))
    if (rows, columns) != (height, width):
        raise DatasetError(
            f"{path} holds images of {rows} x {columns} pixels where {height} x {width} are expected; {CURE}"
        )
    expected = IDX_HEADER + number * rows * columns
    if len(content) != expected:
        fault = "cut short" if len(content) < expected else "too long"
        raise DatasetError(
            f"{path} is {fault}: {len(content):,} bytes where {number:,} images need {expected:,}; {CURE}"
        )
    return np.frombuffer(content, np.uint8, offset=IDX_HEADER).reshape(number, rows, columns)


def read_idx_labels(path: Path, count: int) -> NDArray[np.uint8]:
    """The labels [count] of an IDX file. DatasetError if it holds anything else."""
    content = read_bytes(path)
    if len(content) < IDX_LABELS_HEADER or not content.startswith(IDX_LABELS_MAGIC):
        raise DatasetError(f"{path} is not an IDX file of labels (its first bytes are {content[:4].hex() or 'none'}); {CURE}")
    found = len(content) - IDX_LABELS_HEADER
    if found != int.from_bytes(content[4:8], "big") or found != count:
        raise DatasetError(f"{path} holds {found:,} labels where the images beside it need {count:,}; {CURE}")
    return np.frombuffer(content, np.uint8, offset=IDX_LABELS_HEADER)


def read_cifar(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Images [N, 3, 32, 32] of record files, one after the other. DatasetError if one holds anything else."""
    return np.concatenate([parse_cifar(read_bytes(path), str(path)) for path in paths])


def read_cifar_archive(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training and test images of the published archive, without unpacking it to disk. DatasetError."""
    parts: dict[str, NDArray[np.uint8]] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name.endswith(".bin"):
                    file = archive.extractfile(member)
                    parts[name] = parse_cifar(file.read() if file is not None else b"", f"{path}, {name}")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged or cut short ({error or 'it ends early'}); {CURE}") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error})") from None
    batches = sorted(name for name in parts if name.startswith("data_batch_"))
    if not batches or "test_batch.bin" not in parts:
        raise DatasetError(f"{path} holds no data_batch_1.bin ... and test_batch.bin; {CURE}")
    return np.concatenate([parts[name] for name in batches]), parts["test_batch.bin"]


def parse_cifar(content: bytes, where: str) -> NDArray[np.uint8]:
    """Images [N, 3, 32, 32] of records: a label, then 1,024 red, green and blue bytes each."""
    if not content or len(content) % CIFAR_RECORD:
        raise DatasetError(
            f"{where} is cut short or not a CIFAR-10 file: {len(content):,} bytes are not a whole number of "
            f"records of {CIFAR_RECORD:,}; {CURE}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)
    if int(records[:, 0].max()) >= CIFAR_LABELS:
        raise DatasetError(f"{where} is not a CIFAR-10 file: a record has the label {int(records[:, 0].max())}; {CURE}")
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE)

"""Checkpoints: one file that holds a model, how it was made, and what training needs to resume.

The file is a zip archive of tensors and plain containers, read without running anything that it says
(weights_only), and written atomically. A marker, a version and the kind of model are inside.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vbpi_mix.errors import CheckpointError
from vbpi_mix.files import atomic_write

FORMAT = "vbpi-mix checkpoint"
VERSION = 1
# What comes of giving a model what another one, or nothing, has learned.
MISFITS = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    kind: "phylo", "toy", "image" or "cells". config: the run's resolved configuration. provenance: versions and
    environment. problem: the model's state, the best one where the run keeps the best. training: what the
    trainer needs to resume (empty for a model that is only to be evaluated).
    """

    kind: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    problem: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, whole or not at all. TypeError unless it is plain data and tensors; OSError as of a write."""
    payload = {"format": FORMAT, "version": VERSION}
    for name in ("kind", "config", "provenance", "problem", "training"):
        payload[name] = plain(getattr(checkpoint, name), name)
    # torch hides what the system says where it cannot write.
    content = io.BytesIO()
    torch.save(payload, content)
    with atomic_write(path, binary=True) as file:
        file.write(content.getbuffer())


def load_checkpoint(path: str | os.PathLike[str], kind: str | None = None) -> Checkpoint:
    """Read a checkpoint, of `kind` if one is given; tensors come to main memory.

    CheckpointError, one line, if the file is missing, damaged, not a checkpoint of ours, of another kind, or
    written by a newer version.
    """
    payload = _read(Path(path))
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a vbpi-mix checkpoint: it holds something else")
    version = payload.get("version")
    if not isinstance(version, int):
        raise CheckpointError(f"{path} is a damaged checkpoint: it names no version")
    if version > VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {version}, which this program does not know: use a newer one"
        )
    missing = [
        name for name in ("kind", "config", "provenance", "problem", "training") if name not in payload
    ]
    if missing:
        raise CheckpointError(f"{path} is a damaged checkpoint: it lacks {', '.join(missing)}")
    unfit = [name for name in ("config", "provenance", "problem", "training") if not isinstance(payload[name], dict)]
    if unfit:
        raise CheckpointError(f"{path} is a damaged checkpoint: its {unfit[0]} has no entries")
    if kind is not None and payload["kind"] != kind:
        raise CheckpointError(
            f"{path} is a checkpoint of kind {payload['kind']}, but one of kind {kind} is needed"
        )
    return Checkpoint(
        payload["kind"], payload["config"], payload["provenance"], payload["problem"], payload["training"]
    )


def _read(path: Path) -> Any:
    """What the archive holds. Checksums are compared first, since torch does not compare them."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: no checkpoint was written there")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive)
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(
                f"{path} is damaged: the checksum of {damaged} does not match; use another checkpoint"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (CheckpointError, MemoryError):
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} cannot be read: permission denied") from error
    except Exception as error:  # a foreign file can fail in any way that a zip or a pickle reader can
        reason = str(error).strip().split("\n")[0][:100]
        raise CheckpointError(
            f"{path} is damaged, cut short, or not a vbpi-mix checkpoint ({reason})"
        ) from error


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """CheckpointError unless the archive holds as much as it says, unpacked as torch writes it."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path} is not a vbpi-mix checkpoint: its contents are compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointError(f"{path} is damaged: it says that it holds more than it does; use another checkpoint")


def plain(value: Any, where: str = "value") -> Any:
    """A copy of `value` in tensors of their own in main memory, dicts, lists, tuples and scalars.

    TypeError, with the place, for anything else: it could not be read back without running foreign code.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (int, str):
                raise TypeError(f"key {key!r} of {where} is neither text nor a whole number")
        return {key: plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors and plain data only")

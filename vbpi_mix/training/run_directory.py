"""The folder of one run: config.yaml, checkpoint.pt, trace.csv, log.txt, summary.json, and what exports add.

A new run is begun in a hidden folder beside its place and moved there in one step by `commit`, so that a start that fails
leaves nothing behind and overwrites nothing. One that replaces another stays hidden until it has been trained (replacing.py).
A folder is known as ours by the `format` entry of its config.yaml or summary.json, and only such a folder is ever removed, on
request. One process at a time writes into a run: it is locked as long as one is at work there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vbpi_mix import files, leftovers, locks
from vbpi_mix.errors import RunDirectoryError, RunExistsError
from vbpi_mix.training.replacing import recover, replace, replacement_of
from vbpi_mix.training.run_files import (
    BEFORE_TRAINING,
    CHECKPOINT,
    CONFIG,
    FORMAT,
    LOG,
    SUMMARY,
    TRACE,
    VERSION,
    command_of,
    is_run,
    load_mapping,
)

__all__ = ["RunDirectory", "command_of", "find_newest", "is_run"]

SEARCH_DEPTH = 4


class RunDirectory:
    """A run's folder. Make one with `create` (then `commit`) or `open`, not directly.

    `path` is where the files are now; it changes from the hidden folder to `destination` at `commit`, or where another run is
    replaced, at the end. As a context manager it has the run for itself: RunDirectoryError if another process has it. A block
    that fails before `commit` leaves nothing; a new run that is committed as `tentative` counts as such a one until `keep`.
    """

    def __init__(self, path: Path, destination: Path, force: bool = False) -> None:
        self.path = path
        self.destination = destination
        self._force = force
        self._replaces = False
        self._tentative = False
        self._depth = 0
        self._locks: list[locks.Lock] = []

    @staticmethod
    def check_free(path: str | os.PathLike[str], force: bool = False) -> None:
        """RunDirectoryError unless a run may be made at `path`, and files can be written there.

        With `force` an earlier run may be there, unless it is the one we are in. What a killed process has left of an earlier
        start is removed.
        """
        place = Path(path)
        if not place.is_symlink() and not files.is_there(place, RunDirectoryError):
            files.check_folder(place, RunDirectoryError)
            files.check_writable(place.absolute().parent, RunDirectoryError)
            recover(place.absolute())
        if not place.is_symlink() and not place.exists():
            return
        if place.is_symlink():
            raise RunDirectoryError(f"{place} is a link: name the folder itself, {place.readlink()}, or choose another place")
        if not place.is_dir():
            raise RunDirectoryError(f"{place} exists and is not a folder: choose another place")
        if not any(place.iterdir()):
            return
        if not is_run(place):
            raise RunDirectoryError(
                f"{place} exists and is not a run of vbpi-mix: choose another place"
            )
        if not force:
            raise RunExistsError(f"{place} holds a run already: resume it, replace it, or choose another place")
        if Path.cwd().resolve().is_relative_to(place.resolve()):
            raise RunDirectoryError(f"{place} is not removed: it is the current folder; leave it first")
        files.check_writable(place.absolute().parent, RunDirectoryError)

    @classmethod
    def create(cls, path: str | os.PathLike[str], force: bool = False) -> RunDirectory:
        """A new run, still hidden; `commit` moves it to `path`. RunDirectoryError as `check_free`, or if another process is at
        work there."""
        cls.check_free(path, force)
        destination = Path(path).absolute()
        held = []
        if destination.exists() and is_run(destination):
            recover(destination)
            held.append(_lock(destination))
        try:
            hidden, lock = leftovers.new_folder(destination.parent, destination.name, leftovers.STARTING)
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be made: {error.strerror}") from error
        created = cls(hidden, destination, force)
        created._locks = [lock, *held]
        created._replaces = bool(held)
        return created

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The run at `path`. RunDirectoryError if there is none."""
        place = Path(path)
        if files.is_there(place.absolute().parent, RunDirectoryError):
            files.is_there(place, RunDirectoryError)
            recover(place.absolute())
        if not place.is_dir():
            raise RunDirectoryError(f"{place} is not a folder: name the folder of a run")
        if not is_run(place):
            raise RunDirectoryError(
                f"{place} is not a run of vbpi-mix: it has no {CONFIG} or {SUMMARY} that it wrote"
            )
        return cls(place, place.absolute())

    @classmethod
    def open_unfinished(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The run at `path` that is to be trained on: the one that was to replace it, if that was cut off. Errors as `open`."""
        found = cls.open(path)
        new = replacement_of(found.destination)
        if is_run(new):
            found.path, found._replaces = new, True
        return found

    def commit(self, config: Mapping[str, Any], tentative: bool = False) -> None:
        """Write config.yaml and move the folder to its place, or where another run is replaced, to where it is trained.

        tentative: if what follows fails, the run is removed once more. RunDirectoryError if something has appeared there
        meanwhile.
        """
        self.write_config(config)
        self.check_free(self.destination, self._force)
        place = self.destination
        if self._replaces:
            place = replacement_of(self.destination)
            leftovers.remove(place, self.destination.name)
        elif self.destination.exists() and any(self.destination.iterdir()):
            raise RunExistsError(f"{self.destination} holds a run already: another process has begun one")
        try:
            self.path.rename(place)
        except OSError as error:
            raise RunDirectoryError(f"{self.destination} cannot be made: {error.strerror}") from error
        self.path, self._tentative = place, tentative
        if not tentative and self._depth == 0:
            self._finish()

    def keep(self) -> None:
        """From now on the run stays, whatever happens, and what came before its training is no longer needed."""
        self._tentative = False
        self.before_training.unlink(missing_ok=True)

    def leave(self) -> None:
        """Let go of a run that stands at its place, as it is, for others to go on with."""
        self._tentative = False
        self._release()

    def relocate(self, path: Path) -> None:
        """Follow a folder that was moved with the one it is in."""
        self.path = path
        self.destination = path.absolute()

    @property
    def committed(self) -> bool:
        """Whether the run stands at its place, or where it is trained to replace another."""
        return self.path.absolute() in (self.destination, replacement_of(self.destination))

    def discard(self) -> None:
        """Remove the folder of a run that has not come to be one; any other is left alone. Others may have its place."""
        if not self.committed or self._tentative:
            leftovers.remove(self.path, self.destination.name)
        self._release()

    def check_writable(self) -> None:
        """RunDirectoryError unless files can be written in the run."""
        files.check_writable(self.path, RunDirectoryError)

    def __enter__(self) -> Self:
        if not self._locks:
            if self._replaces:
                self._locks.append(_lock(self.destination))
            self._locks.append(_lock(self.path))
            leftovers.sweep(self.path)
            self.check_writable()
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth > 0:
            return
        if kind is not None or not self.committed:
            self.discard()
        else:
            self._finish()

    def _finish(self) -> None:
        """Take the place of the run that is replaced, if there is one, and let others have this one."""
        try:
            if self._replaces:
                replace(self.destination, self.path)
                self.path, self._replaces = self.destination, False
        except OSError as error:
            shown = error.strerror or error
            raise RunDirectoryError(f"{self.destination} cannot be replaced ({shown}): the new run is {self.path}") from error
        finally:
            self._tentative = False
            self._release()

    def _release(self) -> None:
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    @property
    def checkpoint(self) -> Path:
        """Path of checkpoint.pt."""
        return self.path / CHECKPOINT

    @property
    def before_training(self) -> Path:
        """Path of what is saved before there is a checkpoint, for a run that is killed by then."""
        return self.path / BEFORE_TRAINING

    @property
    def trace(self) -> Path:
        """Path of trace.csv."""
        return self.path / TRACE

    def was_trained(self) -> bool:
        """Whether training has left anything here: a row of the trace, or its end in the summary."""
        try:
            rows = self.trace.read_bytes().count(b"\n") > 1
        except FileNotFoundError:
            rows = False
        return rows or "iterations" in self.read_summary()

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run atomically."""
        files.write_text(self.path / name, text)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file of the run atomically."""
        files.write_bytes(self.path / name, data)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a file of the run atomically."""
        files.write_json(self.path / name, value)

    def write_yaml(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a file of the run atomically."""
        files.write_yaml(self.path / name, value)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml, with the entries that mark the folder as ours; an earlier version of it stays one."""
        version = self.version if (self.path / CONFIG).exists() else VERSION
        self.write_yaml(CONFIG, {"format": FORMAT, "version": version, **config})

    def read_config(self) -> dict[str, Any]:
        """The configuration without the marking entries. RunDirectoryError if missing or damaged."""
        content = load_mapping(self.path / CONFIG)
        if content is None:
            raise RunDirectoryError(
                f"{self.path / CONFIG} is missing or damaged: the run cannot be continued"
            )
        return {name: value for name, value in content.items() if name not in ("format", "version")}

    @property
    def version(self) -> int:
        """Of config.yaml; 1 if it names none."""
        found = (load_mapping(self.path / CONFIG) or {}).get("version")
        return found if isinstance(found, int) else 1

    def read_summary(self) -> dict[str, Any]:
        """summary.json without the marking entry; empty if there is none. RunDirectoryError if damaged."""
        place = self.path / SUMMARY
        if not place.exists():
            return {}
        content = load_mapping(place)
        if content is None:
            raise RunDirectoryError(f"{place} is damaged: move it away; it will be rewritten")
        content.pop("format", None)
        return content

    def update_summary(self, values: Mapping[str, Any]) -> None:
        """Set these entries of summary.json and keep the others."""
        self.write_json(SUMMARY, {"format": FORMAT, **self.read_summary(), **values})

    def drop_from_summary(self, names: Collection[str]) -> None:
        """Remove these entries of summary.json, where they are there."""
        summary = self.read_summary()
        kept = {name: value for name, value in summary.items() if name not in names}
        if len(kept) < len(summary):
            self.write_json(SUMMARY, {"format": FORMAT, **kept})

    def log(self, message: str) -> None:
        """Append a line to log.txt, after date and time (UTC)."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        files.append_text(self.path / LOG, f"{stamp}  {message}\n")


def _lock(run: Path) -> locks.Lock:
    """The lock on a run. RunDirectoryError if another process has it."""
    try:
        found = locks.lock(run)
    except OSError as error:
        raise RunDirectoryError(f"{run} cannot be used ({error.strerror}): check its permissions") from None
    if found is None:
        raise RunDirectoryError(f"{run} is in use by another process of vbpi-mix: wait until that has ended")
    return found


def find_newest(folder: str | os.PathLike[str] = ".", command: str | None = None) -> RunDirectory:
    """The run whose files changed last, among `folder` and the folders down to SEARCH_DEPTH below it.

    command: "fit", "image", "cells" or "toy": of runs that this command made. Hidden folders are passed over. RunDirectoryError
    if there is none.
    """
    top = Path(folder)
    found: list[tuple[float, Path]] = []
    for place, below, names in os.walk(top):
        here = Path(place)
        below[:] = [name for name in below if not name.startswith(".")]
        if (CONFIG in names or SUMMARY in names) and is_run(here):
            made_by = command_of(here)
            if command is None or made_by == command:
                found.append((_last_change(here), here))
            # Replicates are whole runs; what other runs hold is a part of them.
            if command is None or made_by != "replicates":
                below.clear()
        elif len(here.relative_to(top).parts) >= SEARCH_DEPTH:
            below.clear()
    if not found:
        what = "vbpi-mix" if command is None else f"vbpi-mix {command}"
        raise RunDirectoryError(f"no run of {what} in or below {top.absolute()}: name its folder")
    return RunDirectory.open(max(found)[1])


def _last_change(run: Path) -> float:
    times = []
    for name in (CONFIG, CHECKPOINT, TRACE, SUMMARY):
        with suppress(FileNotFoundError):
            times.append((run / name).stat().st_mtime)
    return max(times, default=0.0)

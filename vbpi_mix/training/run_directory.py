"""The folder of one run: config.yaml, checkpoint.pt, trace.csv, log.txt, summary.json, and what exports add.

A new run is built in a hidden folder beside its place and moved there in one step by `commit`, so a start
that fails leaves nothing behind and overwrites nothing. A folder is known as ours by the `format` entry of
its config.yaml or summary.json, and only such a folder is ever removed, on request.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from vbpi_mix import files
from vbpi_mix.errors import RunDirectoryError, RunExistsError

FORMAT = "vbpi-mix run"
VERSION = 1
CONFIG, CHECKPOINT, TRACE, LOG, SUMMARY = (
    "config.yaml",
    "checkpoint.pt",
    "trace.csv",
    "log.txt",
    "summary.json",
)
SEARCH_DEPTH = 4


class RunDirectory:
    """A run's folder. Make one with `create` (then `commit`) or `open`, not directly.

    `path` is where the files are now; it changes from the hidden folder to `destination` at `commit`. As a
    context manager it removes the hidden folder if the block fails before `commit`.
    """

    def __init__(self, path: Path, destination: Path, force: bool = False) -> None:
        self.path = path
        self.destination = destination
        self._force = force

    @staticmethod
    def check_free(path: str | os.PathLike[str], force: bool = False) -> None:
        """RunDirectoryError unless a run may be made at `path`; touches nothing.

        With `force` an earlier run may be there, unless it is the one we are in or holds a folder that is
        not a run (a run of several trainings holds a run of each).
        """
        place = Path(path)
        if not place.is_symlink() and not place.exists():
            files.check_folder(place, RunDirectoryError)
            return
        if place.is_symlink() or not place.is_dir():
            raise RunDirectoryError(f"{place} exists and is not a folder: choose another place")
        content = sorted(place.iterdir())
        if not content:
            return
        if not is_run(place):
            raise RunDirectoryError(
                f"{place} exists and is not a run of vbpi-mix: choose another place"
            )
        if not force:
            raise RunExistsError(f"{place} holds a run already: resume it, replace it, or choose another place")
        foreign = _foreign_folder(place)
        if foreign is not None:
            raise RunDirectoryError(f"{place} is not removed: its folder {foreign} was not made by a run")
        if Path.cwd().resolve().is_relative_to(place.resolve()):
            raise RunDirectoryError(f"{place} is not removed: it is the current folder; leave it first")

    @classmethod
    def create(cls, path: str | os.PathLike[str], force: bool = False) -> RunDirectory:
        """A new run, still hidden; `commit` moves it to `path`. RunDirectoryError as `check_free`."""
        cls.check_free(path, force)
        destination = Path(path).absolute()
        try:
            hidden = tempfile.mkdtemp(
                prefix=f".{destination.name}.", suffix=".starting", dir=destination.parent
            )
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be made: {error.strerror}") from error
        return cls(Path(hidden), destination, force)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """The run at `path`. RunDirectoryError if there is none."""
        place = Path(path)
        if not place.is_dir():
            raise RunDirectoryError(f"{place} is not a folder: name the folder of a run")
        if not is_run(place):
            raise RunDirectoryError(
                f"{place} is not a run of vbpi-mix: it has no {CONFIG} or {SUMMARY} that it wrote"
            )
        return cls(place, place.absolute())

    def commit(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml and move the folder to its place; with `force` an earlier run there is removed.

        RunDirectoryError if something has appeared there meanwhile.
        """
        self.write_config(config)
        self.check_free(self.destination, self._force)
        self.path.chmod(0o755)
        replaced = self._move_away_old()
        try:
            self.path.rename(self.destination)
        except OSError as error:
            if replaced is not None:
                replaced.rename(self.destination)
            raise RunDirectoryError(f"{self.destination} cannot be made: {error.strerror}") from error
        self.path = self.destination
        if replaced is not None:
            shutil.rmtree(replaced)

    def _move_away_old(self) -> Path | None:
        """Rename the folder that stands at the destination, if any, to a hidden name."""
        if not self.destination.exists():
            return None
        aside = Path(f"{self.path}.replaced")
        self.destination.rename(aside)
        return aside

    @property
    def committed(self) -> bool:
        """Whether the run stands at its place."""
        return self.path == self.destination or self.path.absolute() == self.destination

    def discard(self) -> None:
        """Remove the hidden folder of a run that was not committed; a committed run is left alone."""
        if not self.committed:
            shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    @property
    def checkpoint(self) -> Path:
        """Path of checkpoint.pt."""
        return self.path / CHECKPOINT

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
        """Write config.yaml, with the entries that mark the folder as ours."""
        self.write_yaml(CONFIG, {"format": FORMAT, "version": VERSION, **config})

    def read_config(self) -> dict[str, Any]:
        """The configuration without the marking entries. RunDirectoryError if missing or damaged."""
        content = _load(self.path / CONFIG)
        if content is None:
            raise RunDirectoryError(
                f"{self.path / CONFIG} is missing or damaged: the run cannot be continued"
            )
        return {name: value for name, value in content.items() if name not in ("format", "version")}

    def read_summary(self) -> dict[str, Any]:
        """summary.json without the marking entry; empty if there is none. RunDirectoryError if damaged."""
        place = self.path / SUMMARY
        if not place.exists():
            return {}
        content = _load(place)
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
        with (self.path / LOG).open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{stamp}  {message}\n")


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a run of vbpi-mix, by its config.yaml or summary.json."""
    for name in (CONFIG, SUMMARY):
        content = _load(Path(path) / name)
        if content is not None and content.get("format") == FORMAT:
            return True
    return False


def _foreign_folder(run: Path) -> Path | None:
    """A folder in a run, or in the runs that it holds, that is not a run; relative to the run."""
    for item in sorted(run.iterdir()):
        if item.is_symlink() or not item.is_dir():
            continue
        if not is_run(item):
            return Path(item.name)
        inner = _foreign_folder(item)
        if inner is not None:
            return item.name / inner
    return None


def command_of(run: str | os.PathLike[str]) -> str:
    """Which command made a run, by its config.yaml or summary.json; one that names none is a fit."""
    for name in (CONFIG, SUMMARY):
        content = _load(Path(run) / name)
        if content is not None and content.get("command") is not None:
            return str(content["command"])
    return "fit"


def find_newest(folder: str | os.PathLike[str] = ".", command: str | None = None) -> RunDirectory:
    """The run whose files changed last, among `folder` and the folders down to SEARCH_DEPTH below it.

    command: "fit", "image" or "toy": of runs that this command made. Hidden folders are passed over. RunDirectoryError if
    there is none.
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


def _load(place: Path) -> dict[str, Any] | None:
    """A mapping from YAML or JSON (plain data only); None if there is no such file or no mapping in it."""
    try:
        text = place.read_text(encoding="utf-8")
        content = json.loads(text) if place.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None

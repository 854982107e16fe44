"""What a run's folder holds: names of files, the marks by which a folder is known as a run, and what in it is a user's own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FORMAT = "vbpi-mix run"
# 1: entries of choices that there were not yet may be missing.
VERSION = 2
BEFORE_TRAINING = "before-training.part"
CONFIG, CHECKPOINT, TRACE, LOG, SUMMARY = (
    "config.yaml",
    "checkpoint.pt",
    "trace.csv",
    "log.txt",
    "summary.json",
)
# All that runs of any command have ever written into their folders.
_OURS = re.compile(
    r"before-training\.part|config\.yaml|checkpoint\.pt|trace\.csv|log\.txt|summary\.json|"
    r"consensus\.nwk|topologies\.trprobs|tree_sample\.trprobs|splits\.csv|report\.html|"
    r"curves\.csv|(bound|latent|samples|weights)\.(png|svg)|(samples|components|reconstructions)\.png|nll-.*\.json|"
    r"\..*\.(part|starting)"
)
# A file of ours is small; what expands to more than this is not.
MOST_BYTES = 50_000_000


class _Loader(yaml.SafeLoader):
    """Plain data without aliases, by which a short file can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def load_mapping(place: Path) -> dict[str, Any] | None:
    """A mapping from YAML or JSON (plain data only); None if there is no such file or no mapping in it."""
    try:
        if place.stat().st_size > MOST_BYTES:
            return None
        text = place.read_text(encoding="utf-8")
        content = json.loads(text) if place.suffix == ".json" else yaml.load(text, _Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a run of vbpi-mix, by its config.yaml or summary.json."""
    for name in (CONFIG, SUMMARY):
        content = load_mapping(Path(path) / name)
        if content is not None and content.get("format") == FORMAT:
            return True
    return False


def command_of(run: str | os.PathLike[str]) -> str:
    """Which command made a run, by its config.yaml or summary.json; one that names none is a fit."""
    for name in (CONFIG, SUMMARY):
        content = load_mapping(Path(run) / name)
        if content is not None and content.get("command") is not None:
            return str(content["command"])
    return "fit"


def own_of_user(run: Path) -> Iterator[Path]:
    """What a user has put into a run, and into the runs that it holds, as paths in it: files, links, whole folders."""
    for item in sorted(run.iterdir()):
        if item.is_dir() and not item.is_symlink():
            if is_run(item):
                yield from (item.name / each for each in own_of_user(item))
            elif not _OURS.fullmatch(item.name):
                yield Path(item.name)
        elif item.is_symlink() or not _OURS.fullmatch(item.name):
            yield Path(item.name)

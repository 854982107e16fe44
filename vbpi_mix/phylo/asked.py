"""What a fit was asked for, as config.yaml says it while a fit is still to be begun: enough to begin it, or begin it again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.options import options_of
from vbpi_mix.phylo.config import FitConfig, ModelConfig
from vbpi_mix.phylo.inputs import Given, Trees
from vbpi_mix.phylo.sampling.sources import SOURCES
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_directory import RunDirectory

# The entry of config.yaml; a run that has it has no checkpoint yet, or none that counts.
UNFINISHED = "not_yet_trained"


# Choices that may name files, one or several with semicolons between them.
_FILES = ("partitions", "constraint", "fix_topology")
_ENTRIES = ("folder", "alignment", "trees", "choices", "model")


@dataclass(frozen=True, eq=False)
class Asked:
    """The data of a fit, files or what is in memory, and every choice."""

    alignment: Given
    trees: Trees
    config: FitConfig

    def entries(self) -> dict[str, Any]:
        """For config.yaml: names of files as given, with the folder that they start from; null for what is in memory."""
        listed = [self.trees] if isinstance(self.trees, str | os.PathLike) else self.trees or []
        return {
            "folder": str(Path.cwd()),
            "alignment": str(self.alignment) if isinstance(self.alignment, str | os.PathLike) else None,
            "trees": [str(each) for each in listed] if isinstance(listed, Sequence) else None,
            "choices": {name: getattr(self.config, name) for name in options_of(FitConfig)},
            "model": self.config.model.to_dict(),
        }

    @classmethod
    def of(cls, given: Any, path: Path) -> Asked:
        """What `entries` has left in the config.yaml of the run at `path`; files are found from wherever it is resumed.

        RunDirectoryError if data were in memory, and naming the entries that are missing or unknown.
        """
        where = f"{path}: its config.yaml"
        _check(where, given, _ENTRIES)
        if given["alignment"] is None or given["trees"] is None:
            raise RunDirectoryError(f"{path} was begun with data that are in no file: fit them anew, with force")
        of_model = {each.letter or name: name for name, each in options_of(ModelConfig).items()}
        _check(where, given["model"], of_model)
        # Runs from before there were devices have no such choice.
        choices = {"device": None, **given["choices"]} if isinstance(given["choices"], Mapping) else given["choices"]
        _check(where, choices, options_of(FitConfig))
        model = ModelConfig(**{of_model[entry]: value for entry, value in given["model"].items()})
        config = FitConfig(model=model, **choices)
        folder = Path(str(given["folder"]))
        if not isinstance(given["trees"], list):
            raise RunDirectoryError(f"{where} has no list of trees in what was asked for")
        trees: list[str | os.PathLike[str]] = [_from(folder, str(each)) for each in given["trees"]]
        if folder == Path.cwd():
            return cls(str(given["alignment"]), trees, config)
        moved: dict[str, Any] = {name: _find(getattr(config, name), folder) for name in _FILES}
        if config.trees_from not in SOURCES:
            moved["trees_from"] = _from(folder, config.trees_from)
        return cls(str(_find(str(given["alignment"]), folder)), trees, dataclasses.replace(config, **moved))


def asked_for(directory: RunDirectory) -> Asked | None:
    """What a run was asked for, if it has not begun to train. RunDirectoryError if it cannot be begun once more from that."""
    content = directory.read_config()
    return Asked.of(content[UNFINISHED], directory.path) if UNFINISHED in content else None


# What config.yaml holds beside the model, which checks its own entries.
_PARTS = {
    "alignment": ("file", "taxa", "sites", "sha256"),
    "trees": ("burn_in", "hpd", "widen", "support"),
    "priors": ("lengths", "constraint", "fix_topology"),
    "answer": ("draws", "outgroup"),
    "training": tuple(field.name for field in dataclasses.fields(TrainingConfig)),
}


def check_entries_of_fit(directory: RunDirectory, config: Mapping[str, Any]) -> None:
    """RunDirectoryError, naming the first that is missing, unless config.yaml has all that a fit writes there.

    The first version had fewer entries.
    """
    where = f"{directory.path}: its config.yaml lacks"
    parts = _PARTS if directory.version > 1 else {"training": ()}
    for part, names in parts.items():
        found = config.get(part)
        if not isinstance(found, Mapping):
            raise RunDirectoryError(f"{where} {part}")
        missing = [name for name in names if name not in found]
        if missing:
            raise RunDirectoryError(f"{where} {part}: {', '.join(missing)}")


def _from(folder: Path, name: str) -> str:
    """A file or pattern that starts from a folder; as it was given where that is the current one."""
    return name if folder == Path.cwd() else str(folder / name)


def _find(names: str | None, folder: Path) -> str | None:
    """Files in a folder, with semicolons between them; what is none as it is."""
    if names is None:
        return None
    return ";".join(str(folder / each) if each and (folder / each).is_file() else each for each in names.split(";"))


def _check(where: str, values: object, wanted: Any) -> None:
    """RunDirectoryError, naming the entries, unless these and no others are there."""
    found = set(values) if isinstance(values, Mapping) else set()
    for what, names in (("lacks", set(wanted) - found), ("knows no", found - set(wanted))):
        if names:
            raise RunDirectoryError(f"{where} {what} {', '.join(sorted(map(str, names)))} of what was asked for")

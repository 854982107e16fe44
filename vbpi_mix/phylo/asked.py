"""What a fit was asked for, as its config.yaml says it until it begins to train: enough to begin it once more."""

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
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_directory import RunDirectory

# The entry of config.yaml; a run that has it has no checkpoint yet, or none that counts.
UNFINISHED = "not_yet_trained"


@dataclass(frozen=True)
class Asked:
    """alignment: a file, or the name of a benchmark. trees: files or patterns, none if none were named."""

    alignment: str
    trees: tuple[str, ...]
    config: FitConfig

    @staticmethod
    def entries(alignment: object, trees: object, config: FitConfig) -> dict[str, Any]:
        """The contents of config.yaml. Data in memory are not kept: alignment or trees are None then."""
        listed = [trees] if isinstance(trees, str | os.PathLike) else trees or []
        given = {
            "folder": str(Path.cwd()),
            "alignment": str(alignment) if isinstance(alignment, str | os.PathLike) else None,
            "trees": [str(each) for each in listed] if isinstance(listed, Sequence) else None,
            "choices": {name: getattr(config, name) for name in options_of(FitConfig)},
            "model": config.model.to_dict(),
        }
        return {"command": "fit", UNFINISHED: given}


def asked_for(directory: RunDirectory) -> Asked | None:
    """What a run was asked for, if it has not begun to train. RunDirectoryError if it cannot be begun once more from that."""
    content = directory.read_config()
    if UNFINISHED not in content:
        return None
    given, where = content[UNFINISHED], f"{directory.path}: its config.yaml"
    _check(where, given, ("folder", "alignment", "trees", "choices", "model"))
    if given["alignment"] is None or given["trees"] is None:
        raise RunDirectoryError(f"{directory.path} was begun with data that are in no file: fit them anew, with force")
    folder = str(given["folder"])
    of_model = {each.letter or name: name for name, each in options_of(ModelConfig).items()}
    _check(where, given["model"], of_model)
    # Runs from before there were devices have no such choice.
    choices = {"device": None, **given["choices"]} if isinstance(given["choices"], Mapping) else given["choices"]
    _check(where, choices, options_of(FitConfig))
    model = ModelConfig(**{of_model[entry]: value for entry, value in given["model"].items()})
    config = FitConfig(model=model, **choices)
    named = {name: _find(getattr(config, name), folder) for name in ("partitions", "constraint", "fix_topology", "trees_from")}
    trees = tuple(str(each) if folder == str(Path.cwd()) else str(Path(folder) / str(each)) for each in given["trees"])
    return Asked(str(_find(given["alignment"], folder)), trees, dataclasses.replace(config, **named))


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


def _find(name: Any, folder: str) -> Any:
    """A file from wherever the fit is resumed; what is none as it is."""
    if not name or folder == str(Path.cwd()):
        return name
    found = Path(folder) / str(name)
    return str(found) if found.exists() else name


def _check(where: str, values: object, wanted: Any) -> None:
    """RunDirectoryError, naming the entries, unless these and no others are there."""
    found = set(values) if isinstance(values, Mapping) else set()
    for what, names in (("lacks", set(wanted) - found), ("knows no", found - set(wanted))):
        if names:
            raise RunDirectoryError(f"{where} {what} {', '.join(sorted(map(str, names)))} of what was asked for")

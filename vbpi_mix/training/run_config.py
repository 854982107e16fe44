"""What a run's config.yaml must hold before anything is built from it: people edit such files.

What an entry may be comes from the dataclass that it is for: one of the values of a Literal or bool, a whole number of at
least 1 (int), a number above 0 (float), or text (str).
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from vbpi_mix.errors import ConfigError, RunDirectoryError, shorten
from vbpi_mix.training.run_directory import RunDirectory


def entries_of(kind: Any) -> dict[str, Any]:
    """What each field of a dataclass may be: a tuple of choices, or int, float, str. "or None" is left out."""
    hints = typing.get_type_hints(kind)
    return {field.name: _wanted(hints[field.name]) for field in dataclasses.fields(kind)}


def _wanted(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return (False, True) if hint is bool else hint


def check_entries(values: Any) -> None:
    """ConfigError, naming the field, unless every field of a dataclass is what its annotation says."""
    for name, wanted in entries_of(type(values)).items():
        kind = _misfit(getattr(values, name), wanted)
        if kind is not None:
            raise ConfigError(f"{name} must be {kind}, not {getattr(values, name)!r}")


def check_config(directory: RunDirectory, config: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> None:
    """RunDirectoryError, naming the entry, unless the configuration has these parts with these entries (`entries_of`)."""
    for part, names in parts.items():
        found = config.get(part)
        missing = [name for name in names if not isinstance(found, dict) or name not in found]
        if missing or not isinstance(found, dict):
            raise RunDirectoryError(
                f"{directory.path}: its config.yaml lacks {part}: {', '.join(missing) or 'all of it'}"
            )
        for name, wanted in names.items():
            kind = _misfit(found[name], wanted)
            if kind is not None:
                raise RunDirectoryError(
                    f"{directory.path}: {part}: {name} of its config.yaml must be {kind}, not {found[name]!r}"
                )


# What a resumed run may have been given anew since its last checkpoint.
BUDGETS = ("iterations", "seconds", "patience", "threads")


def check_recorded(directory: RunDirectory, config: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """RunDirectoryError, naming the first entry that differs, unless config.yaml says what the checkpoint was made with.

    recorded: the checkpoint's copy. Budgets may differ, and nothing is asked of runs whose config.yaml is of the first version.
    """
    if directory.version == 1:
        return
    for part in {**recorded, **config}:
        found, before = _entries(config.get(part)), _entries(recorded.get(part))
        for name in {**before, **found}:
            if part in ("training", "experiment") and name in BUDGETS:
                continue
            if _text(found.get(name)) != _text(before.get(name)):
                shown, now, then = (shorten(x) for x in (f"{part}: {name}", _text(found.get(name)), _text(before.get(name))))
                raise RunDirectoryError(
                    f"{directory.path}: {shown.removesuffix(': ')} of its config.yaml is {now}, but its checkpoint was made with "
                    f"{then}: put that back"
                )


def _entries(part: Any) -> Mapping[str, Any]:
    return part if isinstance(part, Mapping) else {"": part}


def _text(value: Any) -> str:
    """A value in one spelling, whether it comes from YAML or from a checkpoint."""
    return json.dumps(value, sort_keys=True, default=str)


def _misfit(value: object, wanted: Any) -> str | None:
    """None if the value fits, else what it must be."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(wanted, tuple):
        fits = any(value is choice or (value == choice and isinstance(value, str)) for choice in wanted)
        kind = f"one of {', '.join(str(choice).lower() for choice in wanted)}"
    elif wanted is int:
        fits, kind = isinstance(value, int) and is_number and value >= 1, "a whole number of at least 1"
    elif wanted is float:
        fits, kind = is_number and 0 < float(str(value)) < float("inf"), "a number above 0"
    else:
        fits, kind = isinstance(value, str), "text"
    return None if fits else kind

"""What a run's config.yaml must hold before anything is built from it: people edit such files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.training.run_directory import RunDirectory


def check_config(directory: RunDirectory, config: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> None:
    """RunDirectoryError, naming the entry, unless the configuration has these parts with these entries.

    What an entry may be: one of a tuple of choices, or of a kind: int (at least 1), float (above 0), or str.
    """
    for part, names in parts.items():
        found = config.get(part)
        missing = [name for name in names if not isinstance(found, dict) or name not in found]
        if missing or not isinstance(found, dict):
            raise RunDirectoryError(
                f"{directory.path}: its config.yaml lacks {part}: {', '.join(missing) or 'all of it'}"
            )
        for name, wanted in names.items():
            _check_entry(f"{directory.path}: {part}: {name} of its config.yaml", found[name], wanted)


def _check_entry(where: str, value: object, wanted: Any) -> None:
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
    if not fits:
        raise RunDirectoryError(f"{where} must be {kind}, not {value!r}")

"""Files that a user names for a command to write: refused before the work, written whole after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vbpi_mix.errors import ConfigError


def check_outputs_free(names: Sequence[str | None], force: bool) -> None:
    """ConfigError unless every file can be made and none would be replaced without --force."""
    places = [Path(name) for name in names if name is not None]
    for number, place in enumerate(places):
        if not place.absolute().parent.is_dir():
            raise ConfigError(
                f"{place} cannot be written: the folder {place.parent} does not exist; make it first"
            )
        if place.is_dir():
            raise ConfigError(f"{place} is a folder; name a file")
        if place.exists() and not force:
            raise ConfigError(f"{place} exists; choose another name, or replace it with --force")
        if place.absolute() in [other.absolute() for other in places[:number]]:
            raise ConfigError(f"{place} is given for two outputs; choose two names")


def write_outputs(contents: Mapping[str, bytes]) -> None:
    """Write files, each whole or not at all. ConfigError if one cannot be written."""
    from vbpi_mix.training.files import write_bytes

    for name, data in contents.items():
        try:
            write_bytes(name, data)
        except OSError as error:
            raise ConfigError(f"{name}: cannot be written ({error.strerror}); choose another place") from None

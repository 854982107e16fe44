"""Where benchmark data are found: the folder that VBPI_MIX_DATA names, then the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from vbpi_mix.errors import VbpiMixError

DATA_VARIABLE = "VBPI_MIX_DATA"


class DataFolderError(VbpiMixError):
    """VBPI_MIX_DATA does not name a folder."""


def data_folder() -> Path | None:
    """The folder that VBPI_MIX_DATA names, None if it is not set; DataFolderError if it is not a folder."""
    value = os.environ.get(DATA_VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataFolderError(f"{DATA_VARIABLE}={value}: no such folder; name the one that holds the data sets")
    return folder


def cache_folder() -> Path:
    """The user's cache folder; it need not exist."""
    import pooch

    return Path(pooch.os_cache("vbpi-mix"))

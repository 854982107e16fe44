"""The image data sets: what they are, and where their files are.

The facts come from data/NAME/images.yaml; no images are part of this package. A set NAME is sought

1. in the folder that is given, in itself and in its folder NAME, and then nowhere else; or, if none is given,
2. in the folder that the environment variable VBPI_MIX_DATA names, in NAME and in NAME_subset;
3. in the user's cache, in NAME;
4. at the public places of images.yaml, from where the files go to the cache, checked against their checksums.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from vbpi_mix import data_files
from vbpi_mix.data_files import DATA_VARIABLE
from vbpi_mix.download import OFFLINE_VARIABLE, DownloadError, download, is_offline
from vbpi_mix.files import sha256_of
from vbpi_mix.image.formats import DatasetError

DESCRIPTION = "images.yaml"
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-bin"


@dataclass(frozen=True)
class SourceFile:
    """A published file: its name, size in bytes, SHA-256, and where it is, in the order to try."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class ImageSet:
    """What is known of a data set. levels: the largest pixel value; train, test: numbers of images published.

    files: what is fetched, the training images first; none for a set that comes with another package.
    """

    name: str
    description: str
    channels: int
    height: int
    width: int
    levels: int
    train: int
    test: int
    citation: str
    licence: str
    files: tuple[SourceFile, ...]

    @property
    def is_bundled(self) -> bool:
        """Whether it needs no files."""
        return not self.files

    @property
    def expected(self) -> str:
        """The files it needs, for messages."""
        return " and ".join(file.name for file in self.files)


@dataclass(frozen=True)
class Located:
    """Files of a set at hand: of training and test images, or one archive of both (then `test` is empty)."""

    folder: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]


@cache
def image_set_names() -> tuple[str, ...]:
    """The names of all image data sets, in order."""
    folders = resources.files("vbpi_mix_data").iterdir()
    return tuple(sorted(folder.name for folder in folders if folder.joinpath(DESCRIPTION).is_file()))


@cache
def image_set(name: str) -> ImageSet:
    """The facts of a data set; fashion-mnist is fashion_mnist. DatasetError, with the nearest names, if unknown."""
    known = name.lower().replace("-", "_")
    if known not in image_set_names():
        near = difflib.get_close_matches(known, image_set_names(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(image_set_names())}"
        raise DatasetError(f"no image data set is called {name!r}; {hint}")
    text = resources.files("vbpi_mix_data").joinpath(known, DESCRIPTION).read_text("utf-8")
    facts: dict[str, Any] = yaml.safe_load(text)
    files = tuple(
        SourceFile(entry["file"], entry["bytes"], entry["sha256"], tuple(place["url"] for place in entry["locations"]))
        for entry in facts.pop("files")
    )
    values: dict[str, Any] = {key: value.strip() if isinstance(value, str) else value for key, value in facts.items()}
    values["files"] = files
    return ImageSet(**values)


def obtain(name: str, folder: Path | None = None, *, offline: bool = False) -> Located:
    """The files of a set, downloaded to the cache if no folder is given and they are nowhere here.

    DatasetError if they are not in the folder given, or not here and offline, or only some of them are here;
    DownloadError if they cannot be downloaded.
    """
    known = image_set(name)
    found = locate(name, folder)
    if found is not None:
        return found
    if folder is not None:
        raise DatasetError(
            f"{folder} does not hold {known.name}: expected {known.expected} in it or in its folder {known.name}"
        )
    _download(known, offline)
    found = locate(name)
    if found is None:
        raise DatasetError(f"{known.name}: not in {data_files.cache_folder()} although just written there; try again")
    return found


def locate(name: str, folder: Path | None = None) -> Located | None:
    """The files of a set if they are at hand, else None.

    DatasetError if a folder holds only some of the files, or the folder given is none.
    """
    known = image_set(name)
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; name the one that holds {known.expected}")
    for place in search_folders(known, folder):
        found = _files_in(known, place)
        if found is not None:
            return found
    return None


def search_folders(known: ImageSet, folder: Path | None = None) -> list[Path]:
    """Where a set is sought, in this order."""
    if folder is not None:
        return [folder / known.name, folder]
    own = data_files.data_folder()
    places = [own / known.name, own / f"{known.name}_subset"] if own else []
    return [*places, data_files.cache_folder() / known.name]


def verify(name: str) -> list[Path]:
    """The published files of a set that are at hand, after comparing their checksums; others are passed over.

    DatasetError at the first that differs.
    """
    known = image_set(name)
    present = [(folder / file.name, file) for folder in search_folders(known) for file in known.files]
    present = [(path, file) for path, file in present if path.is_file()]
    for path, file in present:
        if sha256_of(path) != file.sha256:
            raise DatasetError(f"{path}: not the published file (wrong checksum); delete it and fetch it again")
    return [path for path, _ in present]


def _files_in(known: ImageSet, folder: Path) -> Located | None:
    """The files of a set in one folder; None if there is none of them. DatasetError if some are missing."""
    if known.name == "cifar10":
        archive = folder / CIFAR_ARCHIVE
        if archive.is_file():
            return Located(folder, (archive,), ())
        places = [folder, folder / CIFAR_FOLDER]
        train, test = (_first_match(places, pattern) for pattern in ("data_batch_*.bin", "test_batch*.bin"))
        names = ("data_batch_1.bin ...", "test_batch.bin")
    else:
        train, test = (_first_match([folder], file.name.removesuffix(".gz")) for file in known.files)
        names = (known.files[0].name, known.files[1].name)
    if not train and not test:
        return None
    for found, name in ((train, names[0]), (test, names[1])):
        if not found:
            raise DatasetError(f"{folder / name} is missing, though other files of {known.name} are there: add it")
    return Located(folder, train, test)


def _first_match(folders: list[Path], pattern: str) -> tuple[Path, ...]:
    """Files of that pattern, gzipped or not, of the first folder that has any; a plain file goes before its .gz."""
    for folder in folders:
        found = {
            path.name.removesuffix(".gz"): path for form in (f"{pattern}.gz", pattern) for path in folder.glob(form)
        }
        if found:
            return tuple(found[name] for name in sorted(found))
    return ()


def _download(known: ImageSet, offline: bool) -> None:
    """Bring the files of a set into the cache."""
    folder = data_files.cache_folder() / known.name
    cure = f"set {DATA_VARIABLE} to a folder that holds {known.name}/{known.files[0].name}, or give --data DIR"
    if is_offline(offline):
        raise DatasetError(f"{known.name} is not here and downloads are off (--offline or {OFFLINE_VARIABLE}); {cure}")
    for file in known.files:
        try:
            download(file.urls, folder / file.name, file.sha256)
        except DownloadError as error:
            raise DownloadError(f"{error}; try again, or {cure}") from None

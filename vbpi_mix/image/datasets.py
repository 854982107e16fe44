"""Image data sets as tensors: split into training, validation and test images, and binarised where that is the custom.

    mnist, fashion_mnist   first 50,000 of 60,000 to train, last 10,000 to validate; the 10,000 test images
    digits                 1,257 / 180 / 360 of 1,797, by a permutation drawn from SPLIT_SEED
    cifar10                40,000 / 10,000 of the 50,000 training images, permuted likewise; the 10,000 test images

Files with fewer images are split in the same proportions. Of the first three sets, training images stay grey levels,
to be binarised anew for every batch; validation images and then test images are binarised once, from
BINARISATION_SEED (the published protocol: Hotti et al. 2024, after Tomczak and Welling 2018). CIFAR-10 keeps its levels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.image.formats import DatasetError, read_cifar, read_cifar_archive, read_idx_images, read_idx_labels
from vbpi_mix.image.sources import ImageSet, Located, image_set, obtain

SPLIT_SEED = 42
BINARISATION_SEED = 777
# One in this many training images is kept for validation.
VALIDATION_SHARE = {"mnist": 6, "fashion_mnist": 6, "cifar10": 5}
DIGITS_SPLIT = (1257, 180, 360)
SMALLEST = 12


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set, split.

    train, validation, test  uint8 [N, C, H, W]; of a binary set, `train` holds grey levels and the others 0 and 1
    levels      the largest grey level: a pixel is 1 with probability level / levels
    binary      whether pixels are modelled as 0 or 1
    split_seed  of the permutation, None where the order of the file is kept
    subset      whether there are fewer images than were published
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    levels: int
    binary: bool
    split_seed: int | None
    subset: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        C, H, W = self.train.shape[1:]
        return C, H, W

    @property
    def pixels(self) -> int:
        """C H W, what bits per dimension are per."""
        C, H, W = self.image_shape
        return C * H * W

    def training_input(self) -> Tensor:
        """Training images as a problem takes them: uint8 of 255 levels as they are, others divided by their levels."""
        return self.train if self.levels == 255 else self.train.float() / self.levels

    def held_out_input(self, images: Tensor) -> Tensor:
        """Validation or test images as the likelihood takes them: 0 and 1, or k / 255."""
        return images.float() if self.binary else images.float() / self.levels

    def facts(self) -> dict[str, Any]:
        """What a run records of its data: name, sizes, seeds, and a checksum of all pixels."""
        return {
            "name": self.name,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "subset": self.subset,
            "split_seed": self.split_seed,
            "binarisation_seed": BINARISATION_SEED if self.binary else None,
            "sha256": self.checksum(),
        }

    def checksum(self) -> str:
        """SHA-256 of all pixels, after splitting and binarising."""
        digest = hashlib.sha256()
        for images in (self.train, self.validation, self.test):
            digest.update(images.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the training and test images of an ImageData, in its order, [N] each."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def load_labels(data: ImageData, folder: Path | None = None) -> Labels:
    """The labels of images that were loaded from the same place.

    DatasetError if they are not at hand: those of MNIST and Fashion-MNIST are sought beside the images, as
    train-labels-idx1-ubyte and t10k-labels-idx1-ubyte, gzipped or not; those of CIFAR-10 are not read.
    """
    if data.name == "digits":
        from sklearn.datasets import load_digits

        labels = load_digits().target.astype(np.int64)[_permutation(len(load_digits().target), SPLIT_SEED)]
        return Labels(labels[: DIGITS_SPLIT[0]], labels[sum(DIGITS_SPLIT[:2]) :])
    if data.name == "cifar10":
        raise DatasetError("the labels of cifar10 are not read: take a run of digits, mnist or fashion_mnist")
    found = obtain(data.name, folder)
    counts = (len(data.train) + len(data.validation), len(data.test))
    train, test = (
        read_idx_labels(_labels_beside(images), count) for images, count in zip((*found.train, *found.test), counts, strict=True)
    )
    return Labels(train[: len(data.train)].astype(np.int64), test.astype(np.int64))


def _labels_beside(images: Path) -> Path:
    """The file of the labels, gzipped or not. DatasetError if it is not there."""
    name = images.name.removesuffix(".gz").replace("images-idx3", "labels-idx1")
    for path in (images.with_name(name), images.with_name(f"{name}.gz")):
        if path.is_file():
            return path
    raise DatasetError(f"{images.with_name(name)} is missing: put the published labels beside the images")


def load_images(name: str, folder: Path | None = None, *, offline: bool = False) -> ImageData:
    """A data set by name, from the folder given or from where `sources` finds it, downloaded if need be.

    DatasetError if it is unknown, not at hand, damaged, or in no folder though one is given; DownloadError if it cannot be
    fetched.
    """
    known = image_set(name)
    if known.is_bundled:
        if folder is not None:
            raise DatasetError(f"{known.name} come with scikit-learn and are read from no folder: leave out {folder}")
        return _digits(known)
    train, test = _read(known, obtain(known.name, folder, offline=offline))
    for images, what in ((train, "training"), (test, "test")):
        if len(images) < SMALLEST:
            raise DatasetError(f"{known.name} has {len(images)} {what} images here: at least {SMALLEST} are needed")
    split_seed = SPLIT_SEED if known.name == "cifar10" else None
    if split_seed is not None:
        train = train[_permutation(len(train), split_seed)]
    held_out = len(train) // VALIDATION_SHARE[known.name]
    subset = (len(train), len(test)) != (known.train, known.test)
    return _assemble(known, train[:-held_out], train[-held_out:], test, split_seed, subset)


def _read(known: ImageSet, found: Located) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training and test images, [N, C, H, W] of grey levels."""
    if known.name == "cifar10":
        if not found.test:
            return read_cifar_archive(found.train[0])
        return read_cifar(found.train), read_cifar(found.test)
    train, test = (read_idx_images(path, known.height, known.width) for path in (*found.train, *found.test))
    return train[:, None], test[:, None]


def _digits(known: ImageSet) -> ImageData:
    """The digits of scikit-learn."""
    from sklearn.datasets import load_digits  # slow to load, and only digits need it

    images = load_digits().images.astype(np.uint8)[:, None]
    if images.shape != (known.train, known.channels, known.height, known.width) or images.max() != known.levels:
        raise DatasetError(
            f"the digits of this scikit-learn are not those known here (shape {images.shape}): install 1.x"
        )
    images = images[_permutation(len(images), SPLIT_SEED)]
    first, second = DIGITS_SPLIT[0], DIGITS_SPLIT[0] + DIGITS_SPLIT[1]
    return _assemble(known, images[:first], images[first:second], images[second:], SPLIT_SEED, False)


def _assemble(
    known: ImageSet,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    test: NDArray[np.uint8],
    split_seed: int | None,
    subset: bool,
) -> ImageData:
    binary = known.channels == 1
    if binary:
        validation, test = _binarise(validation, test, known.levels)
    parts = [torch.from_numpy(images.copy()) for images in (train, validation, test)]
    return ImageData(known.name, parts[0], parts[1], parts[2], known.levels, binary, split_seed, subset)


def _binarise(
    validation: NDArray[np.uint8], test: NDArray[np.uint8], levels: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One Bernoulli draw per pixel, of validation and then of test, as `numpy.random.seed(777)` gave the authors."""
    random = np.random.RandomState(BINARISATION_SEED)
    first = random.binomial(1, validation / levels).astype(np.uint8)
    return first, random.binomial(1, test / levels).astype(np.uint8)


def _permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Of the stream that numpy has promised never to change."""
    return np.random.RandomState(seed).permutation(count)

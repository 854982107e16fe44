"""Small data sets in the published formats."""

from __future__ import annotations

import gzip
import tarfile
from io import BytesIO

import numpy as np

MNIST_FILES = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")


def idx(images):
    """IDX bytes of uint8 images [N, H, W]."""
    header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    return header + images.astype(np.uint8).tobytes()


def write_idx_set(folder, train, test, gzipped=True):
    """Both files of MNIST's format, with these images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in zip(MNIST_FILES, (train, test), strict=True):
        content = idx(images)
        if gzipped:
            (folder / name).write_bytes(gzip.compress(content))
        else:
            (folder / name.removesuffix(".gz")).write_bytes(content)


def random_images(count, height=28, width=28, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)


def cifar_records(count, seed=0):
    """Record bytes, and the images [N, 3, 32, 32] in them."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = random.integers(0, 10, (count, 1), dtype=np.uint8)
    return np.concatenate([labels, images.reshape(count, -1)], 1).tobytes(), images


def cifar_archive(path, parts):
    """A gzipped tar archive with these files in cifar-10-batches-bin."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))

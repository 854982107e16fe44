"""Networks whose features images are compared by: a classifier trained here on the labels of a data set.

It is trained on the training images as the models are, with pixels drawn anew for every batch, from one seed and on one
thread, so that the same machine makes the same network; and kept in the user's cache as plain arrays, under a checksum of
the images it was trained on.

Shapes: N images, C x H x W pixels, F features.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vbpi_mix.files import write_bytes
from vbpi_mix.image.datasets import ImageData, Labels
from vbpi_mix.training.epochs import EpochOrder

CLASSES = 10
FEATURES = 64
STEPS = 2000
BATCH_SIZE = 100
LEARNING_RATE = 1e-3
SEED = 1
# Of what is above and below: a network made otherwise is made anew.
RECIPE = 1
IMAGES_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A function of images [N, C, H, W] in [0, 1] to features [N, F].

    name      what is written beside every distance
    accuracy  share of the test images that the classifier it is part of is right about; None if that is not known
    digest    of all parameters: the same network or another
    """

    name: str
    module: nn.Module
    size: int
    accuracy: float | None
    digest: str

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """[N, C, H, W] on any device -> [N, F]."""
        self.module.eval()
        parameter = next(self.module.parameters())
        with torch.no_grad():
            parts = [self.module(part.to(parameter.device, parameter.dtype)) for part in images.split(IMAGES_AT_ONCE)]
        return torch.cat(parts).double().cpu().numpy()

    def facts(self) -> dict[str, Any]:
        """For summary.json."""
        facts = {"features": self.name, "numbers": self.size, "digest": self.digest}
        return facts if self.accuracy is None else {**facts, "classifier_accuracy": self.accuracy}


class Classifier(nn.Module):
    """Three convolutions, F features and a linear layer to the classes; what it returns are the features."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        stride = 2 if min(height, width) >= 16 else 1
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, 16, 5, stride, 2), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 1, 1)]
        )
        sides = [(side - 1) // stride // 2 + 1 for side in (height, width)]
        self.features = nn.Linear(32 * sides[0] * sides[1], FEATURES)
        self.classes = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, F]."""
        y = images
        for convolution in self.convolutions:
            y = torch.relu(convolution(y))
        return torch.relu(self.features(y.flatten(1)))


def classifier_of(
    data: ImageData,
    labels: Callable[[], Labels],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureNetwork:
    """The classifier of a data set, from `folder` if it is kept there, else trained, and kept there.

    labels: asked for only if it is to be trained. `progress` is told how many steps are done, and of how many. OSError if the
    folder cannot be written.
    """
    checksum = data.checksum()
    place = folder / f"{data.name}-{checksum[:16]}-{RECIPE}.npz"
    module = Classifier(*data.image_shape)
    accuracy = _read(place, module, checksum)
    if accuracy is None:
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)
            module = Classifier(*data.image_shape)
            known = labels()
            _train(module, data, known, progress)
            accuracy = _accuracy(module, data, known)
        _write(place, module, checksum, accuracy)
    name = f"a classifier trained on {data.name} ({FEATURES} features, test accuracy {100 * accuracy:.2f} %)"
    return FeatureNetwork(name, module, FEATURES, accuracy, digest_of(module))


def digest_of(module: nn.Module) -> str:
    """SHA-256 of all parameters, its first 16 digits."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _train(module: Classifier, data: ImageData, labels: Labels, progress: Callable[[int, int], None] | None) -> None:
    """Adam on the cross-entropy, its rate falling to zero."""
    generator = torch.Generator().manual_seed(SEED)
    order = EpochOrder(len(data.train), min(BATCH_SIZE, len(data.train)), SEED)
    of_image = torch.from_numpy(labels.train)
    adam = torch.optim.Adam(module.parameters(), LEARNING_RATE)
    for step in range(1, STEPS + 1):
        rows = order.rows(step)
        images = data.train[rows].float() / data.levels
        if data.binary:
            images = (torch.rand(images.shape, generator=generator) < images).float()
        adam.param_groups[0]["lr"] = LEARNING_RATE * (1.0 - (step - 1) / STEPS)
        adam.zero_grad()
        F.cross_entropy(module.classes(module(images)), of_image[rows]).backward()
        adam.step()
        if progress is not None:
            progress(step, STEPS)


def _accuracy(module: Classifier, data: ImageData, labels: Labels) -> float:
    images, right = data.held_out_input(data.test), 0
    with torch.no_grad():
        for part, own in zip(images.split(IMAGES_AT_ONCE), torch.from_numpy(labels.test).split(IMAGES_AT_ONCE), strict=True):
            right += int((module.classes(module(part)).argmax(1) == own).sum())
    return right / len(images)


def _write(place: Path, module: Classifier, checksum: str, accuracy: float) -> None:
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: value.numpy() for name, value in module.state_dict().items()}
    np.savez(content, checksum=np.array(checksum), accuracy=np.array(accuracy), **arrays)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(place, content.getvalue())


def _read(place: Path, module: Classifier, checksum: str) -> float | None:
    """Give the module what is kept of it and return its accuracy; None if that is nothing, of other images, or damaged."""
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as kept:
            arrays = {name: torch.from_numpy(kept[name].copy()) for name in module.state_dict()}
            accuracy, own = float(kept["accuracy"]), str(kept["checksum"]) == checksum
        if not own or not 0.0 <= accuracy <= 1.0:
            return None
        module.load_state_dict(arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None
    return accuracy


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch's within, so that sums round alike however many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

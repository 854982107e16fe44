"""What the latents of a run tell of labels: a linear classifier on the parameters of all components, and how these differ.

Features as in the Mixture Cookbook: means and standard deviations of all A components, concatenated; with two levels those of
both, the lower at each component's mean of the upper. A linear support vector machine (C = 0.025) is fitted on the training
images and scored on the test images.

Shapes: A components, N images, d latent dimensions of a level, D of all levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.datasets import ImageData, Labels
from vbpi_mix.image.densities import component_entropy
from vbpi_mix.image.model import ImageModel

SVM_C = 0.025
MOST_ITERATIONS = 20_000
IMAGES_AT_ONCE = 100
# Latents of each component and image, for the diversity.
DRAWS = 20


@dataclass(frozen=True)
class Classification:
    """Share of the test images with the right label, one for each repeat; Jensen-Shannon diversity of the components in nats.

    A repeat draws the pixels of the training images anew (of a binary set) and orders them anew for the classifier.
    accuracy_error: of the mean for another sample of test images; over_repeats: standard deviation, NaN for one.
    """

    accuracies: tuple[float, ...]
    test_images: int
    features: int
    diversity: float
    diversity_error: float

    @property
    def accuracy(self) -> float:
        """The mean."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def accuracy_error(self) -> float:
        """Binomial standard error."""
        return math.sqrt(self.accuracy * (1.0 - self.accuracy) / self.test_images)

    @property
    def over_repeats(self) -> float:
        """Standard deviation of the repeats."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else math.nan


def classify(model: ImageModel, data: ImageData, labels: Labels, repeats: int = 5, seed: int = 1) -> Classification:
    """Fit and score `repeats` times. The model is put into evaluation mode. ConfigError if repeats is below 1."""
    if repeats < 1:
        raise ConfigError(f"repeats {repeats}: give at least 1")
    from sklearn.svm import LinearSVC  # slow to load

    model.eval()
    test_images = data.held_out_input(data.test)
    test = latent_features(model, test_images)
    accuracies = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(seed + repeat)
        train = latent_features(model, _training_images(data, generator))
        machine = LinearSVC(C=SVM_C, dual=True, max_iter=MOST_ITERATIONS, random_state=(seed + repeat) % 2**32)
        machine.fit(train, labels.train)
        accuracies.append(float(machine.score(test, labels.test)))
    diversity, error = _diversity(model, test_images, torch.Generator().manual_seed(seed))
    return Classification(tuple(accuracies), len(test), test.shape[1], diversity, error)


def latent_features(model: ImageModel, images: Tensor) -> NDArray[np.float64]:
    """Means, then standard deviations, of all components of images [N, C, H, W] in [0, 1]: [N, 2 A D]."""
    parts = []
    with torch.no_grad():
        for block in images.split(IMAGES_AT_ONCE):
            levels = model.posterior(block.to(model.device, model.dtype)).levels()
            both = torch.cat([part for q in levels for part in (q.mean, torch.exp(0.5 * q.log_variance))])
            parts.append(both.transpose(0, 1).flatten(1).double().cpu())
    return torch.cat(parts).numpy()


def _training_images(data: ImageData, generator: torch.Generator) -> Tensor:
    """As the encoder sees them in training: of a binary set, pixels drawn once."""
    levels = data.train.float() / data.levels
    return (torch.rand(levels.shape, generator=generator) < levels).float() if data.binary else levels


def _diversity(model: ImageModel, images: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Mean over images of the Jensen-Shannon divergence of the components, within [0, log A], and its standard error."""
    A, D, parts = model.spec.components, model.spec.dimensions, []
    with torch.no_grad():
        for block in images.split(IMAGES_AT_ONCE):
            posterior = model.posterior(block.to(model.device, model.dtype))
            q, d = posterior.gaussians, model.spec.latent
            noise = torch.randn((A, DRAWS, len(block), D), generator=generator).to(q.mean)
            base = q.mean.unsqueeze(1) + torch.exp(0.5 * q.log_variance).unsqueeze(1) * noise[..., :d]
            everything = torch.arange(A, device=model.device)
            log_q = posterior.complete(everything, base, noise[..., d:])[1].double()
            parts.append(math.log(A) - component_entropy(log_q) / (A * DRAWS))
    values = torch.cat(parts).clamp(0.0, math.log(A))
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))

"""What the latents of a model, or of several as an ensemble, tell of labels: a linear classifier, and how components differ.

Features as in the Mixture Cookbook: means and standard deviations of all A components, concatenated; with two levels those of
both, the lower at each component's mean of the upper. Or latents drawn from q(z|x), as many numbers of one encoder as a mixture
has: the paper's baseline. Of an ensemble those of its members stand side by side. A linear support vector machine (C = 0.025) is
fitted on the training images and scored on the test images.

Shapes: A components, M of all models together, N images, B of a block, d latent dimensions of a level, D of all levels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.datasets import ImageData, Labels
from vbpi_mix.image.densities import component_entropy
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.networks import take_rows
from vbpi_mix.image.posterior import Posterior

SVM_C = 0.025
MOST_ITERATIONS = 20_000
IMAGES_AT_ONCE = 100
# Latents of each component and image, for the diversity.
DRAWS = 20


@dataclass(frozen=True)
class Classification:
    """Share of the test images with the right label, one for each repeat; Jensen-Shannon diversity of the components in nats.

    A repeat draws the pixels of the training images anew (of a binary set), and latents if those are the features, and orders
    the images anew for the classifier. accuracy_error: of the mean for another sample of test images; over_repeats: standard
    deviation, NaN for one. components: M. converged: whether the classifier's fits have.
    """

    accuracies: tuple[float, ...]
    test_images: int
    features: int
    diversity: float
    diversity_error: float
    components: int
    converged: bool = True

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

    def facts(self, draws: int | None, seed: int) -> dict[str, Any]:
        """For summary.json."""
        of = "means and standard deviations of all components" if draws is None else f"{draws} latents drawn from q(z|x)"
        return {
            "features": of,
            "numbers": self.features,
            "classifier": f"linear support vector machine, C = {SVM_C}",
            "accuracy": self.accuracy,
            "standard_error": self.accuracy_error,
            "repeats": list(self.accuracies),
            "seed": seed,
            "jensen_shannon_diversity": self.diversity,
            "jensen_shannon_diversity_standard_error": self.diversity_error,
        }


def classify(
    models: Sequence[ImageModel], data: ImageData, labels: Labels, repeats: int = 5, seed: int = 1, draws: int | None = None
) -> Classification:
    """Fit and score `repeats` times. The models are put into evaluation mode.

    draws: so many latents of each model as features, in place of means and standard deviations. ConfigError if repeats or
    draws are below 1, or the models' latents have different dimensions.
    """
    for name, value in (("repeats", repeats), ("draws", draws)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} {value}: give at least 1")
    if len({model.spec.dimensions for model in models}) > 1:
        raise ConfigError("an ensemble needs models whose latents have the same number of dimensions")
    for model in models:
        model.eval()
    test_images, accuracies, converged = data.held_out_input(data.test), [], True
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(seed + repeat)
        train_images = _training_images(data, generator)
        train, test = (_features(models, images, draws, generator) for images in (train_images, test_images))
        accuracy, fitted = _fit_and_score((train, labels.train), (test, labels.test), (seed + repeat) % 2**32)
        accuracies.append(accuracy)
        converged = converged and fitted
    diversity, error = _diversity(models, test_images, torch.Generator().manual_seed(seed))
    M = sum(model.spec.components for model in models)
    return Classification(tuple(accuracies), len(test), test.shape[1], diversity, error, M, converged)


Labelled = tuple[NDArray[np.float64], NDArray[np.int64]]


def _fit_and_score(train: Labelled, test: Labelled, seed: int) -> tuple[float, bool]:
    """Accuracy on `test` of the classifier fitted on `train`, and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning  # slow to load
    from sklearn.svm import LinearSVC

    machine = LinearSVC(C=SVM_C, dual=True, max_iter=MOST_ITERATIONS, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(*train)
    return float(machine.score(*test)), not caught


def _features(
    models: Sequence[ImageModel], images: Tensor, draws: int | None, generator: torch.Generator
) -> NDArray[np.float64]:
    """Of all models side by side."""
    if draws is None:
        return np.concatenate([latent_features(model, images) for model in models], 1)
    return np.concatenate([drawn_features(model, images, draws, generator) for model in models], 1)


def latent_features(model: ImageModel, images: Tensor) -> NDArray[np.float64]:
    """Means, then standard deviations, of all components of images [N, C, H, W] in [0, 1]: [N, 2 A D]."""
    parts = []
    with torch.no_grad():
        for block in images.split(IMAGES_AT_ONCE):
            levels = model.posterior(block.to(model.device, model.dtype)).levels()
            both = torch.cat([part for q in levels for part in (q.mean, torch.exp(0.5 * q.log_variance))])
            parts.append(both.transpose(0, 1).flatten(1).double().cpu())
    return torch.cat(parts).numpy()


def drawn_features(model: ImageModel, images: Tensor, draws: int, generator: torch.Generator) -> NDArray[np.float64]:
    """Latents from q(z|x), each from a component drawn at random: [N, draws D]."""
    parts = []
    with torch.no_grad():
        for block in images.split(IMAGES_AT_ONCE):
            posterior = model.posterior(block.to(model.device, model.dtype))
            own = torch.randint(model.spec.components, (draws, len(block)), generator=generator).to(model.device)
            z = _draw(posterior, own, 1, model.spec.dimensions, generator)[0]
            parts.append(z.squeeze(1).transpose(0, 1).flatten(1).double().cpu())
    return torch.cat(parts).numpy()


def _draw(posterior: Posterior, own: Tensor, count: int, D: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` latents [S, count, B, D] of each component in `own` [S] or [S, B], and log_q [S, count, R, B]."""
    q = posterior.gaussians
    mean, log_variance = take_rows(q.mean, own), take_rows(q.log_variance, own)
    S, B, d = mean.shape
    noise = torch.randn((S, count, B, D), generator=generator).to(mean)
    base = mean.unsqueeze(1) + torch.exp(0.5 * log_variance).unsqueeze(1) * noise[..., :d]
    return posterior.complete(own, base, noise[..., d:])


def _training_images(data: ImageData, generator: torch.Generator) -> Tensor:
    """As the encoder sees them in training: of a binary set, pixels drawn once."""
    levels = data.train.float() / data.levels
    return (torch.rand(levels.shape, generator=generator) < levels).float() if data.binary else levels


def _diversity(models: Sequence[ImageModel], images: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Mean over images of the Jensen-Shannon divergence of all M components, within [0, log M], and its standard error."""
    M, parts = sum(model.spec.components for model in models), []
    with torch.no_grad():
        for block in images.split(IMAGES_AT_ONCE):
            posteriors = [model.posterior(block.to(model.device, model.dtype)) for model in models]
            entropy = torch.zeros(len(block), dtype=torch.float64)
            for number, model in enumerate(models):
                everything = torch.arange(model.spec.components, device=model.device)
                z, own_log_q = _draw(posteriors[number], everything, DRAWS, model.spec.dimensions, generator)
                log_q = [own_log_q if m == number else other.log_density(z) for m, other in enumerate(posteriors)]
                entropy += component_entropy(torch.cat(log_q, 2).double()).cpu()
            parts.append(math.log(M) - entropy / (M * DRAWS))
    values = torch.cat(parts).clamp(0.0, math.log(M))
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))

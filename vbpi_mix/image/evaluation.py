"""Test likelihoods of an image model by importance sampling, image by image, so that they can stop and resume.

Shapes: A components (all sampled, all in the denominator, whatever the training estimator), L importance samples of each,
B images at once, d latent dimensions of a level. For every image the same weights w give two forms (natural logarithms):

    published   (1/A) sum_a log (1/L) sum_l w_al          Hotti et al. 2024; the average over components is outside
    pooled      log (1/(A L)) sum_a sum_l w_al            never smaller, and tends to log p(x) as L grows

The noise of image i is a stream of its own, made of (seed, i): no result depends on which images are evaluated, in what
order, or how many at once, except by rounding. Finished images are kept in a file that is written whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.files import write_text
from vbpi_mix.image.densities import component_entropy
from vbpi_mix.image.model import ImageModel
from vbpi_mix.image.networks import Gaussians
from vbpi_mix.image.priors import Prior
from vbpi_mix.image.spec import VALID
from vbpi_mix.parallel import ranks, sum_over_ranks

IMAGES_AT_ONCE = 100
# Most entries of [components at once, samples, A, B, width], what the densities of one step need.
ENTRIES_AT_ONCE = 20_000_000
COLUMNS = ("published", "pooled", "elbo", "diversity")
# Added to the key of an image's noise, so that it differs from the streams of training.
NOISE_STREAM = 0x6E6C6C << 32


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated. ConfigError unless all numbers are at least 1 (seed: 0), and two images remain.

    importance_samples  L, of each component
    images              how many test images, drawn without replacement where that is not all
    model               a checksum of the parameters: results of others are not continued
    """

    importance_samples: int
    images: int
    available: int
    seed: int
    model: str
    images_at_once: int = IMAGES_AT_ONCE

    def __post_init__(self) -> None:
        for name, value in (("importance samples", self.importance_samples), ("images", self.images)):
            if value < 1:
                raise ConfigError(f"{value} {name} asked for: give at least 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed {self.seed}: give a whole number from 0 to 2^63 - 1")
        if self.images_at_once < 1:
            raise ConfigError(f"{self.images_at_once} images at once: give at least 1")
        if not 2 <= self.images <= self.available:
            raise ConfigError(
                f"{self.images} images asked for: there are {self.available}, and a standard error needs 2"
            )

    @property
    def indices(self) -> list[int]:
        """Which test images, in the order of evaluation: a longer plan of the same seed begins with a shorter one."""
        if self.images == self.available:
            return list(range(self.available))
        return np.random.RandomState(self.seed % 2**32).permutation(self.available)[: self.images].tolist()

    @property
    def file_name(self) -> str:
        """Where the results of its images are kept."""
        return f"nll-L{self.importance_samples}-n{self.images}-seed{self.seed}.json"


def affordable_images(images: int, A: int, importance_samples: int, max_decoder_samples: int | None) -> int:
    """How many of the images a budget of decoder samples allows: A L for each. ConfigError if not even two."""
    if max_decoder_samples is None:
        return images
    allowed = max_decoder_samples // (A * importance_samples)
    if allowed < 2:
        raise ConfigError(
            f"{max_decoder_samples:,} decoder samples are not enough for 2 images of A L = {A * importance_samples:,} each: "
            "allow more, or lower L"
        )
    return min(images, allowed)


@dataclass
class ImageResults:
    """Per image, in the order of the plan: both forms, the single-sample bound, and the diversity, in nats.

    likelihood: what is written beside them (ModelSpec.likelihood_label).
    """

    plan: EvaluationPlan
    likelihood: str = VALID
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    @property
    def done(self) -> int:
        """Images finished."""
        return len(self.values["published"])

    def add(self, block: Tensor) -> None:
        """Append the columns [4, B] of the next images."""
        for name, column in zip(COLUMNS, block.tolist(), strict=True):
            self.values[name].extend(column)

    def mean(self, column: str) -> float:
        """Over the images."""
        return float(np.mean(self.values[column]))

    def standard_error(self, column: str) -> float:
        """Of the mean, over the images: what another sample of test images would change; Monte Carlo error included."""
        return float(np.std(self.values[column], ddof=1)) / math.sqrt(self.done)

    def facts(self, bits: Callable[[float], float] | None) -> dict[str, Any]:
        """For summary.json. bits: nats of an image as bits of a dimension, where these mean something."""
        forms = []
        for form in ("published", "pooled"):
            entry: dict[str, Any] = {
                "form": form,
                "nll": -self.mean(form),
                "standard_error": self.standard_error(form),
                "importance_samples": self.plan.importance_samples,
                "images": self.plan.images,
                "seed": self.plan.seed,
                "likelihood": self.likelihood,
            }
            if bits is not None:
                entry["bits_per_dimension"] = bits(entry["nll"])
            forms.append(entry)
        return {
            "negative_log_likelihood": forms,
            "miselbo": self.mean("elbo"),
            "miselbo_standard_error": self.standard_error("elbo"),
            "jensen_shannon_diversity": self.mean("diversity"),
            "jensen_shannon_diversity_standard_error": self.standard_error("diversity"),
        }

    def save(self, path: Path) -> None:
        """Write them to `path`, whole or not at all."""
        facts = {"likelihood": self.likelihood, "plan": asdict(self.plan), "images": self.plan.indices[: self.done]}
        write_text(path, json.dumps({**facts, **self.values}) + "\n")

    @classmethod
    def load(cls, path: Path, plan: EvaluationPlan, likelihood: str = VALID) -> ImageResults:
        """What was finished of this plan; nothing if there is no file, or one of another plan or a damaged one."""
        results = cls(plan, likelihood)
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            columns = {name: [float(value) for value in content[name]] for name in COLUMNS}
            fits = content["plan"] == asdict(plan) and content["images"] == plan.indices[: len(columns["published"])]
        except (OSError, ValueError, KeyError, TypeError):
            return results
        if fits and len({len(column) for column in columns.values()}) == 1:
            results.values = columns
        return results


def evaluate_images(
    model: ImageModel,
    test_images: Tensor,
    plan: EvaluationPlan,
    path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageResults:
    """Evaluate the images of a plan that `path` does not hold yet; it holds them all afterwards.

    test_images [N, C, H, W] as the likelihood takes them, on any device. The model is put into evaluation mode. `progress`
    is told how many images are done, and of how many. An interruption loses at most the block it falls into, and going
    on gives the numbers that an uninterrupted evaluation gives.

    Under a process group each rank evaluates whole blocks, the very ones of a single process, and all get all results; the
    first one writes the file.
    """
    model.eval()
    label = model.spec.likelihood_label
    results = ImageResults(plan, label) if path is None else ImageResults.load(path, plan, label)
    indices = plan.indices
    rank, n_ranks = ranks()
    while results.done < plan.images:
        begun = indices[results.done : results.done + n_ranks * plan.images_at_once]
        columns = torch.zeros(len(COLUMNS), len(begun), dtype=torch.float64)
        own = slice(rank * plan.images_at_once, (rank + 1) * plan.images_at_once)
        if block := begun[own]:
            images = test_images[torch.tensor(block, device=test_images.device)].to(model.device)
            columns[:, own] = evaluate_block(model, images, block, plan.importance_samples, plan.seed)
        results.add(sum_over_ranks(columns))
        if path is not None and rank == 0:
            results.save(path)
        if progress is not None:
            progress(results.done, plan.images)
    return results


def evaluate_block(model: ImageModel, images: Tensor, indices: list[int], importance_samples: int, seed: int) -> Tensor:
    """COLUMNS of some images [B, C, H, W], [4, B] float64 on the CPU. indices: of their noise."""
    A, B, L = model.spec.components, len(images), importance_samples
    streams = [np.random.Generator(np.random.Philox(key=[seed, NOISE_STREAM + index])) for index in indices]
    log_sums = torch.full((A, B), -math.inf, dtype=torch.float64, device=images.device)
    sums = torch.zeros(2, B, dtype=torch.float64, device=images.device)
    samples, components = _at_once(A, B, model.spec.width)
    with torch.no_grad():
        posterior, prior = model.posterior(images), model.prior()
        for first in range(0, L, samples):
            noise = _noise(posterior.gaussians, model.spec.dimensions, streams, min(samples, L - first))
            base = _latents(posterior.gaussians, noise)
            for part in torch.arange(A, device=images.device).split(components):
                drawn = posterior.complete(part, base.index_select(0, part), noise.index_select(0, part)[..., base.shape[3] :])
                log_w, entropy = _weights(model, prior, images, *drawn)
                log_sums[part] = torch.logaddexp(log_sums[part], torch.logsumexp(log_w, 1))
                sums[0] += log_w.sum((0, 1))
                sums[1] += entropy
    published = log_sums.mean(0) - math.log(L)
    pooled = torch.logsumexp(log_sums, 0) - math.log(A * L)
    diversity = (math.log(A) - sums[1] / (A * L)).clamp(0.0, math.log(A))
    return torch.stack([published, pooled, sums[0] / (A * L), diversity]).cpu()


def _noise(q: Gaussians, dimensions: int, streams: list[np.random.Generator], samples: int) -> Tensor:
    """[A, K, B, D]: of the next K samples of every component, for each image from its own stream."""
    A = len(q.mean)
    noise = np.stack([stream.standard_normal((samples, A, dimensions), dtype=np.float32) for stream in streams])
    return torch.from_numpy(noise).to(q.mean).movedim(0, 2).transpose(0, 1)


def _latents(q: Gaussians, noise: Tensor) -> Tensor:
    """[A, K, B, d] with these deviations from the means of all components."""
    return q.mean.unsqueeze(1) + torch.exp(0.5 * q.log_variance).unsqueeze(1) * noise[..., : q.mean.shape[2]]


def _weights(model: ImageModel, prior: Prior, images: Tensor, z: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """Log weights [S, K, B] of latents [S, K, B, D], and sum over them of the entropy of which component it was [B]."""
    log_q = log_q.double()
    entropy = component_entropy(log_q)
    log_mixture = torch.logsumexp(log_q, 2) - math.log(log_q.shape[2])
    log_joint = model.decode_log_likelihood(images, z).double() + prior.log_density(z.double())
    return log_joint - log_mixture, entropy


def _at_once(A: int, B: int, width: int) -> tuple[int, int]:
    """Samples of each component, and components, to work on together."""
    of_one = A * B * width
    samples = max(1, ENTRIES_AT_ONCE // (A * of_one))
    return samples, max(1, min(A, ENTRIES_AT_ONCE // (samples * of_one)))

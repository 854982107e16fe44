"""An image run: load it, evaluate it, draw from it. `image.fit` makes one.

The checkpoint holds the model, config.yaml everything else that makes it. The images stay where they are; a checksum of
their pixels tells whether they are those that the run was trained on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vbpi_mix import data_files
from vbpi_mix.errors import ConfigError
from vbpi_mix.image.config import KIND, RunConfig
from vbpi_mix.image.datasets import ImageData, load_images, load_labels
from vbpi_mix.image.evaluation import EvaluationPlan, ImageResults, affordable_images, evaluate_images
from vbpi_mix.image.feature_networks import FeatureNetwork, classifier_of
from vbpi_mix.image.figures import draw_latent_plane, picture_files
from vbpi_mix.image.formats import DatasetError
from vbpi_mix.image.frechet import FrechetResult, measure
from vbpi_mix.image.latent_plane import LatentPlane, latent_plane
from vbpi_mix.image.latents import Classification, classify
from vbpi_mix.image.model import ImageModel, build_model
from vbpi_mix.image.sampling import Panels, draw_panels
from vbpi_mix.image.sources import image_set
from vbpi_mix.parallel import ranks
from vbpi_mix.training.recorded_model import read_into
from vbpi_mix.training.reports import TrainingResult
from vbpi_mix.training.run_directory import RunDirectory

# Images of a block: the published batch, or fewer, so that a block is about a minute's work on one core.
PUBLISHED_BATCH = 100
SAMPLES_OF_A_BLOCK = 20_000
# Entries of summary.json that tell of the model that was evaluated, and not of a later one.
EVALUATED = (
    "negative_log_likelihood",
    "miselbo",
    "miselbo_standard_error",
    "jensen_shannon_diversity",
    "jensen_shannon_diversity_standard_error",
    "classification",
    "frechet_distance",
)
CountCallback = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ImageRun:
    """A run and its model, which is in evaluation mode.

    component_counts  [A], how many images each component was trained on
    result            of the training that made it here; None for a run that was loaded
    """

    directory: RunDirectory
    config: RunConfig
    model: ImageModel
    component_counts: Tensor
    result: TrainingResult | None = None

    @property
    def is_binary(self) -> bool:
        """Whether pixels are 0 or 1; else bits per dimension mean something."""
        return self.model.spec.likelihood == "bernoulli"

    @property
    def epochs(self) -> float:
        """Of all training so far; NaN for a run that was loaded."""
        return math.nan if self.result is None else self.result.iterations / self.config.training["validate_every"]

    def checksum(self) -> str:
        """SHA-256 of all parameters, by which results are known to be of this model."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def images(self, folder: Path | None = None) -> ImageData:
        """The data it was trained on; see `run_images`."""
        return run_images(self.config, folder)

    def plan(
        self,
        images: ImageData,
        *,
        importance_samples: int = 1000,
        count: int | None = None,
        max_decoder_samples: int | None = None,
        images_at_once: int | None = None,
        seed: int = 1,
    ) -> EvaluationPlan:
        """An evaluation on `count` test images (None: all), or no more than decoder samples allow, at A L an image."""
        if importance_samples < 1:
            raise ConfigError(f"{importance_samples} importance samples asked for: give at least 1")
        available, A = len(images.test), self.model.spec.components
        wanted = available if count is None else count
        return EvaluationPlan(
            importance_samples=importance_samples,
            images=affordable_images(wanted, A, importance_samples, max_decoder_samples),
            available=available,
            seed=seed,
            model=self.checksum(),
            images_at_once=self._images_at_once(importance_samples) if images_at_once is None else images_at_once,
        )

    def kept(self, plan: EvaluationPlan) -> Path:
        """The file in the run that holds the finished images of a plan."""
        return self.directory.path.absolute() / plan.file_name

    def evaluate(
        self,
        plan: EvaluationPlan | None = None,
        images: ImageData | None = None,
        *,
        device: str = "cpu",
        progress: CountCallback | None = None,
        **choices: Any,
    ) -> ImageResults:
        """The test likelihood by importance sampling, also written to summary.json.

        plan: by default `plan(images, **choices)`, as in run.evaluate(importance_samples=1000). images: found again by default.
        progress: told how many images are done, and of how many. Finished images are kept in the run, and an interrupted
        evaluation continues from them. Under a process group the ranks share the images, and the first writes.
        """
        images = self.images() if images is None else images
        plan = self.plan(images, **choices) if plan is None else plan
        model, first = self.model.to(check_device(device)), ranks()[0] == 0
        with self.directory if first else nullcontext():
            results = evaluate_images(model, images.held_out_input(images.test), plan, self.kept(plan), progress)
            if first:
                bits = None if self.is_binary else self.bits_per_dimension
                self.directory.update_summary({**results.facts(bits), "component_counts": self.component_counts.tolist()})
        return results

    def sample(
        self,
        count: int = 64,
        originals: int = 12,
        components: int = 10,
        *,
        seed: int = 1,
        device: str = "cpu",
        folder: Path | None = None,
        progress: CountCallback | None = None,
    ) -> Panels:
        """Images drawn from the model: `count` from the prior; for `originals` test images, one from each of at most
        `components` components, spread evenly, and one from a component drawn at random.
        """
        for name, value in (("count", count), ("originals", originals), ("components", components)):
            if value < 1:
                raise ConfigError(f"{name} {value}: give at least 1")
        if not 0 <= seed < 2**63:
            raise ConfigError(f"seed {seed}: give a whole number from 0 to 2^63 - 1")
        model, images = self.model.to(check_device(device)), self.images(folder)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(images.test), generator=generator)[:originals]
        shown = self._shown(components)
        return draw_panels(model, images.held_out_input(images.test[chosen]), count, shown, generator, progress)

    def _shown(self, components: int) -> tuple[int, ...]:
        """At most so many components, spread evenly."""
        A = self.model.spec.components
        return tuple(torch.linspace(0, A - 1, min(A, components)).round().long().tolist())

    def latent_plane(
        self, images: int = 1000, components: int = 10, *, seed: int = 1, folder: Path | None = None
    ) -> LatentPlane:
        """Test images, at most `images` of them, in the plane of the principal axes of the latents, each at the mean of one of
        at most `components` components. Without labels where they are not at hand. See `image.latent_plane`.
        """
        data = self.images(folder)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(data.test), generator=generator)[:images]
        try:
            labels = load_labels(data, folder or recorded_folder(self.config)).test[chosen.numpy()]
        except DatasetError:
            labels = None
        return latent_plane(self.model, data.held_out_input(data.test[chosen]), self._shown(components), labels, generator)

    def classify(
        self, *, repeats: int = 5, seed: int = 1, draws: int | None = None, folder: Path | None = None
    ) -> Classification:
        """How well a linear classifier tells labels from the latents; also written to summary.json. See `image.latents`."""
        found = classify_runs([self], repeats=repeats, seed=seed, draws=draws, folder=folder)
        with self.directory:
            self.directory.update_summary({"classification": found.facts(draws, seed)})
        return found

    def classifier(
        self, folder: Path | None = None, cache: Path | None = None, progress: CountCallback | None = None
    ) -> FeatureNetwork:
        """The classifier of the run's data, whose features `fid` compares by: kept in `cache`, by default the user's cache."""
        data = self.images(folder)
        kept = data_files.cache_folder() / "classifiers" if cache is None else cache
        return classifier_of(data, lambda: load_labels(data, folder or recorded_folder(self.config)), kept, progress)

    def fid(
        self,
        network: FeatureNetwork | None = None,
        *,
        samples: int | None = None,
        seed: int = 1,
        device: str = "cpu",
        folder: Path | None = None,
        progress: CountCallback | None = None,
    ) -> FrechetResult:
        """The Frechet distance of `samples` images of the model (None: as many as there are test images) from the test images,
        in the features of a network (None: `classifier()`); also written to summary.json. See `image.frechet`.
        """
        network = self.classifier(folder) if network is None else network
        model, data = self.model.to(check_device(device)), self.images(folder)
        found = measure(model, data, network, len(data.test) if samples is None else samples, seed, progress)
        with self.directory:
            self.directory.update_summary({"frechet_distance": found.facts()})
        return found

    def write_pictures(self, panels: Panels, plane: LatentPlane | None = None) -> list[str]:
        """Write samples.png, components.png, reconstructions.png and, of a plane, latents.png into the run; returns the names."""
        note = self.model.spec.likelihood_note
        remark = f" (trained with batch statistics: {note})" if note else ""
        spec = self.model.spec
        title = ", ".join(filter(None, [self.config.data["name"], f"A = {spec.components}", spec.parts_label]))
        drawn = picture_files(panels, title, remark)
        if plane is not None:
            drawn["latents.png"] = draw_latent_plane(plane, f"{title}: latents of test images")
        with self.directory:
            for name, content in drawn.items():
                self.directory.write_bytes(name, content)
        return list(drawn)

    def bits_per_dimension(self, nats: float) -> float:
        """Nats of one image as bits of one pixel and channel."""
        return nats / (self.model.spec.shape.pixels * math.log(2))

    def _images_at_once(self, importance_samples: int) -> int:
        """Where images share statistics the block is the published batch."""
        if not self.model.spec.valid_likelihood:
            return PUBLISHED_BATCH
        of_an_image = self.model.spec.components * importance_samples
        return max(1, min(PUBLISHED_BATCH, SAMPLES_OF_A_BLOCK // of_an_image))


def load(path: str | Path) -> ImageRun:
    """The run in a directory, its model on the CPU.

    Raises RunDirectoryError if it is not a run of images, CheckpointError if its checkpoint is missing, damaged or foreign.
    """
    directory = RunDirectory.open(path)
    config = RunConfig.read(directory)
    model = build_model(config.model)
    state = read_into(model, directory, KIND, also="component_counts")
    return ImageRun(directory, config, model.eval(), state["component_counts"])


def classify_runs(
    runs: Sequence[ImageRun], *, repeats: int = 5, seed: int = 1, draws: int | None = None, folder: Path | None = None
) -> Classification:
    """`ImageRun.classify` of one run, or of several that were trained apart as an ensemble. Nothing is written.

    ConfigError if the runs are of different images.
    """
    for run in runs[1:]:
        if run.config.data["sha256"] != runs[0].config.data["sha256"]:
            other = runs[0].directory.path
            raise ConfigError(f"{run.directory.path} is of other images than {other}: an ensemble needs the same")
    data = runs[0].images(folder)
    labels = load_labels(data, folder or recorded_folder(runs[0].config))
    return classify([run.model for run in runs], data, labels, repeats, seed, draws)


def run_images(config: RunConfig, folder: Path | None = None) -> ImageData:
    """The data of a run, found again: in `folder`, or where the run found them, or where they are found otherwise.

    DatasetError if they are not at hand, or are not those that the run was trained on.
    """
    recorded = config.data
    data = load_images(recorded["name"], recorded_folder(config) if folder is None else folder)
    if data.checksum() != recorded["sha256"]:
        raise DatasetError(
            f"the {data.name} images found here are not those that the run was trained on: name their folder with --data"
        )
    return data


def recorded_folder(config: RunConfig) -> Path | None:
    """The folder of the data files that a run was given, if it is still there."""
    given = config.data.get("folder")
    there = isinstance(given, str) and Path(given).is_dir() and not image_set(config.data["name"]).is_bundled
    return Path(str(given)) if there else None


def check_device(device: str) -> str:
    """The device, if it is there. ConfigError if not."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch finds no CUDA device here; leave it out, or install a CUDA build of torch"
        )
    return device

"""An image run as a whole: its data, model and problem put together from its configuration, and loaded again.

The checkpoint holds the model, config.yaml everything else that makes it. The images stay where they are; a checksum of
their pixels tells whether they are those that the run was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError, ConfigError, RunDirectoryError
from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.image.datasets import ImageData, load_images
from vbpi_mix.image.formats import DatasetError
from vbpi_mix.image.model import ImageModel, build_model
from vbpi_mix.image.sources import image_set
from vbpi_mix.image.spec import ModelSpec
from vbpi_mix.training.batch_problem import BatchProblem
from vbpi_mix.training.checkpoint import load_checkpoint
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.validation import hash_seed
from vbpi_mix_cli.config_files import check_config

KIND = "image"
# What config.yaml must hold to go on with a run (config_files.check_config).
CONFIG_PARTS: dict[str, dict[str, Any]] = {
    "data": {"name": str, "sha256": str},
    "model": {},
    "estimation": {
        "estimator": ("a2a", "s2a", "s2s"),
        "A": int,
        "S": int,
        "L": int,
        "phi_per": ("point", "batch"),
        "batch_size": int,
    },
    "execution": {"device": ("cpu", "cuda"), "precision": ("float32", "bf16"), "compile": (False, True)},
    "training": {},
}
# The stream of the start, apart from those of training (the seed itself) and of validations (t >= 1).
START_STREAM = -1


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run read from its directory; the model is on the CPU, in evaluation mode."""

    directory: RunDirectory
    config: Mapping[str, Any]
    model: ImageModel
    component_counts: Tensor

    @property
    def is_binary(self) -> bool:
        """Whether pixels are 0 or 1; else bits per dimension mean something."""
        return self.model.spec.likelihood == "bernoulli"

    def checksum(self) -> str:
        """SHA-256 of all parameters, by which results are known to be of this model."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def images(self, folder: Path | None) -> ImageData:
        """The data it was trained on; see `run_images`."""
        return run_images(self.config, folder)


def load_run(path: str | Path) -> LoadedRun:
    """The run in a directory.

    Raises RunDirectoryError if there is none of images, CheckpointError if its checkpoint is missing, damaged or foreign.
    """
    directory = RunDirectory.open(path)
    config = read_config(directory)
    state = load_checkpoint(directory.checkpoint, KIND).problem
    model = build_model(ModelSpec.from_dict(config["model"]))
    try:
        model.load_state_dict(state["model"])
        counts = state["component_counts"]
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{directory.checkpoint} does not fit the model of its config.yaml: {reason}") from error
    model.eval()
    return LoadedRun(directory, config, model, counts)


def read_config(directory: RunDirectory) -> dict[str, Any]:
    """The configuration of an image run. RunDirectoryError if the run is of something else or damaged."""
    config = directory.read_config()
    if config.get("command") != KIND:
        raise RunDirectoryError(f"{directory.path} is not a run of vbpi-mix image")
    check_config(directory, config, CONFIG_PARTS)
    return config


def run_images(config: Mapping[str, Any], folder: Path | None) -> ImageData:
    """The data of a run, found anew: in `folder`, or where the run found them, or where they are found otherwise.

    DatasetError if they are not at hand, or are others than those the run was trained on.
    """
    recorded = config["data"]
    given = recorded.get("folder")
    if folder is None and isinstance(given, str) and Path(given).is_dir() and not image_set(recorded["name"]).is_bundled:
        folder = Path(given)
    data = load_images(recorded["name"], folder)
    if data.checksum() != recorded["sha256"]:
        raise DatasetError(
            f"the {data.name} images found here are others than the run was trained on: name the folder of those with --data"
        )
    return data


def make_model(spec: ModelSpec, seed: int, device: str, *, compiled: bool, bfloat16: bool) -> ImageModel:
    """A fresh model on its device."""
    model = build_model(spec, torch.Generator().manual_seed(hash_seed(seed, START_STREAM))).to(device)
    model.accelerate(compiled=compiled, bfloat16=bfloat16)
    return model


def make_problem(model: ImageModel, data: ImageData, estimation: Mapping[str, Any], seed: int) -> BatchProblem:
    """What the trainer trains. ConfigError if A, S, L, estimator and batch size do not fit."""
    batches = ImageBatches(
        model,
        data.training_input(),
        data.held_out_input(data.validation),
        batch_size=estimation["batch_size"],
        seed=seed,
    )
    return BatchProblem(
        KIND,
        batches,
        estimator=Estimator.parse(estimation["estimator"]),
        sampled=estimation["S"],
        importance_samples=estimation["L"],
        phi_per=estimation["phi_per"],
    )


def check_device(device: str) -> str:
    """The device, if it is there. ConfigError if not."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch finds no CUDA device here; leave it out, or install a CUDA build of torch"
        )
    return device


def likelihood_note(model: ImageModel) -> str:
    """What is said beside every likelihood: nothing, or that it is none."""
    return "" if model.spec.valid_likelihood else model.spec.likelihood_label

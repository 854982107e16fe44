"""`vbpi-mix image fid`: how near images drawn from a run are to test images, in the features of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vbpi_mix.errors import ConfigError
from vbpi_mix_cli import image_options
from vbpi_mix_cli.numbers import Number

if TYPE_CHECKING:
    from vbpi_mix.image.feature_networks import FeatureNetwork
    from vbpi_mix.image.frechet import FrechetResult
    from vbpi_mix.image.run import ImageRun
    from vbpi_mix_cli.progress import CountProgress

EPILOG = """\b
Examples:
  vbpi-mix image fid digits.vbpi
  vbpi-mix image fid mnist.vbpi --samples 10000 --device cuda
  vbpi-mix image fid cifar10.vbpi --features pt_inception-2015-12-05-6726825d.pth
"""


@click.command("fid", epilog=EPILOG, short_help="Frechet distance of samples from test images.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--samples", type=Number("samples"), help="Images to draw.  [default: as many as there are test images]")
@click.option(
    "--features", type=click.Path(path_type=Path), metavar="FILE",
    help="Parameters of Inception-v3 (a state dict of torch) in place of the classifier.",
)
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@image_options.device
@click.option("--threads", type=Number("threads"), help="Threads on the CPU.  [default: all cores]")
@image_options.data
@image_options.quiet
def command(
    run: Path | None,
    samples: int | None,
    features: Path | None,
    seed: int,
    device: str,
    threads: int | None,
    data: Path | None,
    quiet: bool,
) -> None:
    """Draw images from RUN (by default the newest image run in or below this folder) and compare them with the test images:
    the Frechet distance of the features of a network (FID).

    The network is a classifier of the same data, trained at the first use and kept in the user's cache, or Inception-v3 with
    --features. Distances of other
    networks, or of other numbers of images, are other quantities; so that of as many training images is given beside it.
    Also written to the run's summary.json.
    """
    import torch

    from vbpi_mix.image.run import KIND, check_device, load
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.progress import CountProgress
    from vbpi_mix_cli.torchrun import check_one_process

    check_one_process("image fid")
    loaded = load(find_newest(command=KIND).path if run is None else run)
    loaded.directory.check_writable()
    check_device(device)
    torch.set_num_threads(threads or available_cores())
    with CountProgress("steps of the classifier", quiet) as progress:
        network = _network(loaded, features, data, progress)
    if features is not None:
        network.module.to(device)
    with CountProgress("pixels", quiet) as progress:
        found = loaded.fid(network, samples=samples, seed=seed, device=device, folder=data, progress=progress)
    click.echo("\n".join(_lines(found, loaded.model.spec.likelihood_note)))


def _network(loaded: ImageRun, features: Path | None, data: Path | None, progress: CountProgress) -> FeatureNetwork:
    """Inception of a file, or the classifier of the run's data."""
    if features is not None:
        from vbpi_mix.image.inception import read_inception

        return read_inception(features)
    if loaded.config.data["name"] == "cifar10":
        raise ConfigError("image fid of cifar10 needs --features: its labels are not read, so no classifier is trained on it")
    return loaded.classifier(data, progress=progress)


def _lines(found: FrechetResult, note: str) -> list[str]:
    """The result for people."""
    beside = f" (trained with batch statistics: {note})" if note else ""
    lines = [
        f"Frechet distance {found.distance:.3f}{beside}: {found.samples:,} samples against {found.test_images:,} test images, "
        f"features of {found.network.name}",
        f"of {found.training_images:,} training images in place of samples: {found.of_training_images:.3f}",
    ]
    if min(found.samples, found.test_images) <= found.network.size:
        lines.append(f"no more images than the {found.network.size} features: singular covariances, too large a distance")
    return lines

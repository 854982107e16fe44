"""`vbpi-mix image sample`: pictures drawn from an image run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vbpi_mix_cli import image_options
from vbpi_mix_cli.numbers import Number

EPILOG = """\b
Examples:
  vbpi-mix image sample digits.vbpi
  vbpi-mix image sample mnist.vbpi --count 100 --originals 16 --components 20
"""


@click.command("sample", epilog=EPILOG, short_help="Grids of samples and reconstructions, as PNG.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--count", type=Number("count"), default=64, show_default=True, help="Samples from the prior.")
@click.option(
    "--originals", type=Number("originals"), default=12, show_default=True,
    help="Test images to start the other grids from.",
)
@click.option("--components", type=Number("components"), default=10, show_default=True, help="Rows of components, at most.")
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@image_options.device
@click.option("--threads", type=Number("threads"), help="Threads on the CPU.  [default: all cores]")
@image_options.data
@image_options.quiet
def command(run: Path | None, threads: int | None, data: Path | None, quiet: bool, **choices: Any) -> None:
    """Draw images from RUN (by default the newest image run in or below this folder), pixel by pixel.

    Writes four pictures into the run. samples.png: latents from the prior. components.png: test images above, and below
    them, row by row, one draw from the decoder with the latent from one component at that image. reconstructions.png: the
    same with a component drawn at random for each image. latents.png: test images in the plane of the principal axes of the
    latents, by label (where labels are at hand) and by component.
    """
    import torch

    from vbpi_mix.image.run import KIND, load
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.console import shown_path
    from vbpi_mix_cli.progress import CountProgress
    from vbpi_mix_cli.torchrun import check_one_process

    check_one_process("image sample")
    loaded = load(find_newest(command=KIND).path if run is None else run)
    loaded.directory.check_writable()
    torch.set_num_threads(threads or available_cores())
    with CountProgress("pixels", quiet) as progress:
        panels = loaded.sample(folder=data, progress=progress, **choices)
    plane = loaded.latent_plane(components=choices["components"], seed=choices["seed"], folder=data)
    names = loaded.write_pictures(panels, plane)
    if plane.labels is None and not quiet:
        click.echo("no labels beside the images: latents.png shows components only", err=True)
    click.echo(f"wrote {', '.join(names)} in {shown_path(loaded.directory.path.absolute())}")

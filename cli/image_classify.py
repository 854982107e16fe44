"""`vbpi-mix image classify`: what the latents of an image run tell of labels."""

from __future__ import annotations

import math
from pathlib import Path

import click

from vbpi_mix_cli import image_options
from vbpi_mix_cli.numbers import Number

EPILOG = """\b
Examples:
  vbpi-mix image classify digits.vbpi
  vbpi-mix image classify mnist.vbpi --repeats 10 --data mnist
"""


@click.command("classify", epilog=EPILOG, short_help="Labels told from latents by a linear classifier.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--repeats", type=Number("repeats"), default=5, show_default=True, help="Fits, each with other training pixels.")
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@click.option("--threads", type=Number("threads"), help="Threads on the CPU.  [default: all cores]")
@image_options.data
def command(run: Path | None, repeats: int, seed: int, threads: int | None, data: Path | None) -> None:
    """Fit a linear support vector machine (C = 0.025) on the latents of RUN (by default the newest image run in or below this
    folder), and score it on the test images.

    Features are the means and standard deviations of all components. Labels of mnist and fashion_mnist are read from the
    published files beside the images. Also written to the run's summary.json.
    """
    import torch

    from vbpi_mix.image.run import KIND, load
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.torchrun import check_one_process

    check_one_process("image classify")
    loaded = load(find_newest(command=KIND).path if run is None else run)
    loaded.directory.check_writable()
    torch.set_num_threads(threads or available_cores())
    found = loaded.classify(repeats=repeats, seed=seed, folder=data)
    over = "" if math.isnan(found.over_repeats) else f", sd over {repeats} fits {100 * found.over_repeats:.2f}"
    A = loaded.model.spec.components
    click.echo(
        f"accuracy {100 * found.accuracy:.2f} % (se {100 * found.accuracy_error:.2f}{over}) of {found.test_images:,} test "
        f"images, from {found.features} numbers of A = {A} components"
    )
    click.echo(
        f"Jensen-Shannon diversity of the components {found.diversity:.3f} (se {found.diversity_error:.3f}) of at most "
        f"log A = {math.log(A):.3f}"
    )

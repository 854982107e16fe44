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
  vbpi-mix image classify one.vbpi --draws 8                      # latents as features: the baseline of a mixture
  vbpi-mix image classify seed1.vbpi seed2.vbpi seed3.vbpi        # an ensemble of models that were trained apart
"""


@click.command("classify", epilog=EPILOG, short_help="Labels told from latents by a linear classifier.")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option("--repeats", type=Number("repeats"), default=5, show_default=True, help="Fits, each with other training pixels.")
@click.option("--draws", type=Number("draws"), help="Take this many latents from q(z|x) as features.")
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@click.option("--threads", type=Number("threads"), help="Threads on the CPU.  [default: all cores]")
@image_options.data
def command(
    runs: tuple[Path, ...], repeats: int, draws: int | None, seed: int, threads: int | None, data: Path | None
) -> None:
    """Fit a linear support vector machine (C = 0.025) on the latents of RUN (by default the newest image run in or below this
    folder), and score it on the test images.

    Features are the means and standard deviations of all components, or --draws latents. Labels of mnist and fashion_mnist are
    read from the published files beside the images. Of one run the results are also written to its summary.json; of several,
    which are then an ensemble with their features side by side, they are printed only.
    """
    import torch

    from vbpi_mix.image.run import KIND, classify_runs, load
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.torchrun import check_one_process

    check_one_process("image classify")
    loaded = [load(place) for place in runs or (find_newest(command=KIND).path,)]
    torch.set_num_threads(threads or available_cores())
    if len(loaded) == 1:
        loaded[0].directory.check_writable()
        found = loaded[0].classify(repeats=repeats, seed=seed, draws=draws, folder=data)
    else:
        found = classify_runs(loaded, repeats=repeats, seed=seed, draws=draws, folder=data)
    over = "" if math.isnan(found.over_repeats) else f", sd over {repeats} fits {100 * found.over_repeats:.2f}"
    A = found.components
    click.echo(
        f"accuracy {100 * found.accuracy:.2f} % (se {100 * found.accuracy_error:.2f}{over}) of {found.test_images:,} test "
        f"images, from {found.features} numbers of {f'A = {A} components' if len(loaded) == 1 else f'{len(loaded)} models'}"
    )
    if not found.converged:
        click.echo("the classifier had not converged when it stopped: latents of very unequal size, or few that differ", err=True)
    click.echo(
        f"Jensen-Shannon diversity of the components {found.diversity:.3f} (se {found.diversity_error:.3f}) of at most "
        f"log {'A' if len(loaded) == 1 else A} = {math.log(A):.3f}"
    )

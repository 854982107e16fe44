"""`vbpi-mix image eval`: test likelihood of an image run by importance sampling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix_cli import image_options
from vbpi_mix_cli.numbers import Number

if TYPE_CHECKING:
    from vbpi_mix.image.datasets import ImageData
    from vbpi_mix.image.evaluation import EvaluationPlan, ImageResults
    from vbpi_mix.image.run import ImageRun

EPILOG = """\b
Examples:
  vbpi-mix image eval mnist.vbpi --importance-samples 1000
  vbpi-mix image eval mnist.vbpi --images 500
  vbpi-mix image eval mnist.vbpi --max-decoder-samples 2000000
"""


@click.command("eval", epilog=EPILOG, short_help="Test likelihood of a run by importance sampling.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--importance-samples", type=Number("importance_samples"), default=1000, show_default=True,
    help="Samples L of each component and image.",
)
@click.option("--images", "count", type=Number("images"), help="Test images, drawn at random.  [default: all]")
@click.option(
    "--max-decoder-samples", type=Number("max_decoder_samples"), help="Budget of decoder samples; each image takes A L."
)
@click.option(
    "--images-at-once",
    type=Number("images_at_once"),
    help="Images per block; finished blocks are kept.  [default: by A and L; 100 for runs of --paper-compat]",
)
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@image_options.device
@click.option("--threads", type=Number("threads"), help="Threads on the CPU.  [default: all cores]")
@image_options.data
@image_options.quiet
def command(run: Path | None, device: str, threads: int | None, data: Path | None, quiet: bool, **choices: Any) -> None:
    """Estimate the test likelihood of RUN (by default the newest image run in or below this folder).

    Two forms of the same draws, all A components in the denominator: `published`, the mean over components of the log of
    the mean weight, and `pooled`, the log of the mean over all. Finished images are kept in the run; after an
    interruption, run the same command again to continue. Writes both forms to the run's summary.json. Under torchrun the
    images are shared out over the processes.
    """
    import torch

    from vbpi_mix.image.run import KIND, check_device, load
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.torchrun import default_threads, process_group

    loaded = load(find_newest(command=KIND).path if run is None else run)
    torch.set_num_threads(threads or default_threads())
    with process_group(check_device(device)) as first:
        images = loaded.images(data)
        results = _evaluate(loaded, images, loaded.plan(images, **choices), device, quiet or not first)
    if first:
        click.echo("\n".join(_lines(loaded, results)))


def _evaluate(loaded: ImageRun, images: ImageData, plan: EvaluationPlan, device: str, quiet: bool) -> ImageResults:
    """The results of the plan; after an interruption, where they are kept."""
    from vbpi_mix_cli.console import shown_path
    from vbpi_mix_cli.progress import CountProgress

    if not quiet:
        of = f"{plan.images:,} of {plan.available:,}" if plan.images < plan.available else f"all {plan.available:,}"
        samples = loaded.model.spec.components * plan.importance_samples * plan.images
        total = f"{samples:,} decoder samples (--max-decoder-samples and --images make them fewer)"
        click.echo(f"{shown_path(loaded.directory.path.absolute())}: {of} test images, {total}", err=True)
    try:
        with CountProgress("images", quiet) as progress:
            return loaded.evaluate(plan, images, device=device, progress=progress)
    except KeyboardInterrupt:
        kept = shown_path(loaded.kept(plan))
        click.echo(f"finished images are kept in {kept}: run the same command again to continue", err=True)
        raise click.Abort from None


def _lines(loaded: ImageRun, results: ImageResults) -> list[str]:
    """The results for people."""
    note = loaded.model.spec.likelihood_note
    A, L, n = loaded.model.spec.components, results.plan.importance_samples, results.plan.images
    lines = []
    for form in ("published", "pooled"):
        nll, error = -results.mean(form), results.standard_error(form)
        line = f"NLL ({form} form{f'; {note}' if note else ''}): {nll:.3f} nats, se {error:.3f}"
        if not loaded.is_binary:
            bits, bits_error = loaded.bits_per_dimension(nll), loaded.bits_per_dimension(error)
            line += f"; {bits:.4f} bits per dimension, se {bits_error:.4f}"
        lines.append(f"{line}; {n:,} images, L = {L:,} of each of A = {A} components")
    name = f"MISELBO ({note})" if note else "MISELBO"
    lines.append(
        f"{name} {results.mean('elbo'):.3f} (se {results.standard_error('elbo'):.3f}); Jensen-Shannon diversity of the "
        f"components {results.mean('diversity'):.3f} of at most log A = {math.log(A):.3f}"
    )
    counts = loaded.component_counts
    if int(counts.sum()):
        lines.append(f"each component was trained on {int(counts.min()):,} to {int(counts.max()):,} images")
    return lines

"""`vbpi-mix image eval`: test likelihood of an image run by importance sampling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

    from vbpi_mix.image.evaluation import EvaluationPlan, ImageResults
    from vbpi_mix.image.model import ImageModel
    from vbpi_mix_cli.image_runs import LoadedRun

PUBLISHED_BATCH = 100
SAMPLES_OF_A_BLOCK = 20_000
# Entries of summary.json that tell of the model that was evaluated, and not of a later one.
EVALUATED = (
    "negative_log_likelihood",
    "miselbo",
    "miselbo_standard_error",
    "jensen_shannon_diversity",
    "jensen_shannon_diversity_standard_error",
)

EPILOG = """\b
Examples:
  vbpi-mix image eval mnist.vbpi --importance-samples 1000
  vbpi-mix image eval mnist.vbpi --images 500
  vbpi-mix image eval mnist.vbpi --max-decoder-samples 2000000
"""


@click.command("eval", epilog=EPILOG, short_help="Test likelihood of a run by importance sampling.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--importance-samples", default=1000, show_default=True, help="Samples L of each component and image.")
@click.option("--images", type=int, help="How many test images, drawn at random.  [default: all]")
@click.option(
    "--max-decoder-samples", type=int, help="Take no more images than this allows, at A L decoder samples each."
)
@click.option(
    "--images-at-once",
    type=int,
    help="Images of a block; finished blocks are kept.  [default: by A and L; 100 for runs of --paper-compat]",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=int, help="Threads on the CPU.  [default: all cores]")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the data files.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(run: Path | None, device: str, threads: int | None, data: Path | None, quiet: bool, **choices: Any) -> None:
    """Estimate the test likelihood of RUN (by default the newest image run in or below this folder).

    Two forms of the same draws, all A components in the denominator: `published`, the mean over components of the log of
    the mean weight, and `pooled`, the log of the mean over all. Finished images are kept in the run; after an
    interruption the same command goes on. Writes both forms to the run's summary.json. Under torchrun the images are shared
    out over the processes.
    """
    import torch

    from vbpi_mix.errors import ConfigError
    from vbpi_mix.image.evaluation import EvaluationPlan, affordable_images
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.image_runs import KIND, check_device, load_run
    from vbpi_mix_cli.torchrun import default_threads, process_group

    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: give at least 1")
    if choices["importance_samples"] < 1:
        raise ConfigError(f"--importance-samples {choices['importance_samples']}: give at least 1")
    place = find_newest(command=KIND).path if run is None else run
    loaded = load_run(place)
    torch.set_num_threads(threads or default_threads())
    with process_group(check_device(device)) as first:
        model = loaded.model.to(device)
        images = loaded.images(data)
        wanted = len(images.test) if choices["images"] is None else choices["images"]
        A, L = model.spec.components, choices["importance_samples"]
        plan = EvaluationPlan(
            importance_samples=L,
            images=affordable_images(wanted, A, L, choices["max_decoder_samples"]),
            available=len(images.test),
            seed=choices["seed"],
            model=loaded.checksum(),
            images_at_once=_images_at_once(model, L) if choices["images_at_once"] is None else choices["images_at_once"],
        )
        quiet = quiet or not first
        results = _evaluate(loaded, images.held_out_input(images.test), plan, quiet)
    if first:
        loaded.directory.update_summary(_summary(loaded, results, images.pixels))
        click.echo("\n".join(_lines(loaded, results, images.pixels)))


def _evaluate(loaded: LoadedRun, test_images: Tensor, plan: EvaluationPlan, quiet: bool) -> ImageResults:
    """The results of the plan, kept in the run as they come."""
    from vbpi_mix.image.evaluation import evaluate_images
    from vbpi_mix_cli.console import shown_path
    from vbpi_mix_cli.progress import CountProgress

    place = loaded.directory.path.absolute()
    kept = place / plan.file_name
    if not quiet:
        of = f"{plan.images:,} of {plan.available:,}" if plan.images < plan.available else f"all {plan.available:,}"
        samples = loaded.model.spec.components * plan.importance_samples * plan.images
        total = f"{samples:,} decoder samples (--max-decoder-samples and --images make them fewer)"
        click.echo(f"{shown_path(place)}: {of} test images, {total}", err=True)
    try:
        with CountProgress("images", quiet) as progress:
            return evaluate_images(loaded.model, test_images, plan, kept, progress)
    except KeyboardInterrupt:
        click.echo(f"finished images are kept in {shown_path(kept)}: the same command goes on", err=True)
        raise click.Abort from None


def _images_at_once(model: ImageModel, importance_samples: int) -> int:
    """A block of about a minute's work on one core. Where images share statistics the block is the published batch."""
    if not model.spec.valid_likelihood:
        return PUBLISHED_BATCH
    return max(1, min(PUBLISHED_BATCH, SAMPLES_OF_A_BLOCK // (model.spec.components * importance_samples)))


def _summary(loaded: LoadedRun, results: ImageResults, pixels: int) -> dict[str, Any]:
    """Entries of summary.json."""
    forms = []
    for form in ("published", "pooled"):
        entry: dict[str, Any] = {
            "form": form,
            "nll": -results.mean(form),
            "standard_error": results.standard_error(form),
            "importance_samples": results.plan.importance_samples,
            "images": results.plan.images,
            "seed": results.plan.seed,
            "likelihood": results.likelihood,
        }
        if not loaded.is_binary:
            entry["bits_per_dimension"] = entry["nll"] / (pixels * math.log(2))
        forms.append(entry)
    return {
        "negative_log_likelihood": forms,
        "miselbo": results.mean("elbo"),
        "miselbo_standard_error": results.standard_error("elbo"),
        "jensen_shannon_diversity": results.mean("diversity"),
        "jensen_shannon_diversity_standard_error": results.standard_error("diversity"),
        "component_counts": loaded.component_counts.tolist(),
    }


def _lines(loaded: LoadedRun, results: ImageResults, pixels: int) -> list[str]:
    """The results for people."""
    from vbpi_mix_cli.image_runs import likelihood_note

    note = likelihood_note(loaded.model)
    A, L, n = loaded.model.spec.components, results.plan.importance_samples, results.plan.images
    lines = []
    for form in ("published", "pooled"):
        nll, error = -results.mean(form), results.standard_error(form)
        line = f"NLL ({form} form{f'; {note}' if note else ''}): {nll:.3f} nats, se {error:.3f}"
        if not loaded.is_binary:
            scale = pixels * math.log(2)
            line += f"; {nll / scale:.4f} bits per dimension, se {error / scale:.4f}"
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

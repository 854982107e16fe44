"""`vbpi-mix cells evaluate`: test likelihood and scores of the latents of a run, or of several as an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix_cli.numbers import Number

if TYPE_CHECKING:
    from vbpi_mix.cells.run import CellRun, Evaluation

EPILOG = """\b
Examples:
  vbpi-mix cells evaluate cells.vbpi
  vbpi-mix cells evaluate cells.vbpi --labels cell_type --importance-samples 1000
  vbpi-mix cells evaluate seed1.vbpi seed2.vbpi seed3.vbpi     # an ensemble of models that were trained apart
"""


@click.command("evaluate", epilog=EPILOG, short_help="Test likelihood, classification and clusters of a run or an ensemble.")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option(
    "--importance-samples", type=Number("importance_samples"), default=100, show_default=True,
    help="Samples L of each component and cell.",
)
@click.option("--data", metavar="FILE", help="The file of the cells, if it has moved.")
@click.option("--labels", metavar="COLUMN", help="Column with the types of the cells.  [default: that of the training]")
@click.option("--likelihood-only", is_flag=True, help="Leave out what needs labels.")
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@click.option("--threads", type=Number("threads"), default=1, show_default=True, help="Threads on the CPU.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    runs: tuple[Path, ...], importance_samples: int, data: str | None, labels: str | None, likelihood_only: bool, seed: int,
    threads: int, quiet: bool,
) -> None:  # fmt: skip
    """Evaluate RUN (by default the newest run of cells in or below this folder) on its test cells.

    NLL by importance sampling; accuracy of a linear support vector machine on the latents; k-means clusters of the latents
    against the types of the cells. Of one run the results are also written to its summary.json; of several, which are then
    an ensemble of equal shares, they are printed only.
    """
    import torch

    from vbpi_mix.cells.config import KIND
    from vbpi_mix.cells.run import evaluate, load
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.progress import CountProgress

    torch.set_num_threads(threads)
    loaded = [load(place) for place in runs or (find_newest(command=KIND).path,)]
    cells = loaded[0].cells(data, labels)
    if not quiet and cells.labels_notice():
        click.echo(cells.labels_notice(), err=True)
    with CountProgress("cells", quiet) as progress:
        how: dict[str, Any] = {"importance_samples": importance_samples, "seed": seed, "likelihood_only": likelihood_only}
        if len(loaded) == 1:
            found = loaded[0].evaluate(cells, progress=progress, **how)
        else:
            found = evaluate(loaded, cells, progress=progress, **how)
    click.echo("\n".join(_lines(loaded, found)))


def _lines(loaded: list[CellRun], found: Evaluation) -> list[str]:
    """The results for people."""
    A, L, n = loaded[0].model.spec.components, found.held_out.importance_samples, len(found.held_out.pooled)
    of = f"A = {A} components" if len(loaded) == 1 else f"{len(loaded)} models as one"
    lines = []
    for form in ("published", "pooled"):
        nll, error = -found.held_out.mean(form), found.held_out.standard_error(form)
        lines.append(f"NLL ({form} form): {nll:.3f} nats, se {error:.3f}; {n:,} cells, L = {L:,} of each component, {of}")
    lines.append(f"MISELBO {found.held_out.mean('elbo'):.3f} (se {found.held_out.standard_error('elbo'):.3f})")
    if found.accuracy is not None:
        each = found.accuracy
        lines.append(f"SVM accuracy {each.mean:.3f} (sd {each.sd:.3f} over {each.repeats} random splits of the test cells)")
    if found.clusters is not None:
        lines.append(f"k-means, k = {found.clusters.k}: ARI {found.clusters.ari:.3f}, NMI {found.clusters.nmi:.3f}")
    return lines

"""`vbpi-mix eval`: marginal log-likelihood of a run by importance sampling."""

from __future__ import annotations

import math
from pathlib import Path

import click

RELIABLE_PARETO_K = 0.7
# Entries of summary.json that tell of the mixture that was evaluated, and not of a later one.
EVALUATED = (
    "marginal_log_likelihood",
    "elbo",
    "elbo_standard_error",
    "effective_sample_size",
    "normalised_perplexity",
    "pareto_k",
    "evaluation_seconds",
)

EPILOG = """\b
Examples:
  vbpi-mix eval --importance-samples 1000
  vbpi-mix eval DS1.vbpi --repeats 20
"""


@click.command("eval", epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--importance-samples", default=1000, show_default=True, help="Samples per component and estimate.")
@click.option("--repeats", default=100, show_default=True, help="Independent estimates.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=int, default=None, help="Threads of the kernels.  [default: all cores]")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    run: Path | None, importance_samples: int, repeats: int, seed: int, threads: int | None, quiet: bool
) -> None:
    """Estimate the marginal log-likelihood of RUN (by default the newest fit in or below this folder).

    Two forms of the same draws: `published`, the mean over components of the log of the mean importance weight, and
    `pooled`, the log of the mean over all. Pareto k is the shape of the tail of the last repeat's weights: up to 0.7 the
    estimates can be relied on. Writes all to the run's summary.json.
    """
    import time

    import torch

    from vbpi_mix.evaluation import evaluate
    from vbpi_mix.pareto import normalised_perplexity, pareto_k
    from vbpi_mix.training.provenance import available_cores, use_threads
    from vbpi_mix.training.run_directory import RunDirectory, find_newest
    from vbpi_mix_cli.console import describe_elbo
    from vbpi_mix_cli.phylo_runs import load_run
    from vbpi_mix_cli.progress import CountProgress

    directory = find_newest(command="fit") if run is None else RunDirectory.open(run)
    if run is None and not quiet:
        click.echo(f"newest run: {directory.path}", err=True)
    loaded = load_run(directory.path)
    use_threads(threads or available_cores(), torch_threads=1)
    started = time.perf_counter()
    with CountProgress("eval", quiet) as progress:
        result = evaluate(
            loaded.mixture,
            loaded.target,
            importance_samples=importance_samples,
            repeats=repeats,
            generator=torch.Generator().manual_seed(seed),
            progress=progress,
        )
    seconds = time.perf_counter() - started
    weights = result.log_weights.flatten().numpy()
    tail = pareto_k(weights)
    directory.update_summary(
        {
            "marginal_log_likelihood": [
                {
                    "form": estimate.form,
                    "mean": estimate.mean,
                    "sd": None if repeats == 1 else estimate.sd,
                    "importance_samples": estimate.importance_samples,
                    "repeats": estimate.repeats,
                }
                for estimate in result.estimates
            ],
            "elbo": result.elbo,
            "elbo_standard_error": result.elbo_standard_error,
            "effective_sample_size": result.effective_sample_size,
            "normalised_perplexity": normalised_perplexity(weights),
            "pareto_k": tail if math.isfinite(tail) else None,
            "evaluation_seconds": seconds,
        }
    )
    for estimate in result.estimates:
        click.echo(
            f"marginal log-likelihood ({estimate.form}): {estimate.mean:.2f}, sd {estimate.sd:.2f} over "
            f"{repeats} x {importance_samples} samples"
        )
    click.echo(f"effective sample size {result.effective_sample_size:.0f} of {weights.size:,}{_describe_tail(tail)}")
    click.echo(f"{describe_elbo(result.elbo, result.elbo_standard_error)}, {seconds:.1f} s")


def _describe_tail(k: float) -> str:
    """Pareto k in words; nothing if there were too few draws for it."""
    if math.isnan(k):
        return ""
    warning = f": above {RELIABLE_PARETO_K}, the estimates may be off; train longer" if k > RELIABLE_PARETO_K else ""
    return f", Pareto k {k:.2f}{warning}"

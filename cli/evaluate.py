"""`vbpi-mix eval`: marginal log-likelihood of a run by importance sampling."""

from __future__ import annotations

from pathlib import Path

import click

from vbpi_mix_cli.numbers import Number

RELIABLE_PARETO_K = 0.7

EPILOG = """\b
Examples:
  vbpi-mix eval --importance-samples 1000
  vbpi-mix eval DS1.vbpi --repeats 20
"""


@click.command("eval", epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--importance-samples", type=Number("importance_samples"), default=1000, show_default=True,
    help="Samples per component and estimate.",
)
@click.option("--repeats", type=Number("repeats"), default=100, show_default=True, help="Independent estimates.")
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@click.option("--threads", type=Number("threads"), default=None, help="Threads of the kernels.  [default: all cores]")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    run: Path | None, importance_samples: int, repeats: int, seed: int, threads: int | None, quiet: bool
) -> None:
    """Estimate the marginal log-likelihood of RUN (by default the newest fit in or below this folder).

    Two forms of the same draws: `published`, the mean over components of the log of the mean importance weight, and
    `pooled`, the log of the mean over all. Pareto k is the shape of the tail of the last repeat's weights: up to 0.7 the
    estimates can be relied on. Writes all to the run's summary.json. Under torchrun its processes share the work.
    """
    from vbpi_mix.phylo.run import load
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.compiling import compilation_shown
    from vbpi_mix_cli.console import describe_elbo
    from vbpi_mix_cli.progress import CountProgress

    place = find_newest(command="fit").path if run is None else run
    if run is None and not quiet:
        click.echo(f"newest run: {place}", err=True)
    loaded = load(place)
    with CountProgress("eval", quiet) as progress, compilation_shown(quiet, progress.close):
        found = loaded.evaluate(importance_samples, repeats, seed=seed, threads=threads, progress=progress)
    facts = loaded.summary["evaluation"]
    for estimate in found.estimates:
        click.echo(
            f"marginal log-likelihood ({estimate.form}): {estimate.mean:.2f}, sd {estimate.sd:.2f} over "
            f"{repeats} x {importance_samples} samples"
        )
    click.echo(f"this is of {loaded.describe_target()}")
    drawn = found.log_weights.numel()
    click.echo(f"effective sample size {found.effective_sample_size:.0f} of {drawn:,}{_describe_tail(facts['pareto_k'])}")
    click.echo(f"{describe_elbo(found.elbo, found.elbo_standard_error)}, {facts['seconds']:.1f} s")


def _describe_tail(k: float | None) -> str:
    """Pareto k in words; nothing if there were too few draws for it."""
    if k is None:
        return ""
    warning = f": above {RELIABLE_PARETO_K}, the estimates may be off; train longer" if k > RELIABLE_PARETO_K else ""
    return f", Pareto k {k:.2f}{warning}"

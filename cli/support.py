"""`vbpi-mix support`: make a tree sample from an alignment, to build a support."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.phylo.config import FitConfig
from vbpi_mix_cli.config_options import config_options
from vbpi_mix_cli.fit_options import SPECIAL, TARGET
from vbpi_mix_cli.numbers import Number

if TYPE_CHECKING:
    from vbpi_mix.phylo.data.alignment import Alignment

_EPILOG = """\b
Examples:
  vbpi-mix support DS1.nex
  vbpi-mix support primates.fasta --seconds 20 --out primates.trprobs
  vbpi-mix support DS1 --trees-from mrbayes --chains 4

The sampler (mcmc) ends when its chains agree or when --seconds are over, whichever is first; how far it
comes in that time depends on the machine. With --generations it gives the same trees for the same seed,
whatever the machine's speed and the number of threads."""


@click.command("support", epilog=_EPILOG, short_help="Make a tree sample from an alignment.")
@click.argument("alignment", metavar="ALIGNMENT")
@click.option(
    "--trees-from",
    "source",
    type=click.Choice(["auto", "mcmc", "mrbayes", "iqtree"]),
    default="auto",
    show_default=True,
    help="Built-in sampler (mcmc, the choice of auto), or an installed program.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write.  [default: ALIGNMENT's name.trprobs, here]"
)
@click.option("--seconds", type=Number("seconds"), help="Time to sample.  [default: 60]")
@click.option("--generations", type=Number("generations"), help="Generations of each chain, instead of --seconds.")
@click.option(
    "--chains", type=Number("chains"), default=2, show_default=True, help="Replicate chains, started independently."
)
@click.option(
    "--asdsf",
    type=Number("asdsf"),
    default=0.01,
    show_default=True,
    help="Chains agree when the average standard deviation of their split frequencies is at most this.",
)
@config_options(FitConfig, SPECIAL, only=TARGET)
@click.option("--seed", type=Number("seed"), default=0, show_default=True, help="Seed of all random numbers.")
@click.option("--threads", type=Number("threads"), help="Threads.  [default: all cores]")
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--offline", is_flag=True, help="Never download a benchmark (VBPI_MIX_OFFLINE=1 does the same).")
def command(
    alignment: str,
    out: Path | None,
    force: bool,
    quiet: bool,
    offline: bool,
    threads: int | None,
    **options: Any,
) -> None:
    """Make a tree sample from ALIGNMENT (a file, or a benchmark such as DS1) and write it as a .trprobs file.

    A fit can only find what this sample holds: see `vbpi-mix fit --trees FILE`. Under torchrun its processes share the work:
    have as many chains as processes, or a multiple.
    """
    from vbpi_mix.files import check_free
    from vbpi_mix.phylo.data.benchmarks import find_benchmark
    from vbpi_mix.phylo.inputs import program_parts, read_fitted
    from vbpi_mix.phylo.problem import rough_parameters
    from vbpi_mix.phylo.sampling.sources import check_source, describe_source, obtain_tree_sample, write_trprobs
    from vbpi_mix.training.provenance import available_cores
    from vbpi_mix_cli.fit_progress import FitProgress

    path = find_benchmark(alignment, offline=offline) or Path(alignment)
    place = out or Path(path.name.removesuffix(".gz")).with_suffix(".trprobs")
    check_free([place], force)
    of_target = {name: options.pop(name) for name in TARGET}
    config = FitConfig.of(**of_target)
    with FitProgress(quiet) as progress:
        read, fitted = read_fitted(path, config, progress)
        check_source(fitted.posterior, options["source"], options["chains"])
        theta = rough_parameters(fitted.posterior, fitted.parts, options["seed"])
        sample, facts = obtain_tree_sample(
            read,
            posterior=fitted.posterior.at(theta),
            parts=program_parts(read, fitted),
            threads=threads or available_cores(),
            progress=progress,
            **options,
        )
    remark = describe_source(facts)
    write_trprobs(sample, place, remark)
    click.echo("\n".join(_summary(read, sample.children, facts, remark, place)))


def _summary(read: Alignment, children: Any, facts: dict[str, Any], remark: str, place: Path) -> list[str]:
    from vbpi_mix.phylo.sbn.support import build_support

    support = build_support(children)
    lines = [
        f"trees from    {remark}",
        f"support       {support.n_params:,} elements ({support.n_splits:,} splits) of "
        f"{len(children):,} topologies, {facts['trees']:,} trees, {len(read.taxa)} taxa",
        f"took          {facts['seconds']:.1f} s",
        f"written to    {place}",
    ]
    if facts.get("agreement") is not None:
        share = facts["agreement"]
        lines.insert(2, f"agreement     {share:.1%} of each chain's trees lie inside the support of the others")
    if facts.get("weight_error") is not None:
        error, new = facts["weight_error"], facts["new_mass"]
        lines[-2:-2] = [
            f"weights       the standard error of the frequency of a split or subsplit is at most {error:.3f}",
            f"new mass      {new:.2%} of each part of the chains lies outside the support of all other parts",
        ]
    return lines

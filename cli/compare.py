"""`vbpi-mix compare`: a run or a tree sample against tree samples or another run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from vbpi_mix.files import check_free, write_all
from vbpi_mix_cli.numbers import Number
from vbpi_mix_cli.options import burn_in

if TYPE_CHECKING:
    from vbpi_mix.phylo.assess.comparison import Comparison

_EPILOG = """\b
Examples:
  vbpi-mix compare runs/DS1 'golden/rep_*.trprobs.gz' --json -
  vbpi-mix compare runs/DS1 primates.run1.t primates.run2.t --burn-in 0.25
  vbpi-mix compare runs/first runs/second --plot splits
  vbpi-mix compare run1.trprobs run2.trprobs --table splits.csv

A pattern in quotes is one sample, its files averaged. What each figure means: docs/compare.md."""


@click.command("compare", epilog=_EPILOG)
@click.argument("run", metavar="RUN")
@click.argument("samples", nargs=-1, required=True, metavar="SAMPLE...")
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    help="Write the figures as JSON; '-' prints them instead of the table.",
)
@click.option("--table", "table_file", metavar="FILE", help="Write the frequency of every split as CSV.")
@click.option("--plot", metavar="PREFIX", help="Draw split frequencies to PREFIX.png and PREFIX.svg.")
@click.option(
    "--alignment", metavar="FILE", help="Where two samples are compared: the alignment, for its taxa."
)
@click.option(
    "--burn-in",
    default="0",
    callback=burn_in,
    metavar="N",
    help="Drop N trees, or this fraction, of each file.",
)
@click.option(
    "--draws", default=100_000, show_default=True, type=Number("draws"), help="Topologies drawn from a run."
)
@click.option("--seed", default=0, show_default=True, type=Number("seed"), help="Seed of all draws.")
@click.option("--prune", is_flag=True, help="Leave out of the trees the taxa that the run or the alignment lacks.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(
    run: str,
    samples: tuple[str, ...],
    json_file: str | None,
    table_file: str | None,
    plot: str | None,
    alignment: str | None,
    burn_in: float | int,
    draws: int,
    seed: int,
    prune: bool,
    force: bool,
) -> None:
    """Compare a RUN with tree samples: KL divergence, split frequencies, credible sets.

    RUN is the folder of a run, or a tree sample. The files of all SAMPLEs are averaged as one sample, each
    weighing the same; a single SAMPLE may be a run. The divergence is KL(SAMPLE || RUN).
    """
    from vbpi_mix.phylo.compare import compare
    from vbpi_mix.phylo.report.comparison import comparison_csv, comparison_text

    plot_files = [] if plot is None else [f"{plot}.png", f"{plot}.svg"]
    check_free([json_file if json_file != "-" else None, table_file, *plot_files], force)
    result = compare(
        run, *samples, alignment=alignment, burn_in=burn_in, draws=draws, seed=seed, prune=prune,
        progress=lambda note: click.echo(note.text, err=True),
    )  # fmt: skip
    figures = json.dumps(result.as_dict(), indent=2) + "\n"
    contents: dict[str, bytes] = {}
    if json_file not in (None, "-"):
        contents[str(json_file)] = figures.encode()
    if table_file is not None:
        contents[table_file] = comparison_csv(result).encode()
    if plot is not None:
        contents |= dict(zip(plot_files, _plots(result), strict=True))
    write_all(contents)
    click.echo(figures if json_file == "-" else comparison_text(result), nl=json_file != "-")


def _plots(result: Comparison) -> list[bytes]:
    from vbpi_mix.phylo.report.figures import split_scatter

    caption = f"ASDSF {result.asdsf:.4f}, largest difference {result.max_split_difference:.4f}"
    first, second = result.table.frequencies
    drawn = split_scatter(first, second, result.first.name, result.second.name, caption)
    return [drawn["png"], drawn["svg"]]

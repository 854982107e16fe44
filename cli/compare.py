"""`vbpi-mix compare`: a run or a tree sample against tree samples or another run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.errors import ConfigError
from vbpi_mix.files import check_free, write_whole
from vbpi_mix_cli import options

if TYPE_CHECKING:
    from vbpi_mix.phylo.assess.comparison import Comparison, TopologyDistribution

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
    callback=options.burn_in,
    metavar="N",
    help="Drop N trees, or this fraction, of each file.",
)
@click.option(
    "--draws", default=100_000, show_default=True, type=click.IntRange(1), help="Topologies drawn from a run."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of those draws.")
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
    force: bool,
) -> None:
    """Compare a RUN with tree samples: KL divergence, split frequencies, credible sets.

    RUN is the folder of a run, or a tree sample. The files of all SAMPLEs are averaged as one sample, each
    weighing the same; a single SAMPLE may be a run. The divergence is KL(SAMPLE || RUN).
    """
    from vbpi_mix.phylo.assess.comparison import compare

    check_free([json_file if json_file != "-" else None, table_file, *_plot_files(plot)], force)
    first, second = _read_sides(run, samples, alignment, burn_in, draws, seed)
    result = compare(first, second)
    contents: dict[str, bytes] = {}
    if json_file not in (None, "-"):
        contents[str(json_file)] = _json(result).encode()
    if table_file is not None:
        contents[table_file] = _csv(result).encode()
    if plot is not None:
        contents |= dict(zip(_plot_files(plot), _plots(result), strict=True))
    for name, content in contents.items():
        write_whole(name, content)
    click.echo(_json(result) if json_file == "-" else _text(result), nl=json_file != "-")


def _read_sides(
    run: str, samples: tuple[str, ...], alignment: str | None, burn_in: float | int, draws: int, seed: int
) -> tuple[TopologyDistribution, TopologyDistribution]:
    from vbpi_mix.phylo.assess.comparison import of_mixture

    places = [run, samples[0]]
    runs = [_load(place) for place in places]
    wrong = [sample for sample in samples[1:] if Path(sample).is_dir()]
    if wrong or (runs[1] is not None and len(samples) > 1):
        raise ConfigError(
            f"{(wrong or samples)[0]}: a folder can only be compared as the one SAMPLE; give it alone"
        )
    loaded = next((each for each in runs if each is not None), None)
    patterns = [[run], list(samples)]
    taxa = _taxa(loaded, alignment, run)
    sides = []
    for place, each, names in zip(places, runs, patterns, strict=True):
        if each is not None:
            sides.append(of_mixture(each.mixture, tuple(each.taxa), place, draws, seed))
        else:
            sides.append(_read_sample(names, taxa, burn_in, None if loaded or alignment else run))
    return sides[0], sides[1]


def _load(place: str) -> Any:
    """The run at a folder; None if the path is no folder, so that it must be a tree sample."""
    from vbpi_mix.training.run_directory import is_run

    if not Path(place).is_dir():
        return None
    if not is_run(place):
        raise ConfigError(
            f"{place} is a folder but no run of vbpi-mix; name a run, or the tree files themselves"
        )
    from vbpi_mix_cli.phylo_runs import load_run

    return load_run(place)


def _taxa(loaded: Any, alignment: str | None, run: str) -> tuple[str, ...]:
    """The names that number the taxa: of the run, else of the alignment, else of the first tree file."""
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.data.benchmarks import find_benchmark
    from vbpi_mix.phylo.trees.files import read_tree_taxa
    from vbpi_mix.phylo.trees.sample import expand_paths

    if loaded is not None:
        if alignment is not None:
            raise ConfigError("--alignment is for two samples; a run knows its own alignment")
        return tuple(loaded.taxa)
    if alignment is not None:
        return read_alignment(find_benchmark(alignment) or alignment).taxa
    return read_tree_taxa(expand_paths([run])[0])


def _read_sample(
    patterns: list[str], taxa: tuple[str, ...], burn_in: float | int, taxa_from: str | None
) -> TopologyDistribution:
    from vbpi_mix.errors import TreeError
    from vbpi_mix.phylo.assess.comparison import of_sample
    from vbpi_mix.phylo.trees.sample import expand_paths, read_tree_sample

    files = expand_paths(patterns)
    name = patterns[0] if len(patterns) == 1 else f"{patterns[0]} and {len(patterns) - 1} more"
    try:
        return of_sample(read_tree_sample(files, taxa, burn_in=burn_in), name)
    except TreeError as error:
        if taxa_from is None or "not those of the alignment" not in str(error):
            raise
        text = str(error).replace("the alignment", taxa_from)
        raise TreeError(f"{text} (give --alignment if that is the one that is wrong)") from None


def _plot_files(plot: str | None) -> list[str]:
    return [] if plot is None else [f"{plot}.png", f"{plot}.svg"]


def _json(result: Comparison) -> str:
    return json.dumps(result.as_dict(), indent=2) + "\n"


def _csv(result: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["members", "size", "first", "second", "difference"])
    for members, first, second in result.rows():
        numbers = [f"{value:.6f}" for value in (first, second, first - second)]
        writer.writerow([" | ".join(members), len(members), *numbers])
    return text.getvalue()


def _plots(result: Comparison) -> list[bytes]:
    from vbpi_mix.phylo.report.figures import split_scatter

    caption = f"ASDSF {result.asdsf:.4f}, largest difference {result.max_split_difference:.4f}"
    first, second = result.table.frequencies
    drawn = split_scatter(first, second, result.first.name, result.second.name, caption)
    return [drawn["png"], drawn["svg"]]


def _text(result: Comparison) -> str:
    """The table that is printed."""
    figures = result.as_dict()
    sides = [figures["first"], figures["second"]]
    lines = [
        f"first   {sides[0]['name']}  ({_what(sides[0])})",
        f"second  {sides[1]['name']}  ({_what(sides[1])})",
        "",
    ]
    lines.append(f"{'':<28}{'first':>12}{'second':>12}")
    for label, key in (
        ("topologies for 50%", "topologies_for_50"),
        ("topologies for 95%", "topologies_for_95"),
        ("splits", "splits"),
    ):
        cells = [("~" if side.get(f"{key}_estimated") else "") + f"{side[key]:,}" for side in sides]
        lines.append(f"{label:<28}{cells[0]:>12}{cells[1]:>12}")
    kl = "none: no topology in common" if figures["kl"] is None else f"{figures['kl']:.4f}"
    error = f" (standard error {figures['kl_standard_error']:.4f})" if sides[1]["draws"] else ""
    lines += [
        "",
        f"{'KL(second || first)':<28}{kl}{error}",
        f"{'mass outside the support':<28}{figures['mass_outside_support']:.6f}",
        f"{'ASDSF':<28}{figures['asdsf']:.5f} (of {figures['asdsf_splits']} splits at 0.1 or more in either)",
        f"{'largest split difference':<28}{figures['max_split_difference']:.5f}",
    ]
    if figures["max_split_difference"] > 0:
        first, second = figures["max_split_frequencies"]
        lines.append(f"{'':<28}{first:.4f} and {second:.4f}: {_some(figures['max_split'])}")
    return "\n".join(lines)


def _what(side: dict[str, Any]) -> str:
    if side["draws"]:
        return f"{side['what']}; {side['topologies']:,} topologies in {side['draws']:,} draws"
    return f"{side['what']}, {side['topologies']:,} topologies"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")

"""`vbpi-mix export`: a run as files for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from vbpi_mix_cli.numbers import Number

_EPILOG = """\b
Examples:
  vbpi-mix export DS1.vbpi
  vbpi-mix export DS1.vbpi --outgroup Latimeria_chalumnae --trees 5000
  vbpi-mix export DS1.vbpi --midpoint --format beast --out for-beast

What each file and number means: docs/files.md."""


@click.command("export", epilog=_EPILOG, short_help="Write a run's trees and parameters for other programs.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--outgroup", metavar="A,B", help="Root trees on the edge of these taxa.")
@click.option("--midpoint", is_flag=True, help="Root trees halfway between the taxa that are farthest apart.")
@click.option("--trees", default=1000, show_default=True, type=Number("trees"), help="Trees in the sample.")
@click.option(
    "--format",
    "form",
    default="mrbayes",
    show_default=True,
    type=click.Choice(["mrbayes", "beast", "newick", "nexml"]),
    help="Whose files the sample, the trace and the trees are like.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder, made if there is none.  [default: beside RUN]")
@click.option("--threads", type=Number("threads"), help="Threads of the kernels.  [default: all cores]")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(
    run: Path | None,
    outgroup: str | None,
    midpoint: bool,
    trees: int,
    form: str,
    out: Path | None,
    threads: int | None,
    force: bool,
) -> None:
    """Write RUN (by default the newest fit in or below this folder) as files for MrBayes, BEAST, FigTree and others.

    NAME.t and NAME.p (sample of trees and its trace), NAME.con.tre (consensus), NAME.map.tre (most probable tree),
    NAME.trprobs, NAME.splits.csv and NAME.parameters.csv; all are written, or none.
    """
    from vbpi_mix.phylo.run import load
    from vbpi_mix.training.provenance import available_cores, use_threads
    from vbpi_mix.training.run_directory import find_newest

    place = find_newest(command="fit").path if run is None else run
    if run is None:
        click.echo(f"newest run: {place}", err=True)
    use_threads(threads or available_cores(), torch_threads=1)
    done = load(place).export(
        out, outgroup=outgroup, midpoint=midpoint, trees=trees, form=form, force=force
    )
    what = {
        "weighted": "resampled by their importance weights",
        "fit": "the fit's own, as its weights cannot be relied on",
    }
    click.echo(f"{done.trees:,} trees, {what[done.source]}")
    for remark in done.remarks:
        click.echo(remark)
    names = ", ".join(path.name for path in done.paths)
    click.echo(f"written to {done.paths[0].parent}: {names}")

"""`vbpi-mix report`: the page of a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

EPILOG = """\b
Examples:
  vbpi-mix report DS1.vbpi
  vbpi-mix report DS1.vbpi --midpoint --out DS1.html --tree DS1.svg
"""


@click.command("report", epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--outgroup", metavar="TAXA", help="Draw the tree rooted beside these taxa, separated by commas.")
@click.option("--midpoint", is_flag=True, help="Draw the tree rooted at its midpoint.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Where to write it.  [default: report.html of the run]")
@click.option("--tree", type=click.Path(path_type=Path), metavar="FILE", help="Also draw the tree alone, as SVG, into this file.")
@click.option("--force", is_flag=True, help="Replace the files that --out and --tree name.")
@click.option("--quiet", is_flag=True, help="Print only where it is.")
def command(
    run: Path | None, outgroup: str | None, midpoint: bool, out: Path | None, tree: Path | None, force: bool, quiet: bool
) -> None:
    """Write RUN (by default the newest fit in or below this folder) as a page: one file of HTML that needs nothing else.

    It has the verdict, the consensus tree, how certain the topology is, the evidence, densities of the parameters, and how the
    fit was made. `fit` leaves one in its run; this makes it again, with the tree rooted as asked.
    """
    from vbpi_mix.files import check_free, check_writable, write_all
    from vbpi_mix.phylo.pages import REPORT
    from vbpi_mix.phylo.replicates import load_any
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.console import shown_path

    check_free([out, tree], force)
    for each in (out, tree):
        if each is not None:
            check_writable(each.absolute().parent)
    place = find_newest(command="fit").path if run is None else run
    if run is None and not quiet:
        click.echo(f"newest run: {place}", err=True)
    loaded = load_any(place)
    if out is None:
        check_writable(loaded.path)
    files = {place / REPORT if out is None else out: loaded.report(outgroup, midpoint)}
    if tree is not None:
        files[tree] = loaded.tree_picture(outgroup, midpoint)
    with loaded.directory if out is None else nullcontext():
        write_all({str(target): content for target, content in files.items()})
        for target in files:
            click.echo(f"wrote {shown_path(target.absolute())}")

"""`vbpi-mix draw`: the consensus tree of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  vbpi-mix draw DS1.vbpi --out tree.pdf
  vbpi-mix draw DS1.vbpi --out tree.png --midpoint --by matplotlib
"""


@click.command("draw", epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Ends in .pdf, .png or .svg.")
@click.option("--outgroup", metavar="TAXA", help="Root the tree beside these taxa, separated by commas.")
@click.option("--midpoint", is_flag=True, help="Root the tree at its midpoint.")
@click.option("--by", type=click.Choice(["ete3", "matplotlib"]), help="Who draws.  [default: ete3 if it is installed]")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(run: Path | None, out: Path, outgroup: str | None, midpoint: bool, by: str | None, force: bool) -> None:
    """Draw the consensus tree of RUN (by default the newest fit in or below this folder).

    Branches are as long as their means, with a bar for scale; the probability of each split stands at its edge. ETE 3, an extra
    (pip install 'vbpi-mix[ete3]', Python below 3.13), draws without a screen.
    """
    from vbpi_mix.phylo.replicates import load_any
    from vbpi_mix.phylo.report.tree_drawing import check_picture
    from vbpi_mix.training.run_directory import find_newest
    from vbpi_mix_cli.console import shown_path

    check_picture(out, by, force)
    place = find_newest(command="fit").path if run is None else run
    if run is None:
        click.echo(f"newest run: {place}", err=True)
    done = load_any(place).draw(out, outgroup, midpoint, by=by, force=force)
    for remark in done.remarks:
        click.echo(remark, err=True)
    click.echo(f"wrote {shown_path(out.absolute())}, drawn by {done.drawer}")

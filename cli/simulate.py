"""`vbpi-mix simulate`: simulate a small alignment."""

from __future__ import annotations

from pathlib import Path

import click

from vbpi_mix_cli.numbers import Number

EPILOG = """\b
Example:
  vbpi-mix simulate --taxa 8 --sites 500 --seed 1 --out eight.nex
  vbpi-mix simulate --tree tree.nwk --model 'HKY{2.5}+F{0.3,0.2,0.2,0.3}+G4{0.5}' --out sim.nex
"""


@click.command("simulate", epilog=EPILOG)
@click.option("--taxa", type=Number("taxa"), show_default="8", help="Number of taxa of a random tree, at least 4.")
@click.option("--sites", type=Number("sites"), default=500, show_default=True, help="Number of sites.")
@click.option(
    "--mean-length", type=Number("mean_length"), show_default="0.1",
    help="Mean branch length of a random tree, substitutions per site.",
)
@click.option("--tree", type=click.Path(path_type=Path), help="File whose first tree is taken in place of a random one.")
@click.option("--model", default="JC69", show_default=True, help="Model string with a number for every parameter.")
@click.option(
    "--states", type=Number("states"), default=2, show_default=True,
    help="States of discrete characters (MK, ORDERED).",
)
@click.option("--seed", type=Number("seed"), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NEXUS file; the tree goes beside it, .nwk.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(
    taxa: int | None,
    sites: int,
    mean_length: float | None,
    tree: Path | None,
    model: str,
    states: int,
    seed: int,
    out: Path,
    force: bool,
) -> None:
    """Simulate an alignment on a random tree or a tree of yours, of any characters that a model is for."""
    from vbpi_mix.phylo.simulation import check_outputs, simulate

    check_outputs(out, tree, force)
    made = simulate(taxa, sites, mean_length=mean_length, seed=seed, model=model, tree=tree, states=states)
    click.echo(f"wrote {out} and {made.write(out, force)}")

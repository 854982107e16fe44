"""`vbpi-mix simulate`: simulate a small alignment."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Example:
  vbpi-mix simulate --taxa 8 --sites 500 --seed 1 --out eight.nex
"""


@click.command("simulate", epilog=EPILOG)
@click.option("--taxa", default=8, show_default=True, help="Number of taxa, at least 4.")
@click.option("--sites", default=500, show_default=True, help="Number of sites.")
@click.option("--mean-length", default=0.1, show_default=True, help="Mean branch length, substitutions per site.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NEXUS file; the tree goes beside it, .nwk.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def command(taxa: int, sites: int, mean_length: float, seed: int, out: Path, force: bool) -> None:
    """Simulate an alignment under JC69 on a random tree."""
    from vbpi_mix.phylo.simulation import simulate

    made = simulate(taxa, sites, mean_length=mean_length, seed=seed)
    click.echo(f"wrote {out} and {made.write(out, force)}")

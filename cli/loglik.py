"""`vbpi-mix loglik`: the log-likelihood of one tree."""

from __future__ import annotations

from pathlib import Path

import click

from vbpi_mix.phylo.models.substitution import DEFAULT_MODEL, SUBSTITUTION_MODELS, substitution_model

EPILOG = """\b
Example:
  vbpi-mix loglik DS1.nex tree.nwk --model JC69
"""


@click.command("loglik", epilog=EPILOG)
@click.argument("alignment", type=click.Path(path_type=Path))
@click.argument("tree", type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Choice(list(SUBSTITUTION_MODELS), case_sensitive=False), default=DEFAULT_MODEL, show_default=True
)
def command(alignment: Path, tree: Path, model: str) -> None:
    """Log-likelihood of the first tree of the file TREE, with its branch lengths, given ALIGNMENT."""
    from vbpi_mix.errors import TreeError
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.data.site_patterns import compress
    from vbpi_mix.phylo.trees.files import read_tree_file

    data = read_alignment(alignment)
    trees = read_tree_file(tree, data.taxa)
    if trees.lengths is None:
        raise TreeError(f"{tree}: the tree has no branch lengths; write them as (a:0.1,b:0.2,...)")
    chosen = substitution_model(model)
    value = chosen.log_likelihoods(trees.children[:1], trees.lengths[:1], chosen.pack(compress(data)))[0]
    click.echo(f"{value:.6f}")

"""`vbpi-mix loglik`: the log-likelihood of one tree."""

from __future__ import annotations

from pathlib import Path

import click

from vbpi_mix.phylo.config import TYPES

EPILOG = """\b
Examples:
  vbpi-mix loglik DS1.nex tree.nwk --model JC69
  vbpi-mix loglik DS1.nex tree.nwk --model 'HKY{2.5}+F+I{0.1}+G4{0.45}'
  vbpi-mix loglik genome.fasta tree.nwk --device cuda
"""


@click.command("loglik", epilog=EPILOG)
@click.argument("alignment", type=click.Path(path_type=Path))
@click.argument("tree", type=click.Path(path_type=Path))
@click.option(
    "--model", default="JC69", show_default=True, help="Model string with a number for every parameter; +F counts frequencies."
)
@click.option("--type", "kind", type=click.Choice(TYPES), help="What the characters are; else found from the alignment.")
@click.option(
    "--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True,
    help="Where to compute it; cuda: models of nucleotides, for large alignments.",
)  # fmt: skip
def command(alignment: Path, tree: Path, model: str, kind: str | None, device: str) -> None:
    """Log-likelihood of the first tree of the file TREE, with its branch lengths, given ALIGNMENT."""
    from vbpi_mix.errors import AlignmentError, TreeError
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.data.site_patterns import compress
    from vbpi_mix.phylo.models.given import tree_log_likelihood
    from vbpi_mix.phylo.trees.files import read_tree_file

    data = read_alignment(alignment, kind)
    if len(set(data.alphabet_of[data.included].tolist())) > 1:
        raise AlignmentError(f"{alignment}: several kinds of characters, and `loglik` takes one model; give a file of one kind")
    trees = read_tree_file(tree, data.taxa)
    if data.excluded.size or data.deleted:
        click.echo(f"{alignment}: {data.extent}", err=True)
    for note in trees.notes:
        click.echo(note, err=True)
    if trees.lengths is None:
        raise TreeError(f"{tree}: the tree has no branch lengths; write them as (a:0.1,b:0.2,...)")
    value = tree_log_likelihood(model, compress(data), trees.children[0], trees.lengths[0], device)
    click.echo(f"{value:.6f}")

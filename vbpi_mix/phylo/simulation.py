"""A small alignment to experiment with, and the tree that it was simulated on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.files import check_free, write_all
from vbpi_mix.phylo.data.alignment import Alignment, nexus_text
from vbpi_mix.phylo.models.given import alphabet_for, draw_characters
from vbpi_mix.phylo.models.simulate import random_tree
from vbpi_mix.phylo.trees.files import read_tree_file, read_tree_taxa
from vbpi_mix.phylo.trees.topology import to_newick
from vbpi_mix.sizes import check_memory

DEFAULT_TAXA = 8
DEFAULT_MEAN_LENGTH = 0.1


@dataclass(frozen=True, eq=False)
class Simulation:
    """An alignment, and the tree with branch lengths that it was simulated on, in Newick form; its file, if it has one."""

    alignment: Alignment
    newick: str
    tree_file: Path | None = None

    def write(self, path: str | os.PathLike[str], force: bool = False) -> Path:
        """Write the alignment as NEXUS, and its tree beside it, both or none; returns the path of the tree.

        ConfigError if one of them exists, unless `force`, or cannot be made, or if the tree's own file would be replaced.
        """
        tree = check_outputs(path, self.tree_file, force)
        write_all({str(path): nexus_text(self.alignment), str(tree): f"{self.newick}\n"})
        return tree


def check_outputs(path: str | os.PathLike[str], tree_file: str | os.PathLike[str] | None = None, force: bool = False) -> Path:
    """The file beside an alignment that its tree goes to. ConfigError, as of `Simulation.write`, unless both can be written.

    tree_file: that was read.
    """
    place = Path(path)
    if not place.name or place.suffix.lower() == ".nwk":
        raise ConfigError(f"{place}: name the alignment, such as x.nex; its tree is written beside it, to x.nwk")
    tree = place.with_suffix(".nwk")
    if tree_file is not None and Path(tree_file).resolve() in (place.resolve(), tree.resolve()):
        raise ConfigError(f"{tree_file}: the tree that was read would be replaced; choose another name than {place}")
    check_free((place, tree), force)
    return tree


def simulate(
    taxa: int | None = None,
    sites: int = 500,
    *,
    mean_length: float | None = None,
    seed: int = 1,
    model: str = "JC69",
    tree: str | os.PathLike[str] | None = None,
    states: int = 2,
) -> Simulation:
    """An alignment simulated under a model on the first tree of a file, or on a random one.

    taxa, mean_length: of a uniform random topology with Exp(1 / mean_length) branch lengths, in expected substitutions per
    site; 8 and 0.1 if they are not given. model: as IQ-TREE writes it, with a number for every parameter, as
    HKY{2.5}+F{0.3,0.2,0.2,0.3}+G4{0.5}; its name says which characters are drawn. states: of discrete characters.

    ConfigError for fewer than 4 taxa, no sites, a mean length that is not positive, a model that is not known or lacks
    numbers; TreeError for a tree that cannot be read or has no branch lengths.

    >>> import vbpi_mix
    >>> made = vbpi_mix.simulate(taxa=5, sites=100)
    >>> made.alignment.taxa
    ('t01', 't02', 't03', 't04', 't05')
    """
    alphabet = alphabet_for(model, states)
    # A random tree takes the square of its taxa, as clades are sets of them.
    check_memory(10.0 * (taxa or 1) * (sites + (taxa or 1) / 8), f"{taxa or 'the'} taxa and {sites:,} sites")
    if tree is None:
        n_taxa = DEFAULT_TAXA if taxa is None else taxa
        length = DEFAULT_MEAN_LENGTH if mean_length is None else mean_length
        names, children, lengths, rng = random_tree(n_taxa, sites, seed, length)
    elif taxa is not None or mean_length is not None:
        raise ConfigError("a tree says its taxa and branch lengths itself; give the tree, or their number and mean length")
    elif sites < 1:
        raise ConfigError(f"{sites} sites: give at least 1")
    else:
        names, children, lengths = _first_tree(tree)
        rng = np.random.default_rng(seed)
    drawn = draw_characters(model, alphabet, children, lengths, sites, rng)
    source = None if tree is None else Path(tree)
    return Simulation(Alignment(names, drawn, (alphabet,)), to_newick(children, names, lengths), source)


def _first_tree(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Taxa, children [n-2, 2] and lengths [E] of the first tree of a file."""
    names = read_tree_taxa(path)
    trees = read_tree_file(path, names)
    if trees.lengths is None:
        raise TreeError(f"{path}: the tree has no branch lengths; write them as (a:0.1,b:0.2,...)")
    return names, trees.children[0], trees.lengths[0]

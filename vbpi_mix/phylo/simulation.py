"""A small alignment to experiment with, and the tree that it was simulated on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vbpi_mix.files import check_free, write_whole
from vbpi_mix.phylo.data.alignment import Alignment, write_nexus
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.trees.topology import to_newick


@dataclass(frozen=True, eq=False)
class Simulation:
    """An alignment, and the tree with branch lengths that it was simulated on, in Newick form."""

    alignment: Alignment
    newick: str

    def write(self, path: str | os.PathLike[str], force: bool = False) -> Path:
        """Write the alignment as NEXUS, and its tree beside it; returns the path of the tree.

        ConfigError if one of them exists, unless `force`, or cannot be made.
        """
        place = Path(path)
        tree = place.with_suffix(".nwk")
        check_free((place, tree), force)
        write_nexus(self.alignment, place)
        write_whole(tree, f"{self.newick}\n")
        return tree


def simulate(taxa: int = 8, sites: int = 500, *, mean_length: float = 0.1, seed: int = 1) -> Simulation:
    """An alignment simulated under JC69 on a uniform random topology with Exp(1 / mean_length) branch lengths.

    mean_length: of a branch, in expected substitutions per site. ConfigError for fewer than 4 taxa, no sites or a mean
    length that is not positive.

    >>> import vbpi_mix
    >>> made = vbpi_mix.simulate(taxa=5, sites=100)
    >>> made.alignment.taxa
    ('t01', 't02', 't03', 't04', 't05')
    """
    alignment, children, lengths = simulate_alignment(taxa, sites, seed, mean_length)
    return Simulation(alignment, to_newick(children, alignment.taxa, lengths))

"""Alignments simulated on a tree."""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.models.substitution import SubstitutionModel, substitution_model
from vbpi_mix.phylo.trees.topology import random_topology


def simulate_states(
    children: np.ndarray,
    lengths: np.ndarray,
    sites: int,
    rng: np.random.Generator,
    model: SubstitutionModel | None = None,
) -> np.ndarray:
    """State sets uint8 [n, sites] at the taxa of one tree: children int32 [n-2, 2], lengths float64 [E]; under JC69, or
    the model given.
    """
    model = model or substitution_model()
    n_taxa = children.shape[0] + 2
    top = 2 * n_taxa - 3
    states = np.empty((2 * n_taxa - 2, sites), np.uint8)
    states[0] = model.draw_states(sites, rng)
    states[top] = model.evolve(states[0], lengths[top - 1], rng)
    for node in range(top, n_taxa - 1, -1):
        for child in children[node - n_taxa]:
            states[child] = model.evolve(states[node], lengths[child - 1], rng)
    return np.left_shift(np.uint8(1), states[:n_taxa])


def simulate_alignment(
    n_taxa: int, sites: int, seed: int, mean_length: float = 0.1, model: SubstitutionModel | None = None
) -> tuple[Alignment, np.ndarray, np.ndarray]:
    """An alignment on a uniform random topology with Exp(1 / mean_length) branch lengths, and that tree.

    Under JC69, or the model given. Returns alignment, children int32 [n-2, 2] and lengths float64 [E]. Taxa are named
    t01, t02, ... Raises ConfigError for fewer than 4 taxa, no sites or a mean length that is not positive.
    """
    if n_taxa < 4 or sites < 1 or not mean_length > 0:
        raise ConfigError(
            f"{n_taxa} taxa, {sites} sites, mean branch length {mean_length}: give at least 4 taxa, 1 site and a length > 0"
        )
    rng = np.random.default_rng(seed)
    children = random_topology(n_taxa, rng)
    lengths = rng.exponential(mean_length, 2 * n_taxa - 3)
    width = max(2, len(str(n_taxa)))
    taxa = tuple(f"t{k + 1:0{width}d}" for k in range(n_taxa))
    return Alignment(taxa, simulate_states(children, lengths, sites, rng, model)), children, lengths

"""Alignments simulated on a tree under JC69."""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.trees.topology import random_topology


def simulate_states(
    children: np.ndarray, lengths: np.ndarray, sites: int, rng: np.random.Generator
) -> np.ndarray:
    """Nucleotide sets uint8 [n, sites] at the taxa of one tree: children int32 [n-2, 2], lengths float64 [E]."""
    n_taxa = children.shape[0] + 2
    top = 2 * n_taxa - 3
    states = np.empty((2 * n_taxa - 2, sites), np.uint8)
    states[0] = rng.integers(0, 4, sites)
    states[top] = _evolve(states[0], lengths[top - 1], rng)
    for node in range(top, n_taxa - 1, -1):
        for child in children[node - n_taxa]:
            states[child] = _evolve(states[node], lengths[child - 1], rng)
    return np.left_shift(np.uint8(1), states[:n_taxa])


def _evolve(states: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """With probability 1 - exp(-4 t / 3) a site takes a uniform nucleotide, its own included (JC69)."""
    renewed = rng.random(states.size) < -np.expm1(-4.0 / 3.0 * length)
    return np.where(renewed, rng.integers(0, 4, states.size), states).astype(np.uint8)


def simulate_alignment(
    n_taxa: int, sites: int, seed: int, mean_length: float = 0.1
) -> tuple[Alignment, np.ndarray, np.ndarray]:
    """An alignment on a uniform random topology with Exp(1 / mean_length) branch lengths, and that tree.

    Returns alignment, children int32 [n-2, 2] and lengths float64 [E]. Taxa are named t01, t02, ... Raises ConfigError
    for fewer than 4 taxa, no sites or a mean length that is not positive.
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
    return Alignment(taxa, simulate_states(children, lengths, sites, rng)), children, lengths

"""Alignments simulated on a tree."""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import Alphabet
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.substitution import StationaryModel, substitution_model
from vbpi_mix.phylo.trees.topology import random_topology

# Characters that do not vary are drawn again so often, where only those that do are recorded.
MOST_ROUNDS = 1000


def simulate_states(
    children: np.ndarray,
    lengths: np.ndarray,
    sites: int,
    rng: np.random.Generator,
    model: StationaryModel | None = None,
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


def simulate_characters(
    children: np.ndarray, lengths: np.ndarray, sites: int, rng: np.random.Generator, rates: Rates, varying: bool = False
) -> np.ndarray:
    """States int64 [n, sites], numbers from 0, at the taxa of one tree, under the first parameter vector of rates.

    Every site has the rate of a category of its own, or is invariant. varying: only characters that vary are recorded.
    ConfigError if hardly any does.
    """
    found, count = [], 0
    for _ in range(MOST_ROUNDS if varying else 1):
        states = _characters(children, lengths, sites, rng, rates)
        kept = states[:, (states != states[0]).any(axis=0)] if varying else states
        found.append(kept)
        count += kept.shape[1]
        if count >= sites:
            return np.concatenate(found, axis=1)[:, :sites]
    raise ConfigError(f"of {MOST_ROUNDS * sites} characters only {count} vary, and {sites} are wanted; give a longer tree")


def _characters(
    children: np.ndarray, lengths: np.ndarray, sites: int, rng: np.random.Generator, rates: Rates
) -> np.ndarray:
    vectors, inverse, values, frequencies, of_category, weights, invariant = (part[0] for part in rates)
    category = rng.choice(weights.size + 1, sites, p=np.append(weights, invariant))
    site_rates = np.append(of_category, 0.0)
    n_taxa = children.shape[0] + 2
    top = 2 * n_taxa - 3
    states = np.empty((2 * n_taxa - 2, sites), np.int64)

    def evolve(above: int, below: int) -> None:
        grown = np.exp(site_rates[:, None] * lengths[below - 1] * values)
        cumulative = ((vectors * grown[:, None, :]) @ inverse).clip(0.0).cumsum(axis=-1)[category, states[above]]
        wanted = rng.random(sites)[:, None] * cumulative[:, -1:]
        states[below] = (wanted >= cumulative).sum(axis=1)

    states[0] = rng.choice(frequencies.size, sites, p=frequencies)
    evolve(0, top)
    for node in range(top, n_taxa - 1, -1):
        for child in children[node - n_taxa]:
            evolve(node, child)
    return states[:n_taxa]


def state_sets(states: np.ndarray, alphabet: Alphabet) -> np.ndarray:
    """Numbers of states as sets of one state, of the alphabet's dtype."""
    one = alphabet.dtype.type(1)
    sets: np.ndarray = np.left_shift(one, states.astype(alphabet.dtype))
    return sets


def random_tree(
    n_taxa: int, sites: int, seed: int, mean_length: float = 0.1
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.random.Generator]:
    """Taxa t01, t02, ..., children int32 [n-2, 2] of a uniform random topology and Exp(1 / mean_length) lengths [E], and
    the generator that drew them, for `sites` characters to come.

    Raises ConfigError for fewer than 4 taxa, no sites or a mean length that is not positive.
    """
    if n_taxa < 4 or sites < 1 or not mean_length > 0:
        raise ConfigError(
            f"{n_taxa} taxa, {sites} sites, mean branch length {mean_length}: give at least 4 taxa, 1 site and a length > 0"
        )
    rng = np.random.default_rng(seed)
    children = random_topology(n_taxa, rng)
    lengths = rng.exponential(mean_length, 2 * n_taxa - 3)
    width = max(2, len(str(n_taxa)))
    return tuple(f"t{k + 1:0{width}d}" for k in range(n_taxa)), children, lengths, rng


def simulate_alignment(
    n_taxa: int, sites: int, seed: int, mean_length: float = 0.1, model: StationaryModel | None = None
) -> tuple[Alignment, np.ndarray, np.ndarray]:
    """An alignment on a uniform random topology with Exp(1 / mean_length) branch lengths, and that tree.

    Under JC69, or the model given. Returns alignment, children int32 [n-2, 2] and lengths float64 [E]. Raises ConfigError
    for fewer than 4 taxa, no sites or a mean length that is not positive.
    """
    taxa, children, lengths, rng = random_tree(n_taxa, sites, seed, mean_length)
    return Alignment(taxa, simulate_states(children, lengths, sites, rng, model)), children, lengths

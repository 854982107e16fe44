"""JC69 (Jukes and Cantor 1969): all states equally frequent, all changes equally fast."""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alphabets import DNA
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.kernels.transitions import transition
from vbpi_mix.phylo.models.likelihood import (
    PackedPatterns,
    log_likelihoods,
    log_likelihoods_and_gradients,
    pack_patterns,
)
from vbpi_mix.phylo.models.substitution import Likelihoods, StationaryModel

_OTHERS = {"protein": ("amino acids", "LG, WAG or JTT"), "standard": ("discrete characters", "MK")}


class JukesCantor(StationaryModel):
    """JC69 on nucleotides; nothing to learn."""

    name = "JC69"
    iqtree = "JC"
    mrbayes = ("lset nst=1 rates=equal;", "prset statefreqpr=fixed(equal);")

    def pack(self, patterns: SitePatterns) -> PackedPatterns:
        """In blocks, for the kernel. Raises ConfigError for patterns of another alphabet."""
        if patterns.alphabet != DNA:
            called, models = _OTHERS[patterns.alphabet.name]
            raise ConfigError(f"JC69 is a model of nucleotides, and the alignment has {called}; models of these are {models}")
        return pack_patterns(patterns)

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: PackedPatterns) -> np.ndarray:
        """Log-likelihoods [T]."""
        return log_likelihoods(children, lengths, packed)

    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: PackedPatterns) -> Likelihoods:
        """Log-likelihoods and derivatives in one pass."""
        return Likelihoods(*log_likelihoods_and_gradients(children, lengths, packed))

    def work_of(self, packed: PackedPatterns) -> float:
        """The number of patterns, padding left out."""
        return float(np.count_nonzero(packed.weights))

    def frequencies(self) -> np.ndarray:
        """A quarter each."""
        return np.full(4, 0.25)

    def transition_matrices(self, lengths: np.ndarray | float) -> np.ndarray:
        """[..., 4, 4]."""
        pairs = np.array([transition(t) for t in np.ravel(lengths)]).reshape(*np.shape(lengths), 2, 1, 1)
        return pairs[..., 0, :, :] * np.eye(4) + pairs[..., 1, :, :]

    def draw_states(self, sites: int, rng: np.random.Generator) -> np.ndarray:
        """States uint8 [sites], uniform."""
        return rng.integers(0, 4, sites).astype(np.uint8)

    def evolve(self, states: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
        """With a probability of four times the chance of each other state a site takes a uniform one, its own included."""
        renewed = rng.random(states.size) < 4.0 * transition(length)[1]
        return np.where(renewed, rng.integers(0, 4, states.size), states).astype(np.uint8)

"""JC69 (Jukes and Cantor 1969): all states equally frequent, all changes equally fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alphabets import DNA
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models import reversible_likelihood
from vbpi_mix.phylo.models.device import check_device
from vbpi_mix.phylo.models.kernels.transitions import transition
from vbpi_mix.phylo.models.likelihood import log_likelihoods, log_likelihoods_and_gradients, pack_patterns
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.reversible import spectrum
from vbpi_mix.phylo.models.substitution import Likelihoods, StationaryModel

_OTHERS = {"protein": ("amino acids", "LG, WAG or JTT"), "standard": ("discrete characters", "MK")}

# The model as a reversible one, for a device that has kernels of no other.
_RATES = Rates(
    *spectrum(np.ones((1, 4, 4)), np.full((1, 4), 0.25)), np.full((1, 4), 0.25), np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)
)


class JukesCantor(StationaryModel):
    """JC69 on nucleotides; nothing to learn."""

    name = "JC69"
    iqtree = "JC"
    mrbayes = ("lset nst=1 rates=equal;", "prset statefreqpr=fixed(equal);")

    device = "cpu"

    def to(self, device: str) -> None:
        """Compute likelihoods there from the next `pack` on. ConfigError if there is no such device."""
        self.device = check_device(device)

    def pack(self, patterns: SitePatterns) -> Any:
        """In blocks, for the kernel. Raises ConfigError for patterns of another alphabet."""
        if patterns.alphabet != DNA:
            called, models = _OTHERS[patterns.alphabet.name]
            raise ConfigError(f"JC69 is a model of nucleotides, and the alignment has {called}; models of these are {models}")
        if self.device != "cpu":
            return reversible_likelihood.pack(patterns, device=self.device)
        return pack_patterns(patterns)

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> np.ndarray:
        """Log-likelihoods [T]."""
        if self.device != "cpu":
            which = np.zeros(children.shape[0], np.int64)
            return reversible_likelihood.log_likelihoods(children, lengths, packed, _RATES, which)
        return log_likelihoods(children, lengths, packed)

    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> Likelihoods:
        """Log-likelihoods and derivatives in one pass."""
        if self.device != "cpu":
            which = np.zeros(children.shape[0], np.int64)
            found = reversible_likelihood.evaluate(children, lengths, packed, _RATES, which, parameters=False)
            return Likelihoods(found[0], found[1])
        return Likelihoods(*log_likelihoods_and_gradients(children, lengths, packed))

    def work_of(self, packed: Any) -> float:
        """The number of patterns, padding left out."""
        if self.device != "cpu":
            return float(packed.n_patterns)
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

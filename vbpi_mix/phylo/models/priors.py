"""Priors of topologies and of branch lengths.

Densities of branch lengths are with respect to their logarithms x = log b, so that they and the variational densities
are of one point. Shapes: T trees, E edges; x and b float64 [..., E].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.kernels import priors as kernels

BRANCH_LENGTH_RATE = 10.0


def log_topology_prior(n_taxa: int) -> float:
    """log of 1 / (2n-5)!!, the probability of each unrooted binary topology."""
    return -sum(math.log(k) for k in range(3, 2 * n_taxa - 4, 2))


@dataclass(frozen=True)
class ExponentialLengths:
    """Independent Exp(rate) branch lengths, rate per substitution per site: log p(x) = log rate - rate b + x.

    The only prior of branch lengths so far. Another needs these methods and, for the built-in sampler, a regraft that
    weighs places by it (sampling/kernels/moves.py). Raises ConfigError for a rate that is not positive.
    """

    rate: float = BRANCH_LENGTH_RATE

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"branch length rate {self.rate}: it must be above 0")

    @property
    def kernel(self) -> kernels.Exponential:
        """What kernels take."""
        return kernels.Exponential(self.rate)

    @property
    def mrbayes(self) -> str:
        """In MrBayes's words, after brlenspr=."""
        return f"unconstrained:exponential({self.rate})"

    def log_constant(self, edges: int) -> float:
        """What `log_density` leaves out."""
        return edges * math.log(self.rate)

    def log_density(self, log_lengths: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Log density of the log-lengths, [...], but for `log_constant`."""
        density: np.ndarray = (log_lengths - self.rate * lengths).sum(axis=-1)
        return density

    def log_length_slopes(self, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] of `log_density` in the log-lengths."""
        return 1.0 - self.rate * lengths

    def add_slopes(self, length_slopes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] in the log-lengths of this density times one whose log has `length_slopes` in the lengths."""
        return (length_slopes - self.rate) * lengths + 1.0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Lengths."""
        return rng.exponential(1.0 / self.rate, shape)

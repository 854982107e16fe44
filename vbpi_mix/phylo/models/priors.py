"""Priors of branch lengths.

Densities of branch lengths are with respect to their logarithms x = log b, so that they and the variational densities
are of one point. Shapes: T trees, E = 2n-3 edges; x and b float64 [..., E], in the order of docs/data-model.md: those above
taxa first, the last one taxon 0's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.kernels import priors as kernels

BRANCH_LENGTH_RATE = 10.0
DEFAULT_LENGTHS = f"exp:{BRANCH_LENGTH_RATE:g}"
_FORMS = "exp:RATE or gammadir:AT,BT,A,C, each number above 0"


class LengthPrior(Protocol):
    """What a prior of branch lengths has."""

    @property
    def text(self) -> str:
        """As `parse_length_prior` reads it."""
        ...

    @property
    def kernel(self) -> kernels.LengthPrior:
        """What kernels take."""
        ...

    @property
    def mrbayes(self) -> str:
        """In MrBayes's words, after brlenspr=."""
        ...

    def concentrations(self, edges: int) -> np.ndarray:
        """Powers of the lengths, [E], with which the density of log-lengths falls towards length zero."""
        ...

    def log_constant(self, edges: int) -> float:
        """What `log_density` leaves out."""
        ...

    def log_density(self, log_lengths: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Log density of the log-lengths, [...], but for `log_constant`."""
        ...

    def log_length_slopes(self, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] of `log_density` in the log-lengths."""
        ...

    def add_slopes(self, length_slopes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] in the log-lengths of this density times one whose log has `length_slopes` in the lengths."""
        ...

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Lengths of that shape, [..., E]."""
        ...


@dataclass(frozen=True)
class ExponentialLengths:
    """Independent Exp(rate) branch lengths, rate per substitution per site: log p(x) = log rate - rate b + x.

    Raises ConfigError for a rate that is not positive.
    """

    rate: float = BRANCH_LENGTH_RATE

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0 < self.rate < math.inf:
            raise ConfigError(f"branch length rate {self.rate}: it must be above 0")

    @property
    def text(self) -> str:
        """As `parse_length_prior` reads it."""
        return f"exp:{_digits(self.rate)}"

    @property
    def kernel(self) -> kernels.LengthPrior:
        """What kernels take."""
        return kernels.LengthPrior(self.rate)

    @property
    def mrbayes(self) -> str:
        """In MrBayes's words, after brlenspr=."""
        return f"unconstrained:exponential({self.rate})"

    def concentrations(self, edges: int) -> np.ndarray:
        """Powers of the lengths, [E], with which the density of log-lengths falls towards length zero."""
        return np.ones(edges)

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


@dataclass(frozen=True)
class GammaDirichletLengths:
    """Compound Dirichlet: the tree length T is Gamma(shape, rate), its shares Dirichlet, for pendant edges with concentration
    `pendant` and for internal ones with pendant * ratio. MrBayes's gammadir(shape, rate, pendant, ratio).

    With a_e the concentrations and a their sum, the density of the lengths is

        rate^shape / Gamma(shape) exp(-rate T) T^(shape - a) Gamma(a) prod_e b_e^(a_e - 1) / Gamma(a_e).

    Rannala, Zhu and Yang (2012), "Tail paradox, partial identifiability, and influential priors in Bayesian branch length
    inference"; Zhang, Rannala and Yang (2012), "Robustness of compound Dirichlet priors for Bayesian inference of branch
    lengths". Raises ConfigError for a number that is not positive.
    """

    shape: float = 1.0
    rate: float = 0.1
    pendant: float = 1.0
    ratio: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("shape", "rate", "pendant", "ratio"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"gamma-Dirichlet {name} {getattr(self, name)}: it must be above 0")

    @property
    def text(self) -> str:
        """As `parse_length_prior` reads it."""
        return f"gammadir:{','.join(map(_digits, self._numbers))}"

    @property
    def kernel(self) -> kernels.LengthPrior:
        """What kernels take."""
        return kernels.LengthPrior(self.rate, self.shape, self.pendant, self.pendant * self.ratio, True)

    @property
    def mrbayes(self) -> str:
        """In MrBayes's words, after brlenspr=."""
        return f"unconstrained:gammadir({','.join(map(_digits, self._numbers))})"

    @property
    def _numbers(self) -> tuple[float, ...]:
        return self.shape, self.rate, self.pendant, self.ratio

    def concentrations(self, edges: int) -> np.ndarray:
        """Powers of the lengths, [E], with which the density of log-lengths falls towards length zero: those of the shares."""
        found = np.full(edges, self.pendant)
        found[(edges + 1) // 2 : edges - 1] *= self.ratio
        return found

    def log_constant(self, edges: int) -> float:
        """What `log_density` leaves out."""
        a = self.concentrations(edges)
        shares = math.lgamma(a.sum()) - sum(map(math.lgamma, a))
        return self.shape * math.log(self.rate) - math.lgamma(self.shape) + shares

    def log_density(self, log_lengths: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Log density of the log-lengths, [...], but for `log_constant`."""
        a, total = self.concentrations(lengths.shape[-1]), lengths.sum(axis=-1)
        density: np.ndarray = (self.shape - a.sum()) * np.log(total) - self.rate * total + log_lengths @ a
        return density

    def log_length_slopes(self, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] of `log_density` in the log-lengths."""
        a = self.concentrations(lengths.shape[-1])
        of_total = (self.shape - a.sum()) / lengths.sum(axis=-1, keepdims=True) - self.rate
        return np.asarray(a + of_total * lengths)

    def add_slopes(self, length_slopes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Derivatives [..., E] in the log-lengths of this density times one whose log has `length_slopes` in the lengths."""
        return np.asarray(length_slopes * lengths + self.log_length_slopes(lengths))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Lengths of that shape, [..., E]."""
        shares = rng.standard_gamma(self.concentrations(shape[-1]), shape)
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.asarray(rng.gamma(self.shape, 1.0 / self.rate, (*shape[:-1], 1)) * shares)


def parse_length_prior(text: str) -> LengthPrior:
    """The prior that a text names: exp:RATE, or gammadir:AT,BT,A,C as MrBayes writes it.

    Raises ConfigError, in one line, for what is no density.

    >>> parse_length_prior("gammadir:1,0.1,1,1").text
    'gammadir:1,0.1,1,1'
    """
    name, _, rest = text.strip().partition(":")
    try:
        numbers = [float(word) for word in rest.split(",")]
    except ValueError:
        numbers = []
    makers: dict[str, tuple[int, type[ExponentialLengths] | type[GammaDirichletLengths]]] = {
        "exp": (1, ExponentialLengths), "gammadir": (4, GammaDirichletLengths)
    }  # fmt: skip
    wanted, maker = makers.get(name.strip().lower(), (-1, ExponentialLengths))
    if len(numbers) != wanted or not all(0 < number < math.inf for number in numbers):
        raise ConfigError(f"prior of branch lengths {text!r} is no density: give {_FORMS}")
    return maker(*numbers)


def _digits(number: float) -> str:
    """The fewest digits that read as the number."""
    return repr(float(number)).removesuffix(".0")

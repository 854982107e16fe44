"""Parts of data with a model held at its parameters, and their log-likelihoods by plain pruning."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from reference import pruning
from scipy.stats import gamma

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.held import HeldPart
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.rates import Rates


def gamma_rates(alpha, count):
    """Means of equal shares of a gamma distribution of mean 1 (Yang 1994)."""
    edges = gamma.ppf(np.arange(count + 1) / count, alpha, scale=1.0 / alpha)
    return count * np.diff(gamma.cdf(edges, alpha + 1.0, scale=1.0 / alpha))


@dataclass
class Model:
    """Exchangeabilities (upper triangle), frequencies, gamma categories, invariant sites, a multiplier of all rates."""

    exchangeabilities: list
    frequencies: list
    alpha: float | None = None
    categories: int = 4
    invariant: float = 0.0
    multiplier: float = 1.0
    ascertainment: bool = False
    q: np.ndarray = field(init=False)

    def __post_init__(self):
        self.frequencies = np.array(self.frequencies, float)
        self.q = pruning.rate_matrix(self.exchangeabilities, self.frequencies)
        rates = np.ones(1) if self.alpha is None else gamma_rates(self.alpha, self.categories)
        self.rates = self.multiplier * rates / (1.0 - self.invariant)
        self.weights = np.full(rates.size, (1.0 - self.invariant) / rates.size)

    @property
    def pairs(self):
        """Rates and their probabilities, invariant sites among them."""
        return [*zip(self.rates, self.weights, strict=True), (0.0, self.invariant)]

    def held(self, patterns):
        root = np.sqrt(self.frequencies)
        values, vectors = np.linalg.eigh(root[:, None] * self.q / root)
        rates = Rates(
            (vectors / root[:, None])[None], (vectors.T * root)[None], values[None], self.frequencies[None],
            self.rates[None], self.weights[None], np.array([self.invariant]),
        )  # fmt: skip
        return HeldPart(patterns, rates, self.ascertainment)

    def log_likelihood(self, children, lengths, patterns):
        return pruning.log_likelihood(
            children, lengths, patterns.states, patterns.weights, self.q, self.frequencies, self.pairs, self.ascertainment
        )


class HeldTarget(Posterior):
    """The posterior of trees with the models of all parts held."""

    def __init__(self, models, patterns):
        n_taxa = patterns[0].states.shape[0]
        # What these say does not matter to the sampler, which reads the parts.
        super().__init__(SitePatterns(np.full((n_taxa, 1), 15, np.uint8), np.ones(1)))
        self.models, self.part_patterns = models, patterns
        self._held = tuple(model.held(each) for model, each in zip(models, patterns, strict=True))

    @property
    def held_parts(self):
        return self._held

    def log_likelihood_of(self, children, lengths):
        pairs = zip(self.models, self.part_patterns, strict=True)
        return sum(model.log_likelihood(children, lengths, patterns) for model, patterns in pairs)


def random_states(n_taxa, n_patterns, n_states, rng, ambiguous=0.2):
    """Sets of states as bits; most are single states, some all of them, some any."""
    kind = np.uint8 if n_states <= 8 else np.uint64
    single = np.left_shift(kind(1), rng.integers(0, n_states, (n_taxa, n_patterns)).astype(kind))
    other = rng.integers(1, 2**n_states, single.shape).astype(kind)
    other[rng.random(single.shape) < 0.3] = kind(2**n_states - 1)
    return SitePatterns(
        np.where(rng.random(single.shape) < ambiguous, other, single), rng.integers(1, 4, n_patterns).astype(float)
    )


def gtr(rng, **options):
    return Model(rng.gamma(2.0, 1.0, 6), rng.dirichlet(np.full(4, 5.0)), **options)


def of_states(n_states, rng, **options):
    return Model(rng.gamma(2.0, 1.0, n_states * (n_states - 1) // 2), rng.dirichlet(np.full(n_states, 5.0)), **options)

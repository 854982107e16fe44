"""The model of one part of the data: from a vector of real numbers to rates, and slopes back.

theta [M, D] holds, in this order, what the model leaves free: log-ratios of rates to that of the last class (for
nucleotides that of GT; log kappa if there are two classes), of frequencies to the last state's, log alpha, and the logit
of the share of invariant sites.

Shapes: M parameter vectors, T trees, S states, C categories, pairs of states as the upper triangle row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.kernels.gamma_rates import mean_rates
from vbpi_mix.phylo.models.matrices import protein_matrices
from vbpi_mix.phylo.models.mrbayes_lines import mrbayes_lines
from vbpi_mix.phylo.models.observed import constant_share, may_be_constant, of_fewer_states, state_frequencies
from vbpi_mix.phylo.models.parameters import (
    DEFAULT_PRIORS,
    DENSITIES,
    Parameter,
    columns_of,
    log_density_at,
    make_parameter,
)
from vbpi_mix.phylo.models.rates import Rates, RateSlopes
from vbpi_mix.phylo.models.reversible import spectrum
from vbpi_mix.phylo.models.strings import ALPHA_BOUNDS, ModelSpec, model_text, parse_model

AMINO_ACIDS = (
    "Ala", "Arg", "Asn", "Asp", "Cys", "Gln", "Glu", "Gly", "His", "Ile", "Leu", "Lys", "Met", "Phe", "Pro", "Ser", "Thr",
    "Trp", "Tyr", "Val",
)  # fmt: skip


class _Values(NamedTuple):
    """Everything that rates are made of: of classes [M, classes], of states [M, S], [M], [M]."""

    classes: np.ndarray
    frequencies: np.ndarray
    alpha: np.ndarray
    invariant: np.ndarray


class Block(NamedTuple):
    """A free parameter: its name, where it lies in theta, and its kind."""

    name: str
    where: slice
    parameter: Parameter


class PartModel:
    """A model for given characters.

    spec      the parsed string
    names     of the values reported, as MrBayes's .p files have them
    size      D
    priors    of what is free, as texts
    """

    def __init__(self, spec: ModelSpec, patterns: SitePatterns, priors: Mapping[str, str]) -> None:
        self.spec = spec
        self.priors = {name: priors.get(name, DEFAULT_PRIORS[name]) for name in spec.free}
        self._pairs = np.triu_indices(spec.n_states, 1)
        sizes = {"kappa": 2, "rates": spec.n_classes, "frequencies": spec.n_states}
        self._free = {
            name: make_parameter(name, prior, sizes.get(name, 1), ALPHA_BOUNDS) for name, prior in self.priors.items()
        }
        parameters = list(self._free.values())
        self._columns = dict(zip(self._free, columns_of(parameters), strict=True))
        self.size = sum(parameter.size for parameter in parameters)
        self._matrix_is_free = not {"kappa", "rates", "frequencies"}.isdisjoint(self._free)
        self._empirical = state_frequencies(patterns, spec.n_states)
        self._held = self._held_values()
        self._labels = _labels(spec, patterns)
        self.names = tuple(name for free in spec.free for name in self._names(free))
        self._constant_share = constant_share(patterns)
        self._of_fewer_states = of_fewer_states(patterns) if spec.alphabet == "standard" else 0

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is free, in the order of theta."""
        return tuple(Block(name, self._columns[name], each) for name, each in self._free.items())

    @property
    def iqtree(self) -> str:
        """In IQ-TREE's words, after -m."""
        return model_text(self.spec, explicit=True)

    def mrbayes(self, partition: int | None = None) -> tuple[str, ...]:
        """Lines of a MrBayes block for a partition, counted from 1, or for all characters. ConfigError if it has no
        such model."""
        spec = self.spec
        if self._of_fewer_states:
            raise ConfigError(
                f"model {spec.text}: MrBayes gives a character the states up to its own highest, and {self._of_fewer_states} "
                f"here have fewer than {spec.n_states}; make parts of equal numbers of states, or take the trees from mcmc"
            )
        if spec.frequencies == "empirical":
            # Its own way of counting ambiguous characters is another.
            spec = replace(spec, frequencies=tuple(self._empirical.tolist()))
        return mrbayes_lines(spec, self.priors, partition)

    def lacking(self) -> tuple[str, ...]:
        """What the model leaves free: without numbers for it there is no likelihood."""
        return self.spec.free

    def rates(self, theta: np.ndarray) -> Rates:
        """Of theta [M, D]."""
        given = self._values(theta)
        vectors = theta.shape[0] if self._matrix_is_free else 1
        parts = spectrum(self._exchangeabilities(given.classes[:vectors]), given.frequencies[:vectors])
        if not self._matrix_is_free:
            parts = tuple(np.repeat(part, theta.shape[0], axis=0) for part in parts)  # type: ignore[assignment]
        site_rates, _ = self._site_rates(given.alpha)
        remaining = (1.0 - given.invariant)[:, None]
        weights = np.repeat(remaining / self.spec.categories, self.spec.categories, axis=1)
        return Rates(*parts, given.frequencies, site_rates / remaining, weights, given.invariant)

    def pull_back(self, theta: np.ndarray, slopes: RateSlopes) -> np.ndarray:
        """Slopes in theta [M, D], given those of M log-likelihoods in what `rates` makes of it."""
        given = self._values(theta)
        site_rates, site_slopes = self._site_rates(given.alpha)
        remaining = 1.0 - given.invariant
        of_alpha = (slopes.rates * site_slopes).sum(axis=1) / remaining
        of_invariant = (slopes.rates * site_rates).sum(axis=1) / remaining**2
        of_invariant += slopes.invariant - slopes.weights.mean(axis=1)
        found = {"alpha": of_alpha[:, None], "pinvar": of_invariant[:, None]}
        if self._matrix_is_free:
            of_classes, of_frequencies = self._matrix_slopes(given, slopes)
            found |= {"kappa": of_classes, "rates": of_classes, "frequencies": of_frequencies}
        pulled = np.empty_like(theta)
        for name, parameter in self._free.items():
            columns = self._columns[name]
            pulled[:, columns] = parameter.pull_back(theta[:, columns], found[name])
        return pulled

    def log_prior(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density [M] of theta [M, D], and its slopes [M, D]."""
        return log_density_at(list(self._free.values()), theta)

    def values(self, theta: np.ndarray) -> np.ndarray:
        """What `names` names, [M, names]. Rates of pairs of states sum to 1."""
        given = self._values(theta)
        found = {
            "frequencies": given.frequencies, "alpha": given.alpha[:, None], "pinvar": given.invariant[:, None],
        }  # fmt: skip
        if "kappa" in self._free:
            found["kappa"] = given.classes[:, :1] / given.classes[:, 1:]
        if "rates" in self._free:
            pairs = given.classes[:, self.spec.classes]
            found["rates"] = pairs / pairs.sum(axis=1, keepdims=True)
        return np.concatenate([np.empty((theta.shape[0], 0)), *(found[name] for name in self._free)], axis=1)

    def unconstrain(self, values: np.ndarray) -> np.ndarray:
        """theta [M, D] of values [M, names]; rates and frequencies count up to a factor."""
        parts, start = [np.empty((values.shape[0], 0))], 0
        for name, parameter in self._free.items():
            end = start + len(self._names(name))
            given, start = values[:, start:end], end
            if name == "kappa":
                given = np.concatenate([given, np.ones_like(given)], axis=1)
            if name == "rates":
                given = given[:, [self.spec.classes.index(c) for c in range(self.spec.n_classes)]]
            parts.append(parameter.unconstrain(given))
        return np.concatenate(parts, axis=1)

    def start(self) -> np.ndarray:
        """A theta [D] to start from: transitions twice as fast, frequencies as counted, alpha 1, and half of the
        constant sites invariant."""
        transitions = self.spec.alphabet == "dna"
        rates = [2.0 if transitions and pair in (1, 4) else 1.0 for pair in range(len(self.spec.classes))]
        values = {
            "kappa": [2.0], "rates": rates, "frequencies": self._empirical.tolist(), "alpha": [1.0],
            "pinvar": [min(max(0.5 * self._constant_share, 0.05), 0.5)],
        }  # fmt: skip
        return self.unconstrain(np.array([[value for name in self._free for value in values[name]]]))[0]

    def _held_values(self) -> _Values:
        """With a first axis of one; 1 and a uniform vector where a parameter is free."""
        spec, states = self.spec, self.spec.n_states
        frequencies = {
            "equal": np.full(states, 1.0 / states), "learned": np.full(states, 1.0 / states), "empirical": self._empirical,
        }  # fmt: skip
        if isinstance(spec.frequencies, tuple):
            chosen = np.array(spec.frequencies)
        elif spec.frequencies == "model":
            chosen = np.array(protein_matrices()[spec.name].frequencies)
        else:
            chosen = frequencies[spec.frequencies]
        classes = np.ones(spec.n_classes) if spec.exchangeabilities is None else np.array(spec.exchangeabilities)
        alpha = spec.alpha if isinstance(spec.alpha, float) else 1.0
        invariant = spec.invariant if isinstance(spec.invariant, float) else 0.0
        return _Values(classes[None], chosen[None], np.array([alpha]), np.array([invariant]))

    def _values(self, theta: np.ndarray) -> _Values:
        """Held values, and those of theta in place of what is free."""
        free = {name: each.values(theta[:, self._columns[name]]) for name, each in self._free.items()}
        held = [np.repeat(part, theta.shape[0], axis=0) for part in self._held]
        return _Values(
            free.get("kappa", free.get("rates", held[0])), free.get("frequencies", held[1]),
            free["alpha"][:, 0] if "alpha" in free else held[2], free["pinvar"][:, 0] if "pinvar" in free else held[3],
        )  # fmt: skip

    def _exchangeabilities(self, classes: np.ndarray) -> np.ndarray:
        """Symmetric [M, S, S] of classes [M, classes]."""
        states = self.spec.n_states
        found = np.zeros((classes.shape[0], states, states))
        found[:, self._pairs[0], self._pairs[1]] = classes[:, self.spec.classes]
        return found + np.swapaxes(found, 1, 2)

    def _site_rates(self, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rates of mean 1, and their slopes in alpha, [M, C]."""
        rates, slopes = (np.zeros((alpha.size, self.spec.categories)) for _ in range(2))
        if self.spec.categories == 1:
            return np.ones_like(rates), slopes
        mean_rates(alpha, rates, slopes)
        return rates, slopes

    def _matrix_slopes(self, given: _Values, slopes: RateSlopes) -> tuple[np.ndarray, np.ndarray]:
        """Slopes in rates of classes [M, classes] and in frequencies [M, S], each by itself.

        Q = R / scale with R_ij = s_ij pi_j off the diagonal, rows summing to zero, and scale the sum of pi_i s_ij pi_j.
        """
        first, second = self._pairs
        s, pi = self._exchangeabilities(given.classes), given.frequencies
        flow = (s * pi[:, None, :]).sum(axis=2)
        scale = (pi * flow).sum(axis=1)
        g = slopes.matrix
        h = (g - np.einsum("mii->mi", g)[:, :, None]) / scale[:, None, None]
        # The sum of G o Q: what a longer unit of time would be worth.
        stretch = (h * s * pi[:, None, :]).sum(axis=(1, 2)) / scale
        of_frequencies = (h * s).sum(axis=1) - 2.0 * stretch[:, None] * flow + slopes.frequencies
        towards = h[:, first, second] * pi[:, second] + h[:, second, first] * pi[:, first]
        of_pairs = towards - 2.0 * stretch[:, None] * pi[:, first] * pi[:, second]
        of_classes = np.zeros_like(given.classes)
        np.add.at(of_classes.T, np.array(self.spec.classes), of_pairs.T)
        return of_classes, of_frequencies

    def _names(self, free: str) -> tuple[str, ...]:
        """Of the values of one free parameter."""
        if free == "rates":
            pairs = zip(*self._pairs, strict=True)
            return tuple(f"r({self._labels[i]}<->{self._labels[j]})" for i, j in pairs)
        return tuple(f"pi({label})" for label in self._labels) if free == "frequencies" else (free,)


def make_part(text: str, patterns: SitePatterns, priors: Mapping[str, str] | None = None) -> PartModel:
    """The model that a string names for these patterns. priors: densities by name (kappa, rates, frequencies, alpha,
    pinvar), as {"alpha": "exp:1"}; MrBayes's where none is given.

    ConfigError for a string that is no model of these characters, a prior that is no density or of what is not free, and
    for +ASC where characters do not vary.
    """
    spec = parse_model(text, patterns.alphabet)
    for name in priors or {}:
        if name not in spec.free:
            known = ", ".join(spec.free) or "nothing"
            what = "is not a parameter" if name not in DENSITIES else f"is not free in {spec.text}"
            raise ConfigError(f"prior {name}={(priors or {})[name]}: {name} {what}; {known} is")
    if spec.ascertainment:
        _check_varying(spec, patterns)
    return PartModel(spec, patterns, priors or {})


def _labels(spec: ModelSpec, patterns: SitePatterns) -> tuple[str, ...]:
    """States as MrBayes writes them."""
    return AMINO_ACIDS if spec.alphabet == "protein" else tuple(patterns.alphabet.symbols)


def _check_varying(spec: ModelSpec, patterns: SitePatterns) -> None:
    count = patterns.weights[may_be_constant(patterns)].sum()
    if count:
        raise ConfigError(
            f"model {spec.text}: {count:.0f} of {patterns.weights.sum():.0f} characters do not vary, and +ASC is for those "
            "that do; exclude them, or leave +ASC out"
        )

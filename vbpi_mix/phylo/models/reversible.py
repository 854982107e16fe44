"""Any time-reversible model with categories of rates, invariant sites and ascertainment: pruning in numpy.

Slow, some hundred times slower than kernels; right before there are kernels, and what they are held to.

Shapes: T trees of n taxa with E = 2n-3 edges, P patterns, S states, C categories, M parameter vectors; which [T] says
whose vector each tree has. Edge v-1 lies above node v, and a tree hangs from taxon 0.

With u [P, S] the partials above an edge (frequencies included) and l those below, the likelihood of a pattern is
u' P(t) l, P(t) = exp(Q t) = V exp(diag(values) t) V^-1. For a category of rate r and probability w, let X be the sum over
patterns of (weight of the pattern) (w / L) u l'. Then d log L / dt = r sum(X o Q P), d log L / dr = t sum(X o Q P), and in
the entries of Q (Kalbfleisch and Lawless 1985)

    V^-T [(V' X V^-T) o F] V',   F_ij = (e^{values_i r t} - e^{values_j r t}) / (values_i - values_j).

Ascertainment (Lewis 2001): only characters that vary were recorded, so every likelihood is divided by 1 - L0, with L0
the sum of those of the S constant patterns.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.rates import Rates, RateSlopes
from vbpi_mix.phylo.models.substitution import Likelihoods, StationaryModel

TINY = np.finfo(float).tiny


class Packed(NamedTuple):
    """Patterns of S states: 0/1 partials of the taxa [n, P, S] and weights [P]; with ascertainment the last S patterns
    are the constant ones, of weight zero."""

    taxa: np.ndarray
    weights: np.ndarray
    ascertainment: bool


def pack(patterns: SitePatterns, ascertainment: bool = False) -> Packed:
    """Patterns as the functions here take them."""
    n_states = patterns.alphabet.n_states
    bits = np.arange(n_states).astype(patterns.states.dtype)
    taxa = ((patterns.states[:, :, None] >> bits) & patterns.states.dtype.type(1)).astype(np.float64)
    weights = patterns.weights
    if ascertainment:
        constant = np.broadcast_to(np.eye(n_states), (taxa.shape[0], n_states, n_states))
        taxa, weights = np.concatenate([taxa, constant], axis=1), np.append(weights, np.zeros(n_states))
    return Packed(taxa, weights, ascertainment)


def log_likelihoods(
    children: np.ndarray, lengths: np.ndarray, packed: Packed, rates: Rates, which: np.ndarray
) -> np.ndarray:
    """Log-likelihoods [T] of children int32 [T, n-2, 2] and lengths [T, E]."""
    return np.array([tree.value for tree in _trees(children, lengths, packed, rates, which)])


def evaluate(
    children: np.ndarray, lengths: np.ndarray, packed: Packed, rates: Rates, which: np.ndarray, parameters: bool = True
) -> tuple[np.ndarray, np.ndarray, RateSlopes | None]:
    """Log-likelihoods [T], their slopes in the lengths [T, E], and those in the model, unless they are not wanted."""
    trees = _trees(children, lengths, packed, rates, which)
    values = np.array([tree.value for tree in trees])
    slopes = np.array([tree.length_slopes() for tree in trees]).reshape(lengths.shape)
    if not parameters:
        return values, slopes, None
    each = [tree.rate_slopes() for tree in trees]
    return values, slopes, RateSlopes(*(np.array(parts) for parts in zip(*each, strict=True)))


def _trees(children: np.ndarray, lengths: np.ndarray, packed: Packed, rates: Rates, which: np.ndarray) -> list[_Tree]:
    return [
        _Tree(tree, length, packed, Rates(*(part[m] for part in rates)))
        for tree, length, m in zip(children, lengths, which, strict=True)
    ]


class _Tree:
    """One tree under one parameter vector, rates.* without their first axis."""

    def __init__(self, children: np.ndarray, lengths: np.ndarray, packed: Packed, rates: Rates) -> None:
        self.lengths, self.packed, self.rates = lengths, packed, rates
        self.q = (rates.vectors * rates.values) @ rates.inverse
        grown = np.exp(rates.rates[:, None, None] * lengths[:, None] * rates.values)  # [C, E, S]
        # Rounding makes small probabilities negative where frequencies are far apart.
        self.p = ((rates.vectors * grown[:, :, None, :]) @ rates.inverse).clip(0.0)  # [C, E, S, S]
        self.passes = [_Pass(children, p, packed.taxa, rates.frequencies) for p in self.p]
        # States that all taxa may have, [P, S].
        self.shared = packed.taxa.min(axis=0)
        with np.errstate(divide="ignore"):
            unchanged = np.log(rates.invariant * (self.shared @ rates.frequencies))
            self.parts = np.array([np.log(w) + each.values for w, each in zip(rates.weights, self.passes, strict=True)])
        self.site = np.logaddexp.reduce([unchanged, *self.parts], axis=0)
        self.value, self.upstream = self._combine()

    def _combine(self) -> tuple[float, np.ndarray]:
        """The log-likelihood, and its slopes [P] in those of the patterns."""
        weights, site = self.packed.weights, self.site
        if not self.packed.ascertainment:
            return float(weights[weights > 0] @ site[weights > 0]), weights
        states = self.q.shape[0]
        constant = np.exp(site[-states:])
        recorded = 1.0 - constant.sum()
        upstream = weights.copy()
        upstream[-states:] = weights.sum() * constant / recorded
        return float(weights[:-states] @ site[:-states] - weights.sum() * np.log(recorded)), upstream

    def _shares(self) -> np.ndarray:
        """Slopes in the log-likelihoods of patterns in each category, [C, P]."""
        shares: np.ndarray = np.exp(np.where(self.parts > -np.inf, self.parts - self.site, -np.inf)) * self.upstream
        return shares

    def _products(self) -> np.ndarray:
        """The matrices X, [C, E, S, S]."""
        return np.array([each.products(share) for each, share in zip(self.passes, self._shares(), strict=True)])

    def length_slopes(self) -> np.ndarray:
        """[E]."""
        slopes: np.ndarray = np.einsum("c,ceij,ceij->e", self.rates.rates, self._products(), self.q @ self.p)
        return slopes

    def rate_slopes(self) -> RateSlopes:
        """Without the axis of trees."""
        x, rates = self._products(), self.rates
        of_rates = np.einsum("e,ceij,ceij->c", self.lengths, x, self.q @ self.p)
        inner = (rates.vectors.T @ x @ rates.inverse.T) * _divided_differences(
            rates.values, rates.rates[:, None] * self.lengths
        )
        matrix = rates.inverse.T @ inner.sum(axis=(0, 1)) @ rates.vectors.T
        # The likelihood of a pattern is linear in root frequencies and in all probabilities of rates.
        per_likelihood = self.upstream * np.exp(np.where(self.upstream > 0, -self.site, -np.inf))
        root = sum(
            (each.at_root * share[:, None]).sum(axis=0) for each, share in zip(self.passes, self._shares(), strict=True)
        )
        frequencies = root + rates.invariant * (per_likelihood @ self.shared)
        weights = np.array([per_likelihood @ np.exp(each.values) for each in self.passes])
        return RateSlopes(matrix, frequencies, of_rates, weights, per_likelihood @ (self.shared @ rates.frequencies))


def _divided_differences(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """F [..., S, S] of eigenvalues [S] and times [...]; times e^{value time} where two are equal."""
    t = times[..., None, None]
    gap = np.abs(values[:, None] - values) * t
    shrunk = np.divide(-np.expm1(-gap), gap, out=np.ones_like(gap), where=gap > 0)
    f: np.ndarray = t * np.exp(np.maximum(values[:, None], values) * t) * shrunk
    return f


class _Pass:
    """Both passes of pruning with transition matrices p [E, S, S], partials scaled to a largest entry of one.

    values: log-likelihoods of patterns [P]. at_root: their slopes in the root's frequencies, [P, S].
    """

    def __init__(self, children: np.ndarray, p: np.ndarray, taxa: np.ndarray, frequencies: np.ndarray) -> None:
        n, nodes = taxa.shape[0], 2 * taxa.shape[0] - 2
        below = np.concatenate([taxa, np.ones((n - 2, *taxa.shape[1:]))])
        sent, removed = np.empty_like(below), np.zeros(taxa.shape[1])
        for v in [*range(1, n), *range(n, nodes)]:
            if v >= n:
                below[v] = sent[children[v - n, 0]] * sent[children[v - n, 1]]
                largest = np.maximum(below[v].max(axis=1), TINY)
                below[v] /= largest[:, None]
                removed += np.log(largest)
            sent[v] = below[v] @ p[v - 1].T
        above = np.empty_like(below)
        above[nodes - 1] = frequencies * taxa[0]
        for v in range(nodes - 1, n - 1, -1):
            down = above[v] @ p[v - 1]
            for child, sister in (children[v - n], children[v - n][::-1]):
                above[child] = down * sent[sister]
                above[child] /= np.maximum(above[child].max(axis=1, keepdims=True), TINY)
        self.above, self.below = above[1:], below[1:]
        self.likelihoods = np.einsum("vpi,vpi->vp", self.above, sent[1:])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.values = np.log(self.likelihoods[-1]) + removed
            self.at_root = np.nan_to_num(taxa[0] * sent[nodes - 1] / self.likelihoods[-1][:, None], posinf=0.0)

    def products(self, shares: np.ndarray) -> np.ndarray:
        """X [E, S, S] of shares [P]."""
        scale = np.divide(shares, self.likelihoods, out=np.zeros_like(self.likelihoods), where=self.likelihoods > 0)
        return np.swapaxes(self.above * scale[:, :, None], 1, 2) @ self.below


def spectrum(exchangeabilities: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V, V^-1 and eigenvalues of Q with one expected substitution per site, for symmetric exchangeabilities [..., S, S]
    (diagonal and scale do not matter) and frequencies [..., S].

    With D = diag(frequencies), D^1/2 Q D^-1/2 is symmetric, so that one orthogonal decomposition gives all.
    """
    root = np.sqrt(frequencies)
    values, vectors = np.linalg.eigh(root[..., :, None] * rate_matrix(exchangeabilities, frequencies) / root[..., None, :])
    return vectors / root[..., :, None], np.swapaxes(vectors, -1, -2) * root[..., None, :], values


def rate_matrix(exchangeabilities: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Q [..., S, S], rows summing to zero, one substitution per site and unit of length in equilibrium."""
    states = frequencies.shape[-1]
    q = exchangeabilities * frequencies[..., None, :] * (1.0 - np.eye(states))
    leaving = q.sum(axis=-1)
    scale = (frequencies * leaving).sum(axis=-1)
    scaled: np.ndarray = (q - leaving[..., None] * np.eye(states)) / scale[..., None, None]
    return scaled


class ReversibleModel(StationaryModel):
    """A model with nothing to learn. A subclass gives names, `frequencies` and `exchangeabilities`."""

    @abstractmethod
    def exchangeabilities(self) -> np.ndarray:
        """Symmetric [S, S]; the diagonal and the scale do not matter."""

    def spectral(self) -> Rates:
        """Of the one parameter vector that there is."""
        frequencies = self.frequencies()
        parts = (*spectrum(self.exchangeabilities(), frequencies), frequencies, np.ones(1), np.ones(1), np.zeros(()))
        return Rates(*(part[None] for part in parts))

    def work_of(self, packed: Packed) -> float:
        """The number of patterns."""
        return float(packed.weights.size)

    def transition_matrices(self, lengths: np.ndarray | float) -> np.ndarray:
        """P [..., S, S]."""
        vectors, inverse, values = spectrum(self.exchangeabilities(), self.frequencies())
        p: np.ndarray = (vectors * np.exp(np.asarray(lengths)[..., None, None] * values)) @ inverse
        return p

    def pack(self, patterns: SitePatterns) -> Packed:
        """0/1 partials of the taxa, and weights."""
        return pack(patterns)

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: Packed) -> np.ndarray:
        """Log-likelihoods [T]."""
        return self.evaluate(children, lengths, packed).values

    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: Packed) -> Likelihoods:
        """Log-likelihoods and derivatives, tree by tree."""
        which = np.zeros(children.shape[0], np.int64)
        values, slopes, _ = evaluate(children, lengths, packed, self.spectral(), which, parameters=False)
        return Likelihoods(values, slopes)

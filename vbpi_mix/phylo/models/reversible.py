"""Any time-reversible model of nucleotides, from its frequencies and exchangeabilities alone: pruning in numpy.

Slow, some hundred times slower than kernels, and enough to have a model right before it has kernels, and to hold them to.

With D = diag(frequencies), D^1/2 Q D^-1/2 is symmetric, so that P(t) = exp(Q t) comes from one eigendecomposition. The
derivative of the likelihood in a length is u' P'(t) l, with u the partials above the edge (frequencies included) and l
those below, and P'(t) = Q P(t).
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.substitution import Likelihoods, SubstitutionModel


class ReversibleModel(SubstitutionModel):
    """A subclass gives names, `frequencies` and `exchangeabilities`."""

    @abstractmethod
    def exchangeabilities(self) -> np.ndarray:
        """Symmetric [4, 4]; the diagonal and the scale do not matter."""

    def rate_matrix(self) -> np.ndarray:
        """Q [4, 4], rows summing to zero, one substitution per site and unit of length in equilibrium."""
        frequencies = self.frequencies()
        q = self.exchangeabilities() * frequencies
        np.fill_diagonal(q, 0.0)
        np.fill_diagonal(q, -q.sum(axis=1))
        return q / -(frequencies @ q.diagonal())

    def transition_matrices(self, lengths: np.ndarray | float) -> np.ndarray:
        """P [..., 4, 4]."""
        root = np.sqrt(self.frequencies())
        values, vectors = np.linalg.eigh(root[:, None] * self.rate_matrix() / root)
        grown = np.exp(np.asarray(lengths)[..., None] * values)
        p: np.ndarray = (vectors / root[:, None] * grown[..., None, :]) @ (vectors.T * root)
        return p

    def pack(self, patterns: SitePatterns) -> tuple[np.ndarray, np.ndarray]:
        """0/1 partials of the taxa [n, P, 4] and weights [P]."""
        return ((patterns.states[:, :, None] >> np.arange(4)) & 1).astype(np.float64), patterns.weights

    def log_likelihoods(
        self, children: np.ndarray, lengths: np.ndarray, packed: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Log-likelihoods [T]."""
        return self.evaluate(children, lengths, packed).values

    def evaluate(
        self, children: np.ndarray, lengths: np.ndarray, packed: tuple[np.ndarray, np.ndarray]
    ) -> Likelihoods:
        """Log-likelihoods and derivatives, tree by tree."""
        matrices = self.transition_matrices(lengths)
        values, slopes = np.empty(children.shape[0]), np.empty(lengths.shape)
        for t, tree in enumerate(children):
            values[t], slopes[t] = self._tree(tree, matrices[t], *packed)
        return Likelihoods(values, slopes)

    def _tree(
        self, children: np.ndarray, p: np.ndarray, taxa: np.ndarray, weights: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Of one tree that hangs from taxon 0, with transition matrices p [E, 4, 4]: edge v-1 lies above node v."""
        n, nodes = taxa.shape[0], 2 * taxa.shape[0] - 2
        below = np.concatenate([taxa, np.ones((n - 2, *taxa.shape[1:]))])
        sent, removed = np.empty_like(below), np.zeros(taxa.shape[1])
        for v in [*range(1, n), *range(n, nodes)]:
            if v >= n:
                below[v] = sent[children[v - n, 0]] * sent[children[v - n, 1]]
                largest = np.maximum(below[v].max(axis=1), np.finfo(float).tiny)
                below[v] /= largest[:, None]
                removed += np.log(largest)
            sent[v] = below[v] @ p[v - 1].T
        above = np.empty_like(below)
        above[nodes - 1] = self.frequencies() * taxa[0]
        for v in range(nodes - 1, n - 1, -1):
            down = above[v] @ p[v - 1]
            for child, sister in (children[v - n], children[v - n][::-1]):
                above[child] = down * sent[sister]
                above[child] /= np.maximum(above[child].max(axis=1, keepdims=True), np.finfo(float).tiny)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log((above[nodes - 1] * sent[nodes - 1]).sum(axis=1)) + removed
            changed = np.einsum("vpi,vpi->vp", above[1:], sent[1:] @ self.rate_matrix().T)
            slopes = np.nan_to_num(changed / (above[1:] * sent[1:]).sum(axis=2), posinf=0.0, neginf=0.0)
        return float(weights @ values), slopes @ weights

"""Shares of the posterior that topologies have: a table of what is known of them, and what draws from a mixture add to it.

Weighted draws count for topologies that nobody has approximated; fitting the mixture to the shares and drawing again is adaptive
importance sampling (start.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vbpi_mix.pareto import effective_sample_size
from vbpi_mix.phylo.approximation import GammaApproximations
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies

DRAWS_AT_ONCE = 2_000


@dataclass(frozen=True, eq=False)
class Table:
    """What is known of topologies int32 [K, n-2, 2]: about their log marginal likelihoods, float64 [K], by prediction; and
    approximations of those with numbers `approximated` [T].
    """

    topologies: np.ndarray
    predicted: np.ndarray
    approximated: np.ndarray
    found: GammaApproximations

    def with_more(self, children: np.ndarray, found: GammaApproximations) -> Table:
        """The same and new, approximated topologies."""
        first, new = self.predicted.size, children.shape[0]
        return Table(
            np.concatenate([self.topologies, children]),
            np.concatenate([self.predicted, found.log_marginal]),
            np.concatenate([self.approximated, np.arange(first, first + new)]),
            self.found.joined(found),
        )

    def weights(self) -> np.ndarray:
        """Shares of the posterior [K]."""
        worth = self.predicted.copy()
        worth[self.approximated] = self.found.log_marginal
        return np.asarray(np.exp(worth - np.logaddexp.reduce(worth)))


@dataclass(frozen=True, eq=False)
class _AllComponents:
    """Each of A components, sampled and evaluated (draws.ComponentSelection)."""

    sampled: torch.Tensor
    evaluated: torch.Tensor
    own: torch.Tensor


def adapt(
    table: Table, mixture: PhyloMixture, posterior: Posterior, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Topologies [U, n-2, 2] of a table and of `count` draws from the mixture, their shares of the posterior, and what the
    draws are worth: their effective sample size.

    Approximated ones have their own estimate of the marginal likelihood. That of the others is the sum of the weights of
    their draws, over the number of draws: unbiased, and zero for what was not drawn.
    """
    n_components = mixture.n_components
    each = torch.arange(n_components)
    draw = _AllComponents(each, each, each)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    children, log_w = [], []
    at_once = max(1, DRAWS_AT_ONCE // n_components)
    with torch.no_grad():
        for _ in range(max(1, count // (at_once * n_components))):
            draws = mixture.sample(draw, at_once, generator)
            log_q = torch.logsumexp(draws.log_q, 2) - np.log(n_components)
            log_p = posterior.log_likelihood(draws) + posterior.log_prior(draws)
            children.append(draws.topologies.children)
            log_w.append((log_p - log_q).numpy().ravel())
    together = np.concatenate([table.topologies, *children])
    topologies, index = unique_topologies(canonicalise(together)[0])
    known, drawn = index[: table.predicted.size], index[table.predicted.size :]
    weights, own = np.concatenate(log_w), table.found.log_marginal + posterior.constant
    largest = max(float(weights.max()), float(own.max()))
    marginal = np.bincount(drawn, np.exp(weights - largest), topologies.shape[0]) / weights.size
    marginal[known[table.approximated]] = np.exp(own - largest)
    return topologies, marginal / marginal.sum(), effective_sample_size(weights)


def joined(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct topologies of two weighted sets, canonical, with the average of their weights, `share` being the second's."""
    children = canonicalise(np.concatenate([first[0], second[0]]))[0]
    topologies, index = unique_topologies(children)
    each = np.concatenate([(1.0 - share) * first[1], share * second[1]])
    return topologies, np.bincount(index, each, topologies.shape[0])

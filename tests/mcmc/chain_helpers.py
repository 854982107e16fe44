"""A chain of one run and one temperature, step by step, and alignments to run it on."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sampling.chains import Chains
from vbpi_mix.phylo.sampling.kernels import chains as kernels
from vbpi_mix.phylo.sampling.kernels.moves import COUNTERS, Chain

LETTERS = np.array([1, 2, 4, 8], np.uint8)


def random_patterns(n_taxa, n_patterns, rng):
    """Patterns with every kind of state set, of random weights."""
    states = rng.integers(1, 16, (n_taxa, n_patterns)).astype(np.uint8)
    return SitePatterns(states, rng.integers(1, 4, n_patterns).astype(float))


def missing_patterns(n_taxa):
    """An alignment that says nothing: its posterior is the prior."""
    return SitePatterns(np.full((n_taxa, 1), 15, np.uint8), np.ones(1))


def target_of(patterns, branch_prior=None, topology_prior=None):
    return Posterior(patterns, branch_prior=branch_prior, topology_prior=topology_prior)


class SingleChain:
    """Half-edges, focus and log-likelihood of a chain; `step` is one generation."""

    def __init__(
        self, patterns=None, seed=0, beta=1.0, window=1.5, branch_prior=None, topology_prior=None, target=None,
        local_share=0.0,
    ):
        self.target = target or target_of(patterns, branch_prior, topology_prior)
        self.chains = Chains(self.target, 1, 1, 0.0, 0.0, 1, seed)
        self.data = self.chains.patterns
        self.tree, self.work = self.chains.views(0)
        self.focus, self.log_likelihood = int(self.chains.state.focus[0]), float(self.chains.state.log_likelihood[0])
        self.beta, self.window, self.prior = beta, window, self.target.branch_prior.kernel
        self.local_share, self.passing = local_share, 0.5
        self.counters = np.zeros(COUNTERS, np.int64)

    def step(self, regraft_share, steps=1):
        chain = Chain(
            self.beta, self.window, regraft_share, self.local_share, self.passing, self.prior, self.chains.state.rng[0],
            self.counters,
        )  # fmt: skip
        self.focus, self.log_likelihood = kernels.run_chain(
            self.focus, self.log_likelihood, steps, chain, self.data, self.tree, self.work
        )

    def read(self):
        """Canonical children int32 [n-2, 2] and lengths float64 [E]."""
        n = self.data.n_taxa
        children, lengths = np.empty((n - 2, 2), np.int32), np.empty(2 * n - 3)
        kernels.unhang(n, self.tree.twin, self.tree.length, self.work.stack, children, lengths)
        return children, lengths

    def full_log_likelihood(self):
        """By the kernel that fits use, from nothing but the tree."""
        children, lengths = self.read()
        return log_likelihoods(children[None], lengths[None], self.target.patterns)[0]

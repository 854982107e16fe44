"""Posteriors of few taxa whose topologies can be listed, and samples of them."""

import numpy as np
from reference import jukes_cantor

from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import enumerate_topologies


def small_data(n_taxa, sites, length=0.2, seed=None):
    """Patterns of sites that arose on one topology, and their posterior."""
    rng = np.random.default_rng(n_taxa if seed is None else seed)
    states = simulate_states(enumerate_topologies(n_taxa)[1], np.full(2 * n_taxa - 3, length), sites, rng)
    patterns = compress(Alignment(tuple(f"t{k}" for k in range(n_taxa)), states))
    return patterns, Posterior(patterns)


def sample_of(children, weights=None):
    """A tree sample with each of these topologies once."""
    count, n_taxa = children.shape[0], children.shape[1] + 2
    weights = np.full(count, 1.0 / count) if weights is None else np.asarray(weights) / np.sum(weights)
    taxa = tuple(f"t{k}" for k in range(n_taxa))
    return TreeSample(taxa, children, weights, np.arange(count, dtype=np.int32), weights, None, ())


def exact_log_marginals(patterns, nodes=None):
    """By quadrature, of all topologies in their order, with the normalised prior of lengths."""
    topologies = enumerate_topologies(patterns.states.shape[0])
    return np.array([jukes_cantor.exact_log_marginal(c, patterns.states, patterns.weights, nodes=nodes) for c in topologies])


def shares(log_marginals):
    return np.exp(log_marginals - np.logaddexp.reduce(log_marginals))


def numbers_of(children, among):
    """Place of each topology among others; all are canonical."""
    place = {c.tobytes(): k for k, c in enumerate(among)}
    return np.array([place[c.tobytes()] for c in children])

"""Subsplit Bayesian networks: their probabilities from logits, and fits to a weighted tree sample."""

from __future__ import annotations

import numba
import numpy as np

from vbpi_mix.phylo.sbn.kernels import counts, draw
from vbpi_mix.phylo.sbn.kernels.log_probability import log_q_forward, log_q_forward_in_parallel
from vbpi_mix.phylo.sbn.kernels.normalise import normalise_groups, normalise_groups_in_parallel
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

# Pseudo-count of EM, as a share of the least weight of a topology: no PCSP of the support ends at probability zero.
EM_PSEUDO_COUNT = 1e-3
# Fewer parameters, or roots of topologies under a component, than these are worked on by one thread: about 0.1 ms of work.
PARALLEL_PARAMETERS, PARALLEL_ROOTINGS = 20_000, 2_000


def normalise(logits: np.ndarray, support: SubsplitSupport) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and probabilities float64 [A, n_params] of logits, group by group."""
    log_probabilities, probabilities = np.zeros(logits.shape), np.empty(logits.shape)
    several = numba.get_num_threads() > 1 and logits.shape[0] > 1 and logits.size >= PARALLEL_PARAMETERS
    run = normalise_groups_in_parallel if several else normalise_groups
    run(np.ascontiguousarray(logits, np.float64), support.groups, log_probabilities, probabilities)
    return log_probabilities, probabilities


def log_probability(logits: np.ndarray, support: SubsplitSupport, encoded: EncodedTopologies) -> np.ndarray:
    """log q_a(tau) float64 [T, A] of encoded topologies under logits [A, n_params]; -inf outside the support."""
    log_probabilities, _ = normalise(logits, support)
    return log_q_and_rooting(log_probabilities, encoded)[0]


def log_q_and_rooting(log_probabilities: np.ndarray, encoded: EncodedTopologies) -> tuple[np.ndarray, np.ndarray]:
    """log q_a(tau) [T, A], and the probability of each rooting given the topology, [T, A, 2n-2]; log_probabilities
    float64 [A, n_params] as `normalise` gives them.
    """
    components = np.arange(log_probabilities.shape[0])
    log_q = np.empty((len(encoded), components.size))
    rooting = np.empty((len(encoded), components.size, encoded.splits.shape[1]))
    trees = len(encoded)
    chunks = min(numba.get_num_threads(), trees)
    arguments = encoded.children, encoded.parameters, log_probabilities, components, log_q, rooting
    if chunks > 1 and rooting.size >= PARALLEL_ROOTINGS:
        log_q_forward_in_parallel(chunks, *arguments)
    else:
        log_q_forward(0, trees, *arguments)
    return log_q, rooting


def draw_topologies(
    probabilities: np.ndarray, support: SubsplitSupport, component: np.ndarray, uniforms: np.ndarray
) -> EncodedTopologies:
    """Topologies drawn from SBNs; tree t from component[t].

    probabilities float64 [A, n_params]; component int64 [T]; uniforms float64 [T, n-1] in [0, 1).
    """
    encoded = EncodedTopologies.empty(component.size, support.n_taxa)
    draw.draw_topologies(probabilities, component, uniforms, support.arrays, encoded.arrays)
    return encoded


def fit_simple_average(support: SubsplitSupport, encoded: EncodedTopologies, weights: np.ndarray) -> np.ndarray:
    """Logits [n_params] of the simple average estimate: PCSP frequencies with every rooting equally likely.

    weights float64 [U] of the topologies. Zhang and Matsen (2018), "Generalizing tree probability estimation via
    Bayesian networks", section 3.3.
    """
    rooting = np.zeros(encoded.splits.shape)
    rooting[:, 1:] = 1.0 / (encoded.splits.shape[1] - 1)
    return logits_of_counts(_expected_counts(support, encoded, rooting, weights), support)


def fit_em(
    support: SubsplitSupport,
    encoded: EncodedTopologies,
    weights: np.ndarray,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """Logits [n_params] of the maximum likelihood estimate by expectation maximisation over the root edge.

    Starts from the simple average; stops when the mean log-likelihood of the sample rises by less than `tolerance`.
    Zhang and Matsen (2018), section 3.3.
    """
    logits = fit_simple_average(support, encoded, weights)
    pseudo_count = EM_PSEUDO_COUNT * weights[weights > 0].min()
    previous = -np.inf
    for _ in range(iterations):
        log_probabilities, _ = normalise(logits[None], support)
        log_q, rooting = log_q_and_rooting(log_probabilities, encoded)
        fit = float(weights @ log_q[:, 0] / weights.sum())
        if fit - previous < tolerance:
            break
        previous = fit
        expected = _expected_counts(support, encoded, np.ascontiguousarray(rooting[:, 0]), weights)
        logits = logits_of_counts(expected + pseudo_count, support)
    return logits


def add_expected_counts(
    encoded: EncodedTopologies, rooting: np.ndarray, weights: np.ndarray, expected: np.ndarray
) -> None:
    """Add to expected float64 [n_params] how often each parameter is used by topologies with weights [T], rooted on their
    edges with probabilities rooting float64 [T, 2n-2].
    """
    counts.expected_counts(encoded.children, encoded.parameters, rooting, weights, expected)


def _expected_counts(
    support: SubsplitSupport, encoded: EncodedTopologies, rooting: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    expected = np.zeros(support.n_params)
    add_expected_counts(encoded, rooting, weights, expected)
    return expected


def logits_of_counts(expected: np.ndarray, support: SubsplitSupport) -> np.ndarray:
    """Logarithms of expected counts, centred in every group; a count of zero is taken as the smallest positive one."""
    positive = expected > 0
    logits = np.log(np.where(positive, expected, expected[positive].min()))
    size = np.diff(support.group_start)
    means = np.add.reduceat(logits, support.group_start[:-1]) / size
    return logits - np.repeat(means, size)


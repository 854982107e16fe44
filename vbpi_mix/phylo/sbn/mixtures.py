"""A mixture of subsplit Bayesian networks fitted to weighted topologies by expectation maximisation."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.sbn import networks
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

ITERATIONS = 40
TOLERANCE = 3e-5
# A topology's first responsibilities are a draw from this symmetric Dirichlet distribution: components must differ to part.
CONCENTRATION = 1.0
# Pseudo-count of every PCSP, as a share of all weight: what no topology has stays possible.
PSEUDO_COUNT = 1e-6
# Where topologies times components are no more than this, the best of a few random starts is taken: it costs next to nothing.
SMALL, TRIES = 6_000, 3
# And from there on a mixture is taken nearer to its maximum, by as many iterations as a few seconds allow: on DS1 that takes
# the divergence from the golden runs from 0.009 to 0.005, though the likelihood rises by 0.003 only.
POLISHING_WORK, POLISHING_ITERATIONS, POLISHING_TOLERANCE = 1_200_000, 300, 1e-6
# Topologies worked on at once, so that the rootings of all components fit in memory; fewer of more than 16 components.
AT_ONCE, FULL_COMPONENTS = 20_000, 16


def fit_mixture(
    support: SubsplitSupport,
    encoded: EncodedTopologies,
    weights: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Logits [A, n_params] of A networks, equally weighted, that make the topologies as probable as they can.

    weights float64 [U] of the encoded topologies, at least 0; those of weight 0 only keep their PCSPs possible. The
    latent variables are the component and the root of each topology; steps end when the mean log-likelihood rises by less
    than `tolerance`, or after `iterations`. With one component this is the fit of Zhang and Matsen (2018), section 3.3.
    """
    used = weights > 0
    if not used.all():
        encoded, weights = encoded.take(np.flatnonzero(used)), weights[used]
    shares = weights / weights.sum()
    if start is not None:
        _, counts = _step(support, encoded, shares, start)
        return _climb(support, encoded, shares, counts, iterations, tolerance)[1]
    several = n_components > 1 and shares.size * n_components <= SMALL
    tries = [
        _climb(
            support, encoded, shares, _random_counts(support, encoded, shares, n_components, rng), iterations, tolerance
        )
        for _ in range(TRIES if several else 1)
    ]
    best = max(tries, key=lambda each: each[0])[1]
    more = min(POLISHING_WORK // (shares.size * n_components), POLISHING_ITERATIONS)
    if n_components == 1 or iterations < ITERATIONS or more == 0:
        return best
    _, counts = _step(support, encoded, shares, best)
    return _climb(support, encoded, shares, counts, more, POLISHING_TOLERANCE)[1]


def _climb(
    support: SubsplitSupport,
    encoded: EncodedTopologies,
    shares: np.ndarray,
    counts: np.ndarray,
    iterations: int,
    tolerance: float,
) -> tuple[float, np.ndarray]:
    """Steps from expected counts [A, n_params] on; the mean log-likelihood reached, and the logits [A, n_params]."""
    previous = -np.inf
    for _ in range(iterations):
        logits = np.stack([networks.logits_of_counts(row + PSEUDO_COUNT, support) for row in counts])
        fit, counts = _step(support, encoded, shares, logits)
        if fit - previous < tolerance:
            break
        previous = fit
    return fit, logits


def _random_counts(
    support: SubsplitSupport, encoded: EncodedTopologies, shares: np.ndarray, n_components: int, rng: np.random.Generator
) -> np.ndarray:
    """Expected counts [A, n_params] of topologies shared out at random, rooted on each edge alike."""
    responsibilities = np.ones((shares.size, 1))
    if n_components > 1:
        responsibilities = rng.dirichlet(np.full(n_components, CONCENTRATION), shares.size)
    uniform = np.zeros(encoded.splits.shape)
    uniform[:, 1:] = 1.0 / (encoded.splits.shape[1] - 1)
    counts = np.zeros((n_components, support.n_params))
    for a in range(n_components):
        networks.add_expected_counts(encoded, uniform, shares * responsibilities[:, a], counts[a])
    return counts


def _step(
    support: SubsplitSupport, encoded: EncodedTopologies, shares: np.ndarray, logits: np.ndarray
) -> tuple[float, np.ndarray]:
    """The mean log-likelihood under the logits [A, n_params], and the expected counts [A, n_params]."""
    log_probabilities, _ = networks.normalise(logits, support)
    counts, fit = np.zeros(logits.shape), 0.0
    at_once = max(1, AT_ONCE * FULL_COMPONENTS // max(logits.shape[0], FULL_COMPONENTS))
    for first in range(0, shares.size, at_once):
        part, share = encoded.take(slice(first, first + at_once)), shares[first : first + at_once]
        log_q, rooting = networks.log_q_and_rooting(log_probabilities, part)
        total = np.logaddexp.reduce(log_q, axis=1)
        fit += float((share * total).sum()) - np.log(logits.shape[0]) * float(share.sum())
        for a in range(logits.shape[0]):
            weight = share * np.exp(log_q[:, a] - total)
            networks.add_expected_counts(part, np.ascontiguousarray(rooting[:, a]), weight, counts[a])
    return fit, counts

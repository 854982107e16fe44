"""Expectation maximisation step by step, against a twin of frozensets: pseudo-counts, and when it ends."""

from __future__ import annotations

import numpy as np
import pytest
from reference import subsplit_networks as slow

from vbpi_mix.phylo.sbn import mixtures, networks
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies

TOPOLOGIES = enumerate_topologies(6)[::4]
# They need not sum to one, and the last is not in the sample: only its PCSPs stay possible.
WEIGHTS = np.array([*(0.5 + np.arange(26) * 7 % 11), 0.0])
EM_PSEUDO_COUNT, EM_TOLERANCE = 1e-3 * 0.5, 1e-6
PSEUDO_COUNT, TOLERANCE = 1e-6, 3e-5


def own_log_q(logits):
    support = build_support(TOPOLOGIES)
    return networks.log_probability(np.atleast_2d(logits), support, support.encode(TOPOLOGIES))[:, 0]


def slow_em(steps, tolerance=0.0):
    """log q after `steps` steps from the simple average, or where a step gains less than `tolerance`; and how many were made."""
    counts, previous, pseudo = slow.simple_average(TOPOLOGIES, WEIGHTS), -np.inf, 0.0
    # A PCSP that the sample lacks starts like the least of the others.
    least = min(count for part in counts for count in part.values() if count > 0)
    counts = tuple({key: count or least for key, count in part.items()} for part in counts)
    for made in range(steps + 1):
        fit, log_q, expected = slow.em_step(TOPOLOGIES, WEIGHTS, counts, pseudo)
        if made == steps or fit - previous < tolerance:
            return log_q, made
        counts, previous, pseudo = expected, fit, EM_PSEUDO_COUNT
    raise AssertionError


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_of_em(steps):
    support = build_support(TOPOLOGIES)
    found = networks.fit_em(support, support.encode(TOPOLOGIES), WEIGHTS, iterations=steps, tolerance=0.0)
    assert own_log_q(found).tolist() == pytest.approx(slow_em(steps)[0], rel=1e-9)


def test_em_ends_where_a_step_gains_less_than_its_tolerance():
    support = build_support(TOPOLOGIES)
    found = networks.fit_em(support, support.encode(TOPOLOGIES), WEIGHTS)
    expected, steps = slow_em(100, EM_TOLERANCE)
    assert 3 < steps < 100
    assert own_log_q(found).tolist() == pytest.approx(expected, rel=1e-9)


def slow_mixture_of_one(iterations, tolerance):
    """log q of the last network that was looked at, and how many were."""
    shares = WEIGHTS[:-1] / WEIGHTS.sum()
    counts, previous = slow.simple_average(TOPOLOGIES, [*shares, 0.0]), -np.inf
    looked_at = 0
    while looked_at < iterations:
        fit, log_q, counts = slow.em_step(TOPOLOGIES, [*shares, 0.0], counts, PSEUDO_COUNT)
        looked_at += 1
        if fit - previous < tolerance:
            break
        previous = fit
    return log_q, looked_at


@pytest.mark.parametrize("iterations", [1, 3, None])
def test_steps_of_a_mixture_of_one_network(iterations):
    support = build_support(TOPOLOGIES)
    given = {} if iterations is None else {"iterations": iterations, "tolerance": 0.0}
    found = mixtures.fit_mixture(support, support.encode(TOPOLOGIES), WEIGHTS, 1, np.random.default_rng(1), **given)
    expected, looked_at = slow_mixture_of_one(iterations or 40, 0.0 if iterations else TOLERANCE)
    assert looked_at == (iterations or looked_at) < 40
    assert own_log_q(found).tolist() == pytest.approx(expected, rel=1e-9)

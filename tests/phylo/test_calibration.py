"""Simulation-based calibration of small fits, minutes: `pytest -m slow`; and that its tests see what is wrong, at once."""

import numpy as np
import pytest
from calibration import FALSE_ALARM, agreement, bin_splits, compute, p_values, reliability, uniformity

from vbpi_mix.phylo.trees.topology import clade_bitsets, enumerate_topologies

DATA_SETS = 200


@pytest.mark.slow
def test_answers_of_small_fits_are_calibrated():
    """Eight tests, each of which a right program fails with probability FALSE_ALARM: 0.8% in all, for seeds that are fixed."""
    eight, five = compute(DATA_SETS)
    found = p_values(eight, five)
    assert len(found) == 8
    # Of bins that hold enough; without any, nothing would be tested.
    for counts in ([each.splits for each in eight], [each.exact for each in five]):
        assert reliability(counts).z.size >= 3
    wrong = {name: p for name, p in found.items() if p < FALSE_ALARM}
    assert not wrong


def made_up(rng, data_sets, stated=lambda p: p):
    """Splits of trees of 5 taxa, drawn from probabilities p of the topologies that are said to be as `stated`."""
    topologies = enumerate_topologies(5)
    found = []
    for p in rng.dirichlet(np.full(15, 0.3), data_sets):
        q = stated(p)
        found.append(bin_splits(topologies, q / q.sum(), topologies[rng.choice(15, p=p)]))
    return found


def test_splits_by_hand():
    """Two splits of the most probable topology; each of the other two has one of them and another."""
    topologies = enumerate_topologies(5)
    masks = clade_bitsets(topologies)[:, 5:-1, 0]
    (first,) = np.flatnonzero([set(m) == {0b00110, 0b11000} for m in masks.tolist()])
    (second,) = np.flatnonzero([set(m) == {0b00110, 0b01110} for m in masks.tolist()])
    (third,) = np.flatnonzero([set(m) == {0b01010, 0b01110} for m in masks.tolist()])
    found = bin_splits(topologies[[first, second]], np.array([0.75, 0.25]), topologies[third])
    # {b, c} is certain, {d, e} has 0.75, {b, c, d} 0.25; the truth has the last and one that has nothing.
    np.testing.assert_array_equal(found.splits, [0, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.true, [1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(found.expected, [0, 0.25, 0, 0, 0.75, 1])
    np.testing.assert_allclose(found.variance, [0, 0.1875, 0, 0, 0.1875, 0])


def test_splits_that_are_as_probable_as_stated_pass_and_others_do_not():
    rng = np.random.default_rng(1)
    assert reliability(made_up(rng, DATA_SETS)).p_value > 0.01
    # Overconfident, and afraid to say so.
    assert reliability(made_up(rng, DATA_SETS, lambda p: p**2)).p_value < FALSE_ALARM
    assert reliability(made_up(rng, DATA_SETS, lambda p: p + 0.04)).p_value < FALSE_ALARM


def test_false_alarms_of_splits_are_as_rare_as_stated():
    rng = np.random.default_rng(2)
    alarms = sum(reliability(made_up(rng, 100)).p_value < 0.05 for _ in range(100))
    # Binomial(100, 0.05) is above 14 with probability 5e-5.
    assert alarms <= 14


def test_ranks_of_a_narrow_or_shifted_posterior_are_not_uniform():
    rng = np.random.default_rng(3)
    u = rng.random(DATA_SETS)
    assert uniformity(u) > 0.01
    assert uniformity(0.5 + 0.7 * (u - 0.5)) < FALSE_ALARM
    assert uniformity(u**1.5) < FALSE_ALARM


def test_errors_that_are_stated_too_small_are_seen():
    rng = np.random.default_rng(4)
    errors = 0.01 * rng.random((DATA_SETS, 15))
    differences = errors * rng.normal(size=errors.shape)
    assert agreement(list(differences), list(errors)) > 0.01
    assert agreement(list(differences), list(errors / 1.3)) < FALSE_ALARM

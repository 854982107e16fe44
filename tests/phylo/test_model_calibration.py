"""Simulation-based calibration of models learned with the trees, minutes: `pytest -m slow`; and of its tests, at once."""

from __future__ import annotations

import numpy as np
import pytest
from calibration import FALSE_ALARM, reliability, uniformity
from model_calibration import SETTINGS, compute, coverage, draw_data, p_values, reliable

from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.given import tree_log_likelihood

DATA_SETS = 100
# Fits so short, of data that may say next to nothing of a parameter: some have weights that cannot be relied on, and say so.
LEAST_RELIABLE = 55


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_models_learned_with_the_trees_are_calibrated(setting):
    """All tests together have a false alarm of FALSE_ALARM, for seeds that are fixed."""
    outcomes = compute(setting, DATA_SETS)
    found = p_values(outcomes)
    assert {"TL: rank", "TL: 95% interval", "splits"} <= set(found)
    assert not {name: p for name, p in found.items() if p < FALSE_ALARM / len(found)}
    kept = reliable(outcomes)
    assert len(kept) >= LEAST_RELIABLE
    # Of bins that hold enough; without any, splits would not be tested.
    assert reliability([each.splits for each in kept]).z.size >= 1


def test_coverage_by_hand():
    """Two values are outside of the central 95%; of 100, 95 are as expected, and 80 are not."""
    assert coverage([0.01, 0.03, 0.5, 0.97, 0.98])[0] == 3
    middle, outside = [0.5], [0.001]
    assert coverage(middle * 95 + outside * 5)[1] > 0.5
    assert coverage(middle * 80 + outside * 20)[1] < FALSE_ALARM
    assert coverage(middle * 100)[1] > FALSE_ALARM


def test_an_interval_of_half_the_width_is_seen():
    """A normal posterior whose sd is said to be half of what it is."""
    from scipy.stats import norm

    truth = np.random.default_rng(0).normal(size=100)
    right, narrow = norm.cdf(truth), norm.cdf(2.0 * truth)
    assert uniformity(right) > FALSE_ALARM
    assert coverage(right)[1] > FALSE_ALARM
    assert min(uniformity(narrow), coverage(narrow)[1]) < FALSE_ALARM / 31


@pytest.mark.parametrize("sites", SETTINGS.values())
def test_what_is_drawn_is_as_the_parts_say(sites):
    """Frequencies sum to one, multipliers have a mean of one over sites, and every part has its values."""
    alignment, truth = draw_data(sites, 3)
    assert alignment.states.shape == (6, sum(sites))
    parts = {part for _, part in truth.values if part is not None}
    assert len(parts) == (len(sites) if len(sites) > 1 else 0)
    for part in parts or {None}:
        assert sum(truth.values[f"pi({base})", part] for base in "ACGT") == pytest.approx(1.0)
    multipliers = [value for (name, _), value in truth.values.items() if name.startswith("m{")]
    if multipliers:
        assert np.dot(multipliers, sites) / sum(sites) == pytest.approx(1.0)


def test_data_are_likelier_under_what_they_were_drawn_from():
    """Than with transitions and transversions turned round."""
    alignment, truth = draw_data((200,), 5)
    frequencies = ",".join(repr(truth.values[f"pi({base})", None]) for base in "ACGT")
    kappa, alpha = truth.values["kappa", None], truth.values["alpha", None]
    lengths = truth.lengths
    right, wrong = (
        tree_log_likelihood(f"HKY{{{k}}}+F{{{frequencies}}}+G4{{{alpha}}}", compress(alignment), truth.children, lengths)
        for k in (kappa, 1.0 / kappa)
    )
    assert right > wrong

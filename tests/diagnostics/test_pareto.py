"""Weights of importance sampling: their tail, its smoothing, effective sample size."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import reference_diagnostics as reference
from scipy import special, stats

from vbpi_mix import pareto
from vbpi_mix.pareto import effective_sample_size, normalised_perplexity, pareto_k, reliable_pareto_k, smooth

GOLDEN = json.loads((Path(__file__).parent / "pareto_smoothing.json").read_text())["cases"]


def log(values):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(values, dtype=float))



def test_equal_weights_are_the_best():
    weights = np.full(400, -7000.0)
    assert effective_sample_size(weights) == pytest.approx(400)
    assert normalised_perplexity(weights) == pytest.approx(1)
    assert pareto_k(weights) == -math.inf


def test_one_weight_alone_is_the_worst():
    weights = np.full(400, -np.inf)
    weights[7] = -7000.0
    assert effective_sample_size(weights) == pytest.approx(1)
    assert normalised_perplexity(weights) == pytest.approx(1 / 400)
    assert math.isnan(pareto_k(weights))


def test_weights_by_hand():
    weights = log([3.0, 1.0, 0.0]) - 5000
    assert effective_sample_size(weights) == pytest.approx(16 / 10)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert normalised_perplexity(weights) == pytest.approx(math.exp(entropy) / 3)


def test_no_weight_at_all():
    weights = np.full(100, -np.inf)
    assert math.isnan(effective_sample_size(weights))
    assert math.isnan(normalised_perplexity(weights))
    assert math.isnan(pareto_k(weights))


@pytest.mark.parametrize("draws", [25, 100, 1000, 4001])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_pareto_k_against_the_formulas(draws, spread):
    weights = np.random.default_rng(draws).normal(-7000, spread, draws)
    assert pareto_k(weights) == pytest.approx(reference.pareto_k(weights.tolist()), rel=1e-9)


@pytest.mark.parametrize(("spread", "expected"), [(0.5, 0.12394293891455), (2.0, 0.65392776201939)])
def test_pareto_k_of_arviz(spread, expected):
    """Golden: arviz 0.22.0, `arviz.psislw(weights)[1]` of the same draws."""
    weights = np.random.default_rng(5).normal(-7000, spread, 1000)
    assert pareto_k(weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.7, 1.0, 1.5])
def test_pareto_k_finds_the_shape(shape):
    """Weights that are generalised Pareto have the tail of one; the mean over repeats is near its shape."""
    rng = np.random.default_rng(11)
    weights = stats.genpareto.rvs(shape, size=(20, 100_000), random_state=rng)
    found = [pareto_k(np.log(each)) for each in weights]
    assert np.mean(found) == pytest.approx(shape, abs=0.05)


def test_pareto_k_does_not_depend_on_scale_or_order():
    rng = np.random.default_rng(12)
    weights = rng.normal(0, 2, 2000)
    assert pareto_k(weights[rng.permutation(2000)] - 9000) == pytest.approx(pareto_k(weights), rel=1e-9)


def test_few_draws_have_no_tail():
    assert math.isnan(pareto_k(np.random.default_rng(1).normal(size=20)))


# Smoothing


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['draws']}-{case['spread']}")
def test_smoothing_of_arviz(case):
    """Golden: provenance at the head of pareto_smoothing.json."""
    weights = np.random.default_rng(5).normal(-7000, case["spread"], case["draws"])
    found = smooth(weights, case["relative_efficiency"])
    assert found.pareto_k == pytest.approx(case["pareto_k"], abs=1e-10)
    shares = np.log(found.shares)
    np.testing.assert_allclose(shares[np.argsort(weights)[::-1][:60]], case["largest"], rtol=0, atol=1e-10)
    assert shares[np.argmin(weights)] == pytest.approx(case["smallest"], abs=1e-10)


@pytest.mark.parametrize(("draws", "efficiency"), [(100, 1.0), (400, 1.0), (2500, 1.0), (2500, 0.25), (40_000, 1.0)])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_smoothing_against_arviz(draws, efficiency, spread):
    """At these numbers of draws, since arviz-stats rounds the length of the tail down and the paper rounds it up."""
    arviz = pytest.importorskip("arviz_stats.base", reason="arviz-stats is not installed").array_stats
    weights = np.random.default_rng(draws).normal(-7000, spread, draws)
    # It takes log-likelihoods, whose negatives are the log weights.
    expected, k = arviz.psislw(-weights, r_eff=efficiency)
    found = smooth(weights, efficiency)
    assert found.pareto_k == pytest.approx(float(k), abs=1e-10)
    np.testing.assert_allclose(np.log(found.shares), expected, rtol=0, atol=1e-10)


def test_smoothed_tail_by_scipy():
    """The tail is what scipy's generalised Pareto distribution has at the middle of each of M equal shares."""
    weights = np.random.default_rng(3).normal(-50, 1.0, 1000)
    found = smooth(weights)
    assert found.tail == 95
    order = np.argsort(weights)
    raw = np.exp(weights - weights.max())[order]
    scale_of = np.exp(found.log_weights - weights.max())[order]
    cutoff = raw[-96]
    shape, middle = found.pareto_k, (np.arange(95) + 0.5) / 95
    unit = stats.genpareto.ppf(middle, shape)
    scale = (scale_of[-95] - cutoff) / unit[0]
    np.testing.assert_allclose(scale_of[-95:], np.minimum(cutoff + scale * unit, 1.0), rtol=1e-9)
    np.testing.assert_array_equal(found.log_weights[order[:-95]], weights[order[:-95]])


def test_smoothing_keeps_the_order_and_the_largest():
    weights = np.random.default_rng(4).normal(0, 3.0, 5000)
    found = smooth(weights)
    assert (np.diff(found.log_weights[np.argsort(weights)]) >= 0).all()
    assert found.log_weights.max() <= weights.max()
    assert found.pareto_k == pareto_k(weights)
    assert found.shares.sum() == pytest.approx(1)


def test_smoothing_lowers_the_error_of_a_mean_with_a_heavy_tail():
    """Draws of Exp(1) weighted to Exp(1/3): weights have k = 2/3, no variance, and a known mean of 1."""
    rng = np.random.default_rng(6)
    raw, smoothed = [], []
    for draws in rng.exponential(size=(300, 2000)):
        weights = np.log(1 / 3) + draws * (2 / 3)
        raw.append(np.exp(weights).mean())
        smoothed.append(np.exp(smooth(weights).log_weights).mean())
    assert np.sqrt(np.mean((np.array(smoothed) - 1) ** 2)) < 0.8 * np.sqrt(np.mean((np.array(raw) - 1) ** 2))


@pytest.mark.parametrize("weights", [np.full(400, -7000.0), log([1.0, 0.0] + [0.0] * 98), np.arange(20.0)])
def test_what_has_no_tail_stays_as_it_is(weights):
    found = smooth(weights)
    assert found.tail == 0
    np.testing.assert_array_equal(found.log_weights, weights)


def test_zero_weights_stay_zero():
    weights = np.random.default_rng(7).normal(-7000, 1.0, 1000)
    weights[::2] = -np.inf
    found = smooth(weights)
    assert (found.shares[::2] == 0).all()
    assert found.shares.sum() == pytest.approx(1)
    assert smooth(np.full(100, -np.inf)).shares.sum() == 0


@pytest.mark.parametrize(("draws", "expected"), [(1, -math.inf), (10, 0.0), (100, 0.5), (1000, 2 / 3), (10_000, 0.7)])
def test_reliable_k(draws, expected):
    assert reliable_pareto_k(draws) == pytest.approx(expected)


def test_reliability_is_of_k_and_the_number_of_draws():
    assert smooth(np.full(400, 0.0)).reliable
    assert not smooth(np.arange(20.0)).reliable
    weights = 1.5 * np.random.default_rng(8).exponential(size=10_000)
    assert smooth(weights).pareto_k > 1
    assert not smooth(weights).reliable


def test_effective_sample_size_of_many_weights():
    weights = np.random.default_rng(9).normal(-7000, 2.0, 1000)
    shares = special.softmax(weights)
    assert effective_sample_size(weights) == pytest.approx(1 / (shares**2).sum())
    assert math.isnan(effective_sample_size(np.full(9, -np.inf)))


def test_perplexity_of_weights_too_small_to_have_a_share():
    log_weights = np.array([0.0, 0.0, 0.0, math.log(5e-324)])
    assert pareto.normalised_perplexity(log_weights) == pytest.approx(0.75)

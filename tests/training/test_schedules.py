"""Schedules against hand-computed values, and the plateau rule on series whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.schedules import (
    BudgetSchedule,
    PlateauRule,
    PlateauSchedule,
    StepSchedule,
    make_schedule,
)


@pytest.mark.parametrize(
    ("iteration", "rate", "beta"),
    [
        (1, 0.001, 0.00101),
        (20_000, 0.001, 0.201),
        (20_001, 0.00075, 0.20101),
        (40_001, 0.0005625, 0.40101),
        (99_900, 0.001 * 0.75**4, 1.0),
        (99_899, 0.001 * 0.75**4, 0.99999),
        (100_000, 0.001 * 0.75**4, 1.0),
        (400_000, 0.001 * 0.75**19, 1.0),
    ],
)
def test_published_schedule(iteration, rate, beta):
    schedule = make_schedule(TrainingConfig(schedule="paper"))
    assert isinstance(schedule, StepSchedule)
    assert schedule.at(iteration, 0.0) == pytest.approx((rate, beta), rel=1e-12)
    assert schedule.iterations == 400_000


def test_iteration_budget_ends_at_the_final_factor():
    config = TrainingConfig(
        iterations=1_000, learning_rate=0.2, final_learning_rate_factor=0.1, tempering_iterations=0
    )
    schedule = make_schedule(config)
    assert isinstance(schedule, BudgetSchedule)
    assert schedule.at(1, 99.0) == (pytest.approx(0.2), 1.0)
    assert schedule.at(501, 0.0)[0] == pytest.approx(0.2 * 0.55)
    assert schedule.at(1_000, 0.0)[0] == pytest.approx(0.02, rel=1e-3)


def test_time_budget_follows_the_clock():
    schedule = make_schedule(TrainingConfig(seconds=10.0, learning_rate=0.2, final_learning_rate_factor=0.1))
    assert schedule.iterations is None
    assert schedule.at(5_000, 5.0)[0] == pytest.approx(0.2 * 0.55)
    assert schedule.at(5_000, 12.0)[0] == pytest.approx(0.02)
    assert schedule.at(1, 0.0)[1] == pytest.approx(0.0015)
    assert schedule.at(1, 1.0)[1] == 1.0


def test_both_budgets_follow_the_one_more_used():
    schedule = make_schedule(TrainingConfig(seconds=10.0, iterations=100, learning_rate=1.0))
    assert schedule.at(51, 1.0)[0] == schedule.at(1, 5.0)[0]


def test_a_tenth_of_the_time_is_for_tempering_unless_its_length_is_chosen():
    chosen = make_schedule(TrainingConfig(seconds=10.0, tempering_iterations=1_000, initial_beta=0.0))
    assert chosen.at(100, 5.0)[1] == pytest.approx(0.1)
    both = make_schedule(TrainingConfig(seconds=10.0, tempering_iterations=1_000, tempering_seconds=4.0))
    assert both.at(100, 2.0)[1] == pytest.approx(0.5)
    assert both.at(100, 4.0)[1] == both.at(1_000, 0.0)[1] == 1.0


def test_an_initial_beta_below_zero_is_a_while_without():
    """Held for the share -b / (1 - b), then a line to 1; by the clock where that is further."""
    config = TrainingConfig(iterations=1_000, tempering_iterations=100, tempering_seconds=10.0, initial_beta=-1.0)
    schedule = make_schedule(config)
    assert [schedule.at(t, 0.0)[1] for t in (1, 50, 75, 100, 101)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert [schedule.at(1, seconds)[1] for seconds in (5.0, 7.5, 10.0, 20.0)] == [0.0, 0.5, 1.0, 1.0]
    assert schedule.at(75, 8.75)[1] == 0.75


def test_another_budget_of_time_leaves_the_tempering_as_it_was():
    config = TrainingConfig(seconds=10.0).resolve()
    for seconds in (5.0, 10.0, 1_000.0):
        schedule = make_schedule(dataclasses.replace(config, seconds=seconds))
        assert schedule.at(1, 0.5)[1] == pytest.approx(0.5)
        assert schedule.at(1, 1.0)[1] == 1.0


class Found:
    """What an iteration found, as far as a schedule looks."""

    def __init__(self, *signs):
        self.signs = signs


def test_a_plateau_is_one_of_every_series():
    """The second still rises in the second window, so that the rule waits for the third."""
    rule = PlateauRule(window=2)
    assert [rule.add(1.0, value) for value in (0, 0, 5, 5, 5, 5)] == [False] * 5 + [True]
    assert [PlateauRule(window=2).add(1.0, 0.0)] == [False]


def fires(rule: PlateauRule, series) -> list[int]:
    return [index for index, value in enumerate(series, start=1) if rule.add(float(value))]


def test_plateau_rule_compares_windows_by_hand():
    rule = PlateauRule(window=2)
    # Means 1, 5, 4: the second window rises, the third does not.
    assert fires(rule, [0, 2, 4, 6, 4, 4]) == [6]
    # Afresh: the next window has nothing before it.
    assert fires(rule, [0, 0]) == []


def test_plateau_rule_needs_a_rise_beyond_the_noise():
    # Means 0 and 1, each with standard error 1: the rise of 1 is below sqrt(2).
    assert fires(PlateauRule(window=2, standard_errors=1.0), [-1, 1, 0, 2]) == [4]
    assert fires(PlateauRule(window=2, standard_errors=0.5), [-1, 1, 0, 2]) == []


@pytest.mark.parametrize("seed", range(5))
def test_plateau_rule_on_flat_and_rising_noise(seed):
    noise = np.random.default_rng(seed).normal(-7100.0, 2.0, 20_000)
    rule = PlateauRule(window=500, standard_errors=2.0)
    assert len(fires(rule, noise)) >= 15
    rising = noise + np.arange(20_000) * 0.002  # 1 per window, whose standard error is 0.09
    assert fires(PlateauRule(window=500, standard_errors=2.0), rising) == []


def test_plateau_rule_waits_for_windows_in_a_row():
    assert fires(PlateauRule(window=2, windows=2), [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]) == [10]


def test_plateau_rule_state_round_trip():
    series = np.random.default_rng(3).normal(size=300)
    whole, first, second = (PlateauRule(window=20, windows=2) for _ in range(3))
    expected = fires(whole, series)
    start = fires(first, series[:107])
    second.load_state_dict(first.state_dict())
    assert start + [107 + index for index in fires(second, series[107:])] == expected
    assert expected


def test_plateau_schedule_lowers_and_then_converges():
    config = TrainingConfig(
        learning_rate=0.1,
        learning_rate_decay=0.5,
        plateau_window=2,
        plateau_reductions=2,
        tempering_iterations=0,
    )
    schedule = make_schedule(config)
    assert isinstance(schedule, PlateauSchedule)
    rates = []
    while not schedule.converged:
        rates.append(schedule.at(len(rates) + 1, 0.0)[0])
        schedule.observe(Found(1.0), 1.0)
    assert rates == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


def test_tempered_bounds_are_not_counted():
    schedule = make_schedule(TrainingConfig(plateau_window=2, plateau_reductions=0))
    for _ in range(50):
        schedule.observe(Found(1.0), 0.5)
    assert not schedule.converged

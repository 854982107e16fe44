"""Training configurations: what is refused, what is filled in, and that plain data loses nothing."""

from __future__ import annotations

import math

import pytest
import yaml

from vbpi_mix.errors import ConfigError
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.provenance import available_cores


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"iterations": 0}, "iterations"),
        ({"iterations": 10.5}, "iterations"),
        ({"iterations": True}, "iterations"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": math.inf}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"schedule": "fast"}, "schedule"),
        ({"learning_rate": "0.1"}, "learning_rate"),
        ({"learning_rate_decay": 1.5}, "learning_rate_decay"),
        ({"learning_rate_multipliers": {"mean": -1.0}}, "mean"),
        ({"learning_rate_multipliers": 3}, "learning_rate_multipliers"),
        ({"plateau_window": 1}, "plateau_window"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"patience": 3}, "validate_every"),
        ({"keep_best": True}, "validate_every"),
        ({"keep_best": "yes"}, "keep_best"),
        ({"schedule": "paper", "decay_every": 0}, "decay_every"),
    ],
)
def test_bad_values_are_one_line(options, named):
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paper_resolves_to_the_published_values():
    config = TrainingConfig(schedule="paper").resolve()
    assert (config.iterations, config.learning_rate, config.learning_rate_decay) == (400_000, 0.001, 0.75)
    assert (config.decay_every, config.tempering_iterations, config.initial_beta) == (20_000, 100_000, 0.001)


def test_resolve_keeps_what_is_chosen_and_is_idempotent():
    config = TrainingConfig(schedule="paper", iterations=7, learning_rate=0.5).resolve()
    assert (config.iterations, config.learning_rate) == (7, 0.5)
    assert config.resolve() == config
    assert config.threads == available_cores()


def test_the_default_schedule_resolves_to_its_values():
    config = TrainingConfig().resolve()
    assert (config.iterations, config.learning_rate, config.learning_rate_decay, config.decay_every) == (None, 0.01, 0.3, 0)
    assert (config.tempering_iterations, config.tempering_seconds, config.initial_beta) == (2_000, None, 0.001)
    assert TrainingConfig(iterations=10**6).resolve().tempering_iterations == 2_000
    assert TrainingConfig(iterations=15_000).resolve().tempering_iterations == 1_500
    assert TrainingConfig(seconds=30.0).resolve().tempering_seconds == 3.0
    assert TrainingConfig(seconds=30.0, tempering_iterations=7).resolve().tempering_seconds is None
    assert TrainingConfig(seconds=30.0, schedule="paper").resolve().tempering_seconds is None


def test_a_short_run_is_tempered_over_a_tenth():
    assert TrainingConfig(iterations=500).resolve().tempering_iterations == 50
    assert TrainingConfig(iterations=500, tempering_iterations=7).resolve().tempering_iterations == 7


def test_yaml_round_trip():
    config = TrainingConfig(seconds=2.5, learning_rate_multipliers={"scale": 0.1}, seed=2**62).resolve()
    assert TrainingConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="learnig_rate"):
        TrainingConfig.from_dict({"learnig_rate": 0.1})

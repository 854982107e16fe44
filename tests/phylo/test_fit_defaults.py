"""What a fit does that is told nothing: numbers as docs/commands.md and the papers have them."""

from __future__ import annotations

import pytest

from vbpi_mix.phylo.config import FitConfig, ModelConfig


@pytest.mark.parametrize(
    ("choices", "sampled"),
    [
        ({}, 2),
        ({"components": 1}, 1),
        ({"components": 2}, 2),
        ({"components": 10}, 2),
        ({"estimator": "s2s"}, 2),
        ({"estimator": "a2a"}, 4),
        ({"estimator": "a2a", "components": 7}, 7),
        ({"sampled": 3}, 3),
    ],
)
def test_two_components_are_sampled_unless_all_have_to_be(choices, sampled):
    assert ModelConfig(**choices).resolve().sampled == sampled


def test_the_model_of_a_plain_fit_and_of_the_published_one():
    model = ModelConfig().resolve()
    assert (model.components, model.particles, model.estimator, model.branch) == (4, 10, "s2a", "psp")
    assert (model.lengths, model.flow, model.init) == ("gamma", "none", "warm")
    paper = ModelConfig().resolve("paper")
    assert (paper.sampled, paper.particles, paper.lengths, paper.init) == (2, 10, "lognormal", "flat")


@pytest.mark.parametrize(
    ("choices", "iterations"),
    [
        ({}, 0),
        ({"init": "em"}, 2_000),
        ({"init": "flat", "iterations": 5_000}, 500),
        ({"init": "warm", "schedule": "paper"}, 0),
        ({"schedule": "paper"}, 100_000),
    ],
)
def test_a_warm_start_is_not_tempered_and_others_are(choices, iterations):
    assert FitConfig.of(**choices).training().tempering_iterations == iterations

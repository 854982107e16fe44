"""Experiments as choices, their trainings against the exact evidence, curves and pictures."""

from __future__ import annotations

import csv
import io
import re

import pytest
import torch
import yaml

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import effective_components
from vbpi_mix.toy import figures
from vbpi_mix.toy.curves import Curve, curves_csv, read_curve
from vbpi_mix.toy.experiment import FIG3, Experiment, Member, plan
from vbpi_mix.toy.fit import make_problem
from vbpi_mix.toy.members import make_approximation, make_target
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.trainer import Trainer


def train(experiment: Experiment, member: Member):
    problem = make_problem(experiment, member)
    Trainer(problem, TrainingConfig(**experiment.training())).run()
    return problem


def test_published_values_are_the_defaults():
    funnel = plan(full=True)
    assert (funnel.iterations, funnel.K, funnel.learning_rate) == (50_000, 10, 0.001)
    assert [member.label for member in funnel.members] == ["S2A A=20 S=1"]
    quick = plan()
    assert (quick.iterations, quick.learning_rate) == (10_000, 0.005)
    ring = plan("ring")
    assert (ring.iterations, ring.K, ring.learning_rate) == (1_000, 100, 0.1)
    assert [member.label for member in ring.members] == ["A2A A=30", "ensemble A=30", "IWVI L=30", "IAF T=30"]


def test_fig3_is_the_published_five():
    labels = [member.label for member in plan(preset="fig3").members]
    assert labels == ["A2A A=5", "S2A A=5 S=2", "S2S A=5 S=2", "S2A A=20 S=1", "S2S A=20 S=5"]


@pytest.mark.parametrize("choices", [{}, {"preset": "fig3"}, {"target": "ring"}, {"weights": "learned"}])
def test_an_experiment_survives_yaml(choices):
    experiment = plan(**choices)
    assert Experiment.from_dict(yaml.safe_load(yaml.safe_dump(experiment.to_dict()))) == experiment


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"target": "banana"}, "funnel, ring, bimodal"),
        ({"preset": "fig4"}, "fig3"),
        ({"preset": "fig3", "A": 3}, "fixes"),
        ({"approximations": ("mixture", "mixture")}, "twice"),
        ({"approximations": ("spline",)}, "iwvi"),
        ({"approximations": ("iaf",), "S": 2}, "mixture"),
        ({"A": 0}, "A=0"),
        ({"K": 0}, "K=0"),
        ({"weights": "heavy"}, "learned"),
        ({"full": True, "iterations": 5}, "one of them"),
        ({"target": "ring", "sequential_energy": True}, "funnel"),
    ],
)
def test_choices_that_do_not_fit(choices, words):
    with pytest.raises(ConfigError, match=words):
        plan(**choices)


def test_a_foreign_configuration_is_refused():
    with pytest.raises(ConfigError, match="toy experiment"):
        Experiment.from_dict({"target": "funnel"})


def test_the_start_is_the_published_one():
    experiment = plan()
    means, deviations = make_approximation(experiment, experiment.members[0]).ellipses()
    log_variances = 2.0 * deviations.log()
    for values in (means, log_variances):
        assert float(values.abs().max()) <= 1.5**0.5
        assert float(values.abs().max()) > 1.0
    again, _ = make_approximation(experiment, experiment.members[0]).ellipses()
    assert torch.equal(means, again)


@pytest.mark.parametrize("name", ["K", "seed", "iterations", "validate_every", "learning_rate"])
@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_a_configuration_of_other_types_is_refused(name, value):
    values = plan("ring", K=2, iterations=3).to_dict()
    with pytest.raises(ConfigError, match=f"{name}={re.escape(repr(value))}: give a"):
        Experiment.from_dict({**values, name: value})
    with pytest.raises(ConfigError, match=f"A={re.escape(repr(value))}: give a"):
        Experiment.from_dict({**values, "members": [{**values["members"][0], "A": value}]})


@pytest.mark.parametrize("member", FIG3, ids=lambda member: member.slug)
def test_no_configuration_exceeds_the_exact_evidence(member):
    experiment = plan(preset="fig3", iterations=250, learning_rate=0.05)
    found = train(experiment, member).estimate(20_000, torch.Generator().manual_seed(5))
    exact = make_target(experiment).log_evidence()
    assert found.mean <= exact + 4.0 * found.standard_error
    assert found.mean > exact - 15.0  # they start 40 nats below


def test_learned_weights_cover_both_modes():
    experiment = plan("bimodal", approximations=("mixture",), weights="learned", A=12, iterations=250)
    problem = train(experiment, experiment.members[0])
    z, _ = problem.mixture.positions(30_000, torch.Generator().manual_seed(2))
    assert float((z.sum(1) > 0).double().mean()) == pytest.approx(0.8, abs=0.03)
    assert problem.estimate(20_000, torch.Generator().manual_seed(5)).mean > -0.05
    assert 1.0 < effective_components(problem.mixture.log_weights) <= 12.0


def test_the_uniform_mixture_covers_both_modes():
    experiment = plan("bimodal", approximations=("mixture",), iterations=150)
    mixture = train(experiment, experiment.members[0]).mixture
    z, _ = mixture.positions(30_000, torch.Generator().manual_seed(2))
    # 30 equal components can only share themselves out in steps of 1/30
    assert float((z.sum(1) > 0).double().mean()) == pytest.approx(0.8, abs=0.07)


@pytest.fixture
def curves():
    return [
        Curve("A2A A=2", (10, 20, 30), (0.1, 0.2, 0.3), (-70.0, -66.9, -66.95), (0.1, 0.01, 0.01)),
        Curve("S2A A=9 S=1", (10, 20, 30), (0.1, 0.2, 0.3), (-72.0, -67.9, -67.0), (0.1, 0.01, 0.01)),
    ]


def test_curves_go_to_csv_and_come_from_a_trace(tmp_path, curves):
    rows = list(csv.DictReader(io.StringIO(curves_csv(curves))))
    assert len(rows) == 6
    assert (rows[4]["configuration"], float(rows[4]["miselbo"])) == ("S2A A=9 S=1", -67.9)
    trace = tmp_path / "trace.csv"
    trace.write_text("iteration,seconds,miselbo,miselbo_se\n5,9.0,,\n10,9.5,-3.0,0.5\n20,9.9,-2.0,0.25\n")
    curve = read_curve(trace, "x", 0.01)
    assert (curve.iterations, curve.seconds, curve.miselbo) == ((10, 20), (0.1, 0.2), (-3.0, -2.0))
    assert curve.best == 1


def test_pictures_are_drawn_the_same_each_time(curves, generator):
    z = torch.randn((90, 2), generator=generator, dtype=torch.float64)
    labels = torch.arange(3).repeat(30)
    weights = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    panels = [
        figures.Panel("mixture", z, labels, z[:3], z[3:6].abs(), weights),
        figures.Panel("flow", z, torch.zeros(90, dtype=torch.long)),
    ]
    ring, funnel = make_target(plan("ring")), make_target(plan())
    for draw in (
        lambda: figures.draw_bounds(curves, -66.592),
        lambda: figures.draw_latent(funnel, panels),
        lambda: figures.draw_samples(ring, panels),
        lambda: figures.draw_weights(panels),
    ):
        files = figures.render(draw())
        assert files == figures.render(draw())
        assert files["png"].startswith(b"\x89PNG")
        assert len(files["png"]) > 5_000
        assert files["svg"].lstrip().startswith(b"<?xml")
        assert b"<dc:date>" not in files["svg"]


def test_a_curve_without_points_can_be_drawn():
    empty = Curve("A2A A=2", (), (), (), ())
    assert figures.render(figures.draw_bounds([empty], -66.6))["png"]

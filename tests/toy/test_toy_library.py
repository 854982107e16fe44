"""Toy experiments from a notebook: train, load and resume with the numbers of `vbpi-mix toy`."""

from __future__ import annotations

import pytest
import torch

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.toy.experiment import plan
from vbpi_mix.toy.run import load, resume, run_experiment
from vbpi_mix_cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vbpi_mix.toy.outcomes.FINAL_PARTICLES", 2_000)
    monkeypatch.setattr("vbpi_mix.toy.outcomes.COUNTED_SAMPLES", 600)
    return tmp_path


def small(**choices):
    return plan("ring", approximations=("mixture", "iwvi"), A=3, K=4, **choices)


def rows(place):
    lines = [line.split(",") for line in (place / "trace.csv").read_text().splitlines()]
    return [[row[0], *row[2:]] for row in lines]


def test_a_run_is_that_of_the_command(here):
    told, lines = [], []

    def observe(experiment, member):
        told.append((experiment.target, member.label, []))
        return told[-1][2].append

    run = run_experiment(small(iterations=20), "mine", observe=observe, notice=lines.append)
    words = ["--target", "ring", "--approximation", "mixture", "--approximation", "iwvi", "--A", "3", "--K", "4"]
    main(["toy", *words, "--iterations", "20", "--out", "theirs", "--quiet"])
    for name in ("a2a-a3", "iwvi-l3"):
        assert rows(here / "mine" / name) == rows(here / "theirs" / name)
    assert (here / "mine" / "config.yaml").read_text() == (here / "theirs" / "config.yaml").read_text()
    assert [outcome.member.label for outcome in run.outcomes] == ["A2A A=3", "IWVI L=3"]
    assert [entry["elbo"] for entry in run.entries()] == [outcome.final.mean for outcome in run.outcomes]
    assert [(target, label) for target, label, _ in told] == [("ring", "A2A A=3"), ("ring", "IWVI L=3")]
    assert all(reports[-1].finished for _, _, reports in told)
    assert lines == []
    assert run.pictures == ("bound", "samples")


def test_what_was_trained_is_loaded(here):
    run = run_experiment(small(iterations=20), "run")
    for outcome, found in zip(run.outcomes, load("run"), strict=True):
        assert found.member == outcome.member
        one, two = (problem.estimate(500, torch.Generator().manual_seed(3)) for problem in (outcome.problem, found.problem))
        assert one == two
    (here / "run" / "iwvi-l3" / "checkpoint.pt").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load("run")


def test_resuming_for_longer_is_training_for_longer(here):
    whole = run_experiment(small(iterations=40), "whole")
    run_experiment(small(iterations=20), "parts")
    lines = []
    parts = resume("parts", iterations=40, notice=lines.append)
    assert lines == []
    for one, two in zip(whole.outcomes, parts.outcomes, strict=True):
        assert one.final == two.final
    resume("parts", notice=lines.append)
    assert lines == ["nothing left to train: the run is at its end, after 40 iterations"] * 2


def test_what_does_not_fit_is_refused_before_anything_is_written(here):
    with pytest.raises(ConfigError, match="S=4"):
        run_experiment(plan(A=3, S=4), "run")
    assert list(here.iterdir()) == []

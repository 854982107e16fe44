"""`vbpi-mix image --resume`: going on exactly, for longer, and refusals that change nothing."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
import yaml
from image_commands import SMALL, TRAIN, interrupt_at, summary, trace_without_seconds

from vbpi_mix.image.config import FitConfig
from vbpi_mix.image.fit import make_problem
from vbpi_mix.image.run import load
from vbpi_mix.training.schedules import make_schedule
from vbpi_mix.training.validation import hash_seed


def test_resume_continues_as_if_it_had_not_stopped(run, empty_world, monkeypatch):
    options = (*TRAIN, "--A", 3, "--S", 1, "--schedule", "cosine")
    assert run(*options, "--out", "whole").status == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        outcome = run(*options, "--out", "parts")
    assert outcome.out.startswith("parts: interrupted after 1.333 epochs")
    assert run("image", "digits", "--resume", "parts", "--threads", 1, "--quiet").status == 0
    whole, parts = empty_world / "whole", empty_world / "parts"
    assert trace_without_seconds(whole) == trace_without_seconds(parts)
    one, two = (torch.load(place / "checkpoint.pt", weights_only=True) for place in (whole, parts))
    assert one["problem"]["model"].keys() == two["problem"]["model"].keys()
    for name, value in one["problem"]["model"].items():
        assert torch.equal(value, two["problem"]["model"][name]), name
    assert torch.equal(one["problem"]["component_counts"], two["problem"]["component_counts"])


def test_resume_takes_the_number_of_threads_of_the_run(run, copied):
    assert yaml.safe_load((copied / "config.yaml").read_text())["training"]["threads"] == 1
    torch.set_num_threads(2)
    assert run("image", "digits", "--resume", copied, "--epochs", 3, "--quiet").status == 0
    assert torch.get_num_threads() == 1


def test_resume_trains_longer(run, copied):
    before = trace_without_seconds(copied)
    assert run("image", "digits", "--resume", copied, "--epochs", 3, "--threads", 1, "--quiet").status == 0
    after = trace_without_seconds(copied)
    assert after[: len(before)] == before
    assert after[-1]["iteration"] == "9"
    assert summary(copied)["iterations"] == 9


def betas(path):
    return [float(row["beta"]) for row in trace_without_seconds(path)]


def test_a_larger_budget_of_time_does_not_warm_up_again(run, empty_world, monkeypatch):
    ticks = itertools.count(0.0, 0.05)  # a made-up clock, as a busy machine gets nowhere in a second
    monkeypatch.setattr("vbpi_mix.training.trainer.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert run(*TRAIN[:2], *SMALL[2:], "--A", 2, "--seconds", 1, "--quiet").status == 0
    place = empty_world / "digits.vbpi"
    before = betas(place)
    assert before[-1] == 1.0
    epochs = math.ceil(summary(place)["epochs"]) + 3
    outcome = run("image", "digits", "--resume", place, "--seconds", 10_000, "--epochs", epochs, "--quiet")
    assert outcome.out.startswith(f"digits.vbpi: all done after {epochs} epochs")
    after = betas(place)
    assert len(after) > len(before)
    assert after == sorted(after)


def test_a_warm_up_that_is_asked_for_holds_under_a_budget_of_time():
    found = [
        make_schedule(FitConfig("digits", seconds=0.5, **more).training(3)).at(30, 0.49)[1]
        for more in ({"warmup": 1_000}, {"epochs": 10_000}, {})
    ]
    assert found == [pytest.approx(0.01), pytest.approx(0.1), 1.0]


def test_epochs_extend_a_run_of_seconds_and_seconds_one_of_epochs(run, copied, empty_world):
    outcome = run("image", "digits", "--resume", copied, "--seconds", summary(copied)["seconds"] + 0.5, "--quiet")
    assert outcome.out.startswith("digits.vbpi: time up after "), outcome.err
    iterations = summary(copied)["iterations"]
    assert iterations > 6
    epochs = iterations // 3 + 2
    outcome = run("image", "digits", "--resume", copied, "--epochs", epochs, "--quiet")
    assert outcome.out.startswith(f"digits.vbpi: all done after {epochs} epochs"), outcome.err
    assert summary(copied)["iterations"] == 3 * epochs
    recorded = yaml.safe_load((copied / "config.yaml").read_text())["training"]
    assert (recorded["iterations"], recorded["seconds"]) == (3 * epochs, None)


def test_budgets_that_are_used_up_are_said(run, copied):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert "--epochs 1 in all, but the run has had 2" in run("image", "digits", "--resume", copied, "--epochs", 1).error_line()
    line = run("image", "digits", "--resume", copied, "--seconds", 1e-3).error_line()
    assert "0.001 seconds in all asked for, but the run has had" in line
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    outcome = run("image", "digits", "--resume", copied, "--epochs", 2)
    assert outcome.status == 0
    assert "nothing left to train: the run is at its end, after 6 iterations" in outcome.err


def validated_again(place, iteration):
    """The validation bound of the model that a run keeps, with the random numbers of that iteration."""
    loaded = load(place)
    problem = make_problem(loaded.model, loaded.images(), loaded.config.estimation, 1)
    return problem.validate(iteration, torch.Generator().manual_seed(hash_seed(1, iteration)))["miselbo"]


def test_patience_ends_a_run_and_more_of_it_goes_on(run, empty_world):
    """At so high a learning rate the bound gets worse; the state of the best epoch is what is kept."""
    options = (*TRAIN[:2], *SMALL[2:], "--A", 2, "--epochs", 60, "--learning-rate", 0.3, "--patience", 2, "--quiet")
    outcome = run(*options)
    place = empty_world / "digits.vbpi"
    assert outcome.out.startswith("digits.vbpi: no further gain after "), outcome.err
    rows = trace_without_seconds(place)
    bounds = [float(row["miselbo"]) for row in rows if row["miselbo"]]
    best = max(bounds)
    assert bounds.index(best) == len(bounds) - 3
    assert summary(place)["best_validation_miselbo"] == best
    assert validated_again(place, 3 * (len(bounds) - 2)) == pytest.approx(best, abs=1e-6)
    kept = torch.load(place / "checkpoint.pt", weights_only=True)
    assert int(kept["problem"]["component_counts"].sum()) == (len(bounds) - 2) * 3 * 400 * 2
    assert int(kept["training"]["latest"]["component_counts"].sum()) == len(bounds) * 3 * 400 * 2
    resume = ("image", "digits", "--resume", place, "--quiet")
    assert "more patience" in run(*resume, "--epochs", 80).error_line()
    epochs = summary(place)["epochs"]
    assert run(*resume, "--patience", 4).status == 0
    assert summary(place)["epochs"] >= epochs + 1


def test_resume_without_its_checkpoint_changes_nothing(run, copied):
    (copied / "checkpoint.pt").unlink()
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    line = run("image", "digits", "--resume", copied, "--epochs", 3).error_line()
    assert "checkpoint.pt is missing, though this run was trained" in line
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_resume_of_a_run_that_wrote_no_checkpoint_begins(run, copied):
    for path in copied.iterdir():
        if path.name != "config.yaml":
            path.unlink()
    outcome = run("image", "digits", "--resume", copied)
    assert outcome.status == 0, outcome.err
    assert "no checkpoint yet: starting from the beginning" in outcome.err
    assert summary(copied)["iterations"] == 6


def test_a_checkpoint_that_does_not_load_leaves_the_run_as_it_was(run, copied):
    whole = (copied / "checkpoint.pt").read_bytes()
    other = torch.load(copied / "checkpoint.pt", weights_only=True)
    other["problem"]["model"] = {}
    other["training"]["latest"] = None
    torch.save(other, copied / "checkpoint.pt")
    for content in ((copied / "checkpoint.pt").read_bytes(), whole[: len(whole) // 2]):
        (copied / "checkpoint.pt").write_bytes(content)
        before = {path.name: path.read_bytes() for path in copied.iterdir()}
        assert "checkpoint.pt" in run("image", "digits", "--resume", copied, "--epochs", 5).error_line()
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_an_evaluation_goes_when_training_goes_on(run, copied):
    before = summary(copied)
    evaluate = ("image", "eval", copied, "--importance-samples", 2, "--images", 8, "--threads", 1, "--quiet")
    assert run(*evaluate).status == 0
    evaluated = summary(copied)
    assert evaluated.keys() > before.keys()
    assert run("image", "digits", "--resume", copied, "--quiet").status == 0  # at its end: nothing to train
    assert summary(copied).keys() == evaluated.keys()
    assert run("image", "digits", "--resume", copied, "--epochs", 3, "--quiet").status == 0
    assert summary(copied).keys() == before.keys()
    row = run("image", "compare", copied).out.splitlines()[1].split()
    assert row[4].count(".") == 1  # no images, L, or NLL: the time of a step


def test_resume_refuses_what_the_run_has_fixed(run, copied, empty_world):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert "--A cannot be given with --resume" in run(*TRAIN, "--A", 9, "--resume", copied).error_line()
    line = run("image", "mnist", "--resume", copied).error_line()
    assert "is a run of digits: resume it with vbpi-mix image digits" in line
    (empty_world / "other").mkdir()
    assert "not a run of vbpi-mix" in run("image", "digits", "--resume", "other").error_line()
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before

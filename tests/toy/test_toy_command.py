"""`vbpi-mix toy` from the outside."""

from __future__ import annotations

import json
import os
import signal

import pytest

from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix_cli.main import main

SMALL = ["--A", "3", "--S", "1", "--iterations", "40", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vbpi_mix.toy.outcomes.FINAL_PARTICLES", 2_000)
    monkeypatch.setattr("vbpi_mix.toy.outcomes.COUNTED_SAMPLES", 600)
    return tmp_path


def trace(place) -> list[list[str]]:
    """Rows without seconds."""
    rows = [line.split(",") for line in (place / "trace.csv").read_text().splitlines()]
    return [[row[0], *row[2:]] for row in rows]


def summary(place) -> dict:
    return json.loads((place / "summary.json").read_text())


def test_one_mixture(here, capsys):
    main(["toy", *SMALL, "--weights", "learned"])
    run = here / "toy-funnel.vbpi"
    names = {item.name for item in run.iterdir()}
    assert {"config.yaml", "checkpoint.pt", "trace.csv", "log.txt", "summary.json", "curves.csv"} <= names
    for picture in ("bound", "latent", "weights"):
        assert (run / f"{picture}.png").stat().st_size > 5_000
        assert (run / f"{picture}.svg").stat().st_size > 5_000
    found = summary(run)
    assert (found["A"], found["S"], found["K"], found["estimator"], found["seed"]) == (3, 1, 10, "s2a", 1)
    assert found["log_evidence"] == pytest.approx(-66.592, abs=5e-4)
    assert found["elbo"] <= found["log_evidence"] + 4.0 * found["elbo_standard_error"]
    assert sum(found["weights"]) == pytest.approx(1.0)
    assert "exact log evidence -66.592" in capsys.readouterr().out


def test_the_preset_trains_five(here, capsys):
    main(["toy", "--preset", "fig3", "--iterations", "6", "--sequential-energy"])
    run = here / "toy-fig3.vbpi"
    assert len(summary(run)["members"]) == 5
    assert sorted(item.name for item in run.iterdir() if item.is_dir()) == [
        "a2a-a5", "s2a-a20-s1", "s2a-a5-s2", "s2s-a20-s5", "s2s-a5-s2"
    ]  # fmt: skip
    assert len((run / "curves.csv").read_text().splitlines()) == 1 + 5 * 6
    errors = capsys.readouterr().err
    assert "funnel: S2S A=20 S=5" in errors
    main(["toy", "--preset", "fig3", "--iterations", "2", "--quiet", "--force"])
    assert summary(run)["iterations"] == 2


@pytest.mark.parametrize("target", ["ring", "bimodal"])
def test_four_approximations(here, target, capsys):
    main(["toy", "--target", target, "--A", "3", "--K", "4", "--iterations", "3", "--quiet"])
    run = here / f"toy-{target}.vbpi"
    members = summary(run)["members"]
    assert [member["approximation"] for member in members] == ["mixture", "ensemble", "iwvi", "iaf"]
    assert "as_mixture" in members[1]
    assert ("share_of_first_mode" in members[0]) == (target == "bimodal")
    assert (run / "samples.png").stat().st_size > 5_000
    assert "its members as one mixture" in capsys.readouterr().out


def interrupt_at(monkeypatch, when: int) -> None:
    """Let the process get SIGINT at an iteration of the next training."""
    original = MixtureProblem.objective

    def objective(self, iteration, beta, generator):
        if iteration == when:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, iteration, beta, generator)

    monkeypatch.setattr(MixtureProblem, "objective", objective)


@pytest.mark.parametrize("weights", ["uniform", "learned"])
def test_an_interrupted_run_resumes_exactly(here, monkeypatch, capsys, weights):
    options = [*SMALL, "--weights", weights]
    main(["toy", *options, "--out", "whole"])
    with monkeypatch.context() as patch:
        interrupt_at(patch, 23)
        with pytest.raises(SystemExit) as stop:
            main(["toy", *options, "--out", "broken"])
    assert stop.value.code == 130
    assert "--resume broken\n" in capsys.readouterr().err
    assert not (here / "broken" / "summary.json").exists()
    main(["toy", "--resume", "broken", "--quiet"])
    assert trace(here / "broken") == trace(here / "whole")
    assert summary(here / "broken")["elbo"] == summary(here / "whole")["elbo"]


def test_an_interrupted_preset_goes_on_with_what_is_left(here, monkeypatch):
    options = ["--target", "ring", "--A", "2", "--K", "3", "--iterations", "8", "--quiet"]
    main(["toy", *options, "--out", "whole"])
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(SystemExit):
            main(["toy", *options, "--out", "broken"])
    main(["toy", "--resume", "broken", "--quiet"])
    for name in ("a2a-a2", "ensemble-a2", "iwvi-l2", "iaf-t2"):
        assert trace(here / "broken" / name) == trace(here / "whole" / name)


def test_a_run_can_be_extended(here):
    main(["toy", *SMALL, "--out", "run"])
    main(["toy", "--resume", "run", "--iterations", "60", "--quiet"])
    assert summary(here / "run")["iterations"] == 60


@pytest.mark.parametrize("preset", [[], ["--target", "ring", "--approximation", "mixture", "--approximation", "iwvi"]])
@pytest.mark.parametrize(
    ("lost", "options", "words"),
    [
        (True, ["--iterations", "60"], "is missing, though this run was trained"),
        (False, ["--iterations", "30"], "30 iterations in all asked for, but the run has had 40: give more"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line_and_stays(here, capsys, preset, lost, options, words):
    options_of_all = ["--A", "3", "--S", "3", "--estimator", "a2a", "--K", "4", "--iterations", "40", "--quiet"]
    main(["toy", *options_of_all, *preset, "--out", "run"])
    if lost:
        sorted((here / "run").rglob("checkpoint.pt"))[-1].unlink()
    before = {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["toy", "--resume", "run", *options, "--quiet"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1
    assert {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "banana"], "target 'banana' is unknown"),
        (["--preset", "fig9"], "preset 'fig9' is unknown"),
        (["--estimator", "x2y"], "estimator 'x2y' is unknown"),
        (["--weights", "heavy"], "weights 'heavy' is unknown"),
        (["--A", "3", "--S", "4"], "S=4"),
        (["--A", "0"], "--A must be a whole number of at least 1, not 0"),
        (["--A", "3", "--estimator", "s2s"], "--S is missing"),
        (["--A", "3", "--S", "2", "--estimator", "a2a"], "a2a"),
        (["--iterations", "0"], "iterations"),
        (["--learning-rate", "-1"], "--learning-rate must be a number above 0, not -1"),
        (["--seed", "-1"], "seed"),
        (["--preset", "fig3", "--S", "2"], "preset fig3 fixes"),
        (["--target", "ring", "--sequential-energy"], "sequential_energy"),
        (["--out", "none/run"], "does not exist"),
        (["--resume", "nowhere"], "not a folder"),
        (["--resume", ".", "--A", "3"], "--A cannot be given with --resume"),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(here, capsys, options, words):
    with pytest.raises(SystemExit) as stop:
        main(["toy", *options])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert list(here.iterdir()) == []


def test_an_existing_run_is_refused_and_a_foreign_one_not_resumed(here, capsys):
    main(["toy", *SMALL, "--out", "run"])
    with pytest.raises(SystemExit):
        main(["toy", *SMALL, "--out", "run"])
    assert "--force" in capsys.readouterr().err
    config = here / "run" / "config.yaml"
    config.write_text(config.read_text().replace("command: toy", "command: fit"))
    with pytest.raises(SystemExit):
        main(["toy", "--resume", "run"])
    assert "not a run of vbpi-mix toy" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    main(["toy", "--help"])
    assert "vbpi-mix toy --preset fig3" in capsys.readouterr().out

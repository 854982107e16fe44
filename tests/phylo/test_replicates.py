"""Independent fits: how far they differ, the answer of all, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import vbpi_mix
from vbpi_mix.errors import ConfigError, RunDirectoryError, RunExistsError
from vbpi_mix.phylo.replicate_fits import fit_replicates, resume_any
from vbpi_mix.phylo.replicates import load_any
from vbpi_mix.phylo.report.pooling import agreement, pooled_evidence
from vbpi_mix.phylo.report.weighted import Estimate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eight.nex"
FILES = ("consensus.nwk", "splits.csv", "topologies.trprobs")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two replicates of a short fit, by the command line's library call."""
    folder = tmp_path_factory.mktemp("replicates")
    fit_replicates(EXAMPLE, replicates=2, out=folder / "two.vbpi", iterations=200, threads=1, trees_seconds=2.0, seed=5)
    return folder / "two.vbpi"


@pytest.fixture(scope="module")
def found(place):
    return load_any(place)


def test_each_is_a_whole_run_with_a_seed_and_a_sample_of_its_own(place, found):
    assert [run.training.seed for run in found.runs] == [5, 6]
    samples = [(run.path / "tree_sample.trprobs").read_text() for run in found.runs]
    assert samples[0] != samples[1]
    alone = vbpi_mix.load(place / "replicate-2")
    assert alone.summary["seed"] == 6
    assert (place / "replicate-2" / "report.html").exists()


@pytest.fixture(scope="module")
def short(place, tmp_path_factory):
    """Arguments of replicates that do not depend on the clock, and what becomes of them."""
    # The sampler may have ended by its time: the same trees for all.
    trees = place / "replicate-1" / "tree_sample.trprobs"
    arguments = {"trees": trees, "replicates": 2, "iterations": 60, "threads": 1, "seed": 5}
    return arguments, fit_replicates(EXAMPLE, out=tmp_path_factory.mktemp("short") / "whole.vbpi", **arguments)


def test_the_first_is_what_a_fit_without_replicates_is(short, tmp_path):
    """Digit for digit."""
    arguments, several = short
    single = vbpi_mix.fit(EXAMPLE, arguments["trees"], out=tmp_path / "one.vbpi", iterations=60, threads=1, seed=5)
    for name in FILES:
        assert (single.path / name).read_text() == (several.runs[0].path / name).read_text()
    bound = [run.summary["training_bound"] for run in (single, several.runs[0])]
    assert bound[0] == bound[1]


class CutOff(Exception):
    """The end of a process."""


def cut_off_after(what):
    """A progress callback that ends all before the second replicate is begun, or before the first has its answer."""

    def progress(event):
        if what == "answer" and getattr(event, "text", "").startswith("replicate 2 of 2"):
            raise CutOff
        if what == "training" and getattr(event, "finished", False):
            raise CutOff

    return progress


def without_times(summary):
    """What must not depend on when it was made."""
    facts = {name: value for name, value in summary.items() if name != "commands"}
    facts["replicates"] = [{**each, "seconds": None} for each in summary["replicates"]]
    return facts


@pytest.mark.parametrize("what", ["training", "answer"])
def test_replicates_that_were_cut_off_are_resumed(short, tmp_path, monkeypatch, what):
    """Digit for digit, from another folder; and while they have no answer of all, a report says what to do."""
    arguments, whole = short
    place = tmp_path / "cut.vbpi"
    with pytest.raises(CutOff):
        fit_replicates(EXAMPLE, out=place, progress=cut_off_after(what), **arguments)
    with pytest.raises(RunDirectoryError, match="--resume"):
        load_any(place)
    monkeypatch.chdir(tmp_path)
    found = resume_any("cut.vbpi")
    assert len(found.runs) == 2
    for name in FILES:
        assert (place / name).read_text() == (whole.path / name).read_text()
    assert without_times(found.summary) == without_times(whole.summary)


def test_longer_replicates(short, tmp_path):
    """Every fit goes on, and fits that are not there are begun with the new budget."""
    _, whole = short
    place = tmp_path / "longer.vbpi"
    shutil.copytree(whole.path, place)
    with pytest.raises(ConfigError, match="has had 60"):
        resume_any(place, iterations=30)
    assert [each["iterations"] for each in load_any(place).summary["replicates"]] == [60, 60]
    shutil.rmtree(place / "replicate-2")
    found = resume_any(place, iterations=80)
    assert [each["iterations"] for each in found.summary["replicates"]] == [80, 80]
    assert [run.training.seed for run in found.runs] == [5, 6]


def test_data_that_have_changed_are_not_fitted(short, tmp_path):
    arguments, _ = short
    alignment = tmp_path / "mine.nex"
    shutil.copy(EXAMPLE, alignment)
    with pytest.raises(CutOff):
        fit_replicates(alignment, out=tmp_path / "cut.vbpi", progress=cut_off_after("answer"), **{**arguments, "iterations": 3})
    alignment.write_text(alignment.read_text().replace("A", "C"))
    with pytest.raises(RunDirectoryError, match="is not what the first fit"):
        resume_any(tmp_path / "cut.vbpi")
    alignment.unlink()
    with pytest.raises(RunDirectoryError, match="is not what the first fit"):
        resume_any(tmp_path / "cut.vbpi")


def test_the_answer_is_the_mean_and_its_error_covers_the_difference(found):
    pooled = found.pooled
    table = {}
    for answer in found.answers:
        for bits, p in zip(answer.split_bits, answer.splits.frequencies, strict=True):
            table.setdefault(bits.tobytes(), []).append(p)
    for bits, p, error in zip(pooled.split_bits, pooled.splits.frequencies, pooled.splits.frequency_errors, strict=True):
        both = [*table[bits.tobytes()], 0.0][:2]
        assert p == pytest.approx(np.mean(both))
        assert error >= abs(both[0] - both[1]) / 2 - 1e-12
    assert pooled.topologies.probabilities.sum() == pytest.approx(1.0, abs=1e-6)
    lengths = [{parameter.name: parameter.mean for parameter in answer.parameters}["TL"] for answer in found.answers]
    assert pooled.parameters[0].mean == pytest.approx(np.mean(lengths))
    assert pooled.parameters[0].error >= abs(lengths[0] - lengths[1]) / 2 - 1e-12


def test_what_is_written_is_what_was_found(place, found):
    facts = json.loads((place / "summary.json").read_text())
    assert facts["asdsf"] == pytest.approx(agreement(found.answers)[0], abs=1e-12)
    values = [run.summary["marginal_log_likelihood"][0]["mean"] for run in found.runs]
    assert [each["log_evidence"] for each in facts["replicates"]] == pytest.approx(values)
    assert facts["log_evidence_range"] == pytest.approx(abs(values[0] - values[1]))
    assert facts["marginal_log_likelihood"][0]["mean"] == pytest.approx(np.logaddexp(*values) - np.log(2))
    assert facts["verdict"] == found.verdict.trust.value
    assert (place / "consensus.nwk").read_text() == f"{found.consensus().newick()}\n"
    config = yaml.safe_load((place / "config.yaml").read_text())
    assert (config["command"], config["seeds"]) == ("replicates", [5, 6])
    page = (place / "report.html").read_text()
    assert "2 independent fits" in page
    assert f"ASDSF of {facts['asdsf']:.4f}" in page
    assert f"{facts['certainty']['entropy']:.3f} nats" in page
    assert facts["certainty"]["credible_sets"][1]["topologies"] >= 1


def test_the_common_tree_is_drawn(run, place, tmp_path):
    done = run("draw", place, "--out", tmp_path / "tree.svg", "--by", "matplotlib", "--midpoint")
    assert done.status == 0, done.err
    text = (tmp_path / "tree.svg").read_text(encoding="utf-8")
    assert all(f">t0{k}<" in text for k in range(1, 9))


def test_evidence_is_pooled_on_its_own_scale():
    found = pooled_evidence([Estimate(-1000.0, 0.1), Estimate(-1001.0, 0.1)])
    assert found.value == pytest.approx(np.log(0.5 * (1 + np.exp(-1))) - 1000)
    # They differ by more than their errors say.
    assert found.error > 0.4
    same = pooled_evidence([Estimate(-5.0, 0.1), Estimate(-5.0, 0.1)])
    assert (same.value, same.error) == (pytest.approx(-5.0), pytest.approx(0.1 / np.sqrt(2)))
    assert np.isnan(pooled_evidence([Estimate(-5.0, 0.1), Estimate(float("nan"), float("nan"))]).value)


def test_fits_that_disagree_are_not_trusted(found):
    from dataclasses import replace

    from vbpi_mix.phylo.assess.verdict import Trust, judge

    worse = judge(replace(found.facts, replicates_asdsf=0.2, replicates_evidence=0.1))
    assert worse.trust is Trust.NONE
    assert any("0.200" in reason.why for reason in worse.reasons)


@pytest.mark.parametrize("count", [1, 0, -3, 2.5, True])
def test_fewer_than_two_are_refused_before_anything_is_made(tmp_path, count):
    with pytest.raises(ConfigError, match="at least 2"):
        fit_replicates("nothing.nex", replicates=count, out=tmp_path / "a.vbpi")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_alignment_leaves_nothing(tmp_path):
    with pytest.raises(vbpi_mix.errors.AlignmentError, match="no such file"):
        fit_replicates(tmp_path / "nothing.nex", replicates=2, out=tmp_path / "a.vbpi")
    assert list(tmp_path.iterdir()) == []


def test_replicates_are_not_replaced_unless_asked(place):
    with pytest.raises(RunExistsError):
        fit_replicates("nothing.nex", replicates=2, out=place)


def test_a_folder_of_several_is_not_taken_for_one(place):
    with pytest.raises(RunDirectoryError, match="name one of them"):
        vbpi_mix.load(place)


def test_commands_find_and_refuse(run, place, monkeypatch):
    monkeypatch.chdir(place.parent)
    assert run("report", "two.vbpi").out.strip() == "wrote two.vbpi/report.html"
    assert "name one of them" in run("eval", "two.vbpi").error_line()
    before = (place / "splits.csv").read_text()
    resumed = run("fit", "--resume", "two.vbpi")
    assert resumed.status == 0, resumed.err
    assert "2 independent fits" in resumed.out
    assert (place / "splits.csv").read_text() == before
    commands = json.loads((place / "summary.json").read_text())["commands"]
    assert commands == ["called from Python", "vbpi-mix fit --resume two.vbpi"]
    assert "vbpi-mix fit --resume two.vbpi" in (place / "report.html").read_text()
    outcome = run("eval", "--importance-samples", 10, "--repeats", 2)
    assert outcome.status == 0
    assert "newest run: two.vbpi/replicate-" in outcome.err
    assert "at least 2" in run("fit", "x.nex", "--out", "x.vbpi", "--replicates", 1).error_line()
    assert "cannot be given with --resume" in run("fit", "--resume", "two.vbpi", "--replicates", 2).error_line()

"""Independent fits: how far they differ, the answer of all, and what goes wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

import vbpi_mix
from vbpi_mix.errors import ConfigError, RunDirectoryError, RunExistsError
from vbpi_mix.phylo.replicates import fit_replicates, load_any
from vbpi_mix.phylo.report.pooling import agreement, pooled_evidence
from vbpi_mix.phylo.report.weighted import Estimate

EXAMPLE = "eight.nex"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two replicates of a short fit, by the command line's library call."""
    from pathlib import Path

    folder = tmp_path_factory.mktemp("replicates")
    alignment = Path(__file__).resolve().parents[2] / "examples" / EXAMPLE
    fit_replicates(alignment, replicates=2, out=folder / "two.vbpi", iterations=200, threads=1, trees_seconds=2.0, seed=5)
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


def test_the_first_is_what_a_fit_without_replicates_is(place, tmp_path):
    """Digit for digit."""
    from pathlib import Path

    alignment = Path(__file__).resolve().parents[2] / "examples" / EXAMPLE
    # The sampler may have ended by its time: the same trees for both.
    trees = place / "replicate-1" / "tree_sample.trprobs"
    single = vbpi_mix.fit(alignment, trees, out=tmp_path / "one.vbpi", iterations=60, threads=1, seed=5)
    several = fit_replicates(alignment, trees, replicates=2, out=tmp_path / "s.vbpi", iterations=60, threads=1, seed=5)
    for name in ("consensus.nwk", "splits.csv", "topologies.trprobs"):
        assert (single.path / name).read_text() == (several.runs[0].path / name).read_text()
    bound = [run.summary["training_bound"] for run in (single, several.runs[0])]
    assert bound[0] == bound[1]


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
    assert "name one of them" in run("fit", "--resume", "two.vbpi").error_line()
    outcome = run("eval", "--importance-samples", 10, "--repeats", 2)
    assert outcome.status == 0
    assert "newest run: two.vbpi/replicate-" in outcome.err
    assert "at least 2" in run("fit", "x.nex", "--out", "x.vbpi", "--replicates", 1).error_line()
    assert "cannot be given with --resume" in run("fit", "--resume", "two.vbpi", "--replicates", 2).error_line()

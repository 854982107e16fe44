"""Runs made by an earlier version of the program load, evaluate to the same figures, and resume to the same ones.

tests/fixtures/run-plain and run-planar: `vbpi-mix support eight.nex --generations 2000 --seed 5 --out eight.trprobs`, then
`vbpi-mix fit eight.nex --trees eight.trprobs --A 2 --S 1 --iterations 200 --seed 5 --threads 1`, the second with
`--flow planar --flow-layers 2`, by commit 56709de; figures are what that program wrote.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import vbpi_mix

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
# name: published and pooled means of 5 x 200 samples with seed 7; bound and ELBO after 260 iterations.
FIGURES = {
    "run-plain": ((-3909.461617805659, -3909.3680813299616), (-3909.8567314804577, -3910.4831415374683)),
    "run-planar": ((-3909.525527496566, -3909.454055265476), (-3909.84304506784, -3910.6014626959086)),
}


@pytest.fixture(params=sorted(FIGURES))
def earlier(request, tmp_path):
    """A copy of an earlier run, and its figures."""
    shutil.copytree(FIXTURES / request.param, tmp_path / "run")
    return tmp_path / "run", *FIGURES[request.param]


def test_it_loads_and_evaluates_as_it_did(earlier):
    path, evaluated, _ = earlier
    run = vbpi_mix.load(path)
    assert "lengths" not in run.config["model"]
    assert run.model.lengths == run.problem.trees.base.name == "lognormal"
    assert (len(run.taxa), run.model.components, run.training.seed) == (8, 2, 5)
    found = run.evaluate(importance_samples=200, repeats=5, seed=7, threads=1)
    assert (found.published.mean, found.pooled.mean) == pytest.approx(evaluated, rel=1e-12)


def test_it_resumes_as_it_did(earlier):
    path, _, resumed = earlier
    summary = vbpi_mix.load(path).resume(iterations=260, threads=1).summary
    assert summary["iterations"] == 260
    assert (summary["training_bound"], summary["elbo"]) == pytest.approx(resumed, rel=1e-9)


def test_a_run_from_before_there_were_flows_loads(tmp_path):
    shutil.copytree(FIXTURES / "run-plain", tmp_path / "run")
    place = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(place.read_text())
    for entry in ("flow", "flow_layers", "flow_hidden", "pair_rate", "init"):
        del config["model"][entry]
    place.write_text(yaml.safe_dump(config))
    run = vbpi_mix.load(tmp_path / "run")
    assert (run.model.flow, run.model.flow_layers, run.model.pair_rate) == ("none", None, 1.0)
    found = run.evaluate(importance_samples=200, repeats=5, seed=7, threads=1)
    assert found.published.mean == pytest.approx(FIGURES["run-plain"][0][0], rel=1e-12)

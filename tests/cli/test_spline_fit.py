"""A flow in plain torch from the command line: written, evaluated, gone on with."""

import json
from pathlib import Path

import numpy as np
import torch

from vbpi_mix.phylo.trees.topology import random_topologies, to_newick

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eight.nex"


def test_a_fit_with_splines_from_start_to_end(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from vbpi_mix.phylo.data.alignment import read_alignment

    taxa = read_alignment(EXAMPLE).taxa
    trees = random_topologies(8, 60, np.random.default_rng(1))
    Path("eight.ufboot").write_text("".join(to_newick(tree, taxa) + "\n" for tree in trees))
    fit = ("fit", EXAMPLE, "--trees", "eight.ufboot", "--A", 2, "--flow", "spline", "--init", "flat", "--threads", 1)
    quiet = ("--quiet", "--out", "eight.vbpi")
    outcome = run(*fit, "--iterations", 40, "--seed", 3, *quiet)
    assert outcome.status == 0, outcome.err
    state = torch.load("eight.vbpi/checkpoint.pt", weights_only=True)
    model = next(part for part in (state, *state.values()) if isinstance(part, dict) and "flow" in part)
    assert bool(model["flow"]["weights"].any())
    evaluated = run("eval", "eight.vbpi", "--importance-samples", 50, "--repeats", 2, "--threads", 1, "--quiet")
    assert evaluated.status == 0, evaluated.err
    summary = json.loads(Path("eight.vbpi/summary.json").read_text())
    published, pooled = (form["mean"] for form in summary["marginal_log_likelihood"][:2])
    assert summary["elbo"] < published < pooled < -3_800
    refused = run(*fit, "--flow-layers", 3, "--iterations", 40, *quiet, "--force")
    assert "flow spline, which has none" in refused.error_line()

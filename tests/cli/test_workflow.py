"""The workflow for many genes: its table from runs, and all of it where Snakemake is installed."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "workflow"
PROGRAMS = Path(sys.executable).parent


def run(*command, folder):
    """What a program beside this Python printed; it must succeed."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_of(*runs, folder):
    return list(csv.DictReader(run(sys.executable, str(WORKFLOW / "table.py"), *runs, folder=folder).splitlines()))


def test_the_table_has_what_the_summaries_say(tmp_path):
    for name, mean in (("one", -3900.25), ("two", None)):
        (tmp_path / f"{name}.vbpi").mkdir()
        forms = [{"form": "pooled", "mean": 1.0}, {"form": "weighted", "mean": mean, "error": None if mean is None else 0.5}]
        summary = {"marginal_log_likelihood": forms, "verdict": "trust", "elbo": -3901.5, "seconds": 2.0}
        (tmp_path / f"{name}.vbpi" / "summary.json").write_text(json.dumps(summary))
    one, two = table_of("one.vbpi", "two.vbpi", folder=tmp_path)
    assert (one["gene"], one["log_evidence"], one["error"], one["elbo"], one["verdict"]) == (
        "one", "-3900.25", "0.5", "-3901.5", "trust",
    )  # fmt: skip
    assert (two["gene"], two["log_evidence"], two["error"], two["pareto_k"]) == ("two", "", "", "")


@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="needs Snakemake: pip install 'vbpi-mix[workflow]'")
def test_three_genes_are_fitted_and_a_fit_that_was_cut_off_is_resumed(tmp_path):
    # A fit that is cut off leaves its run and no mark that it is done.
    (tmp_path / "results").mkdir()
    cut = ("vbpi-mix", "fit", str(WORKFLOW / "genes" / "gene2.fasta"), "--out", "results/gene2.vbpi")
    run(*cut, "--iterations", "30", "--seed", "5", "--threads", "1", "--quiet", folder=tmp_path)
    genes = tmp_path / "genes"
    shutil.copytree(WORKFLOW / "genes", genes)
    workflow = (sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile"), "--cores", "2")
    options = ("--config", "fit=--iterations 40 --seed 7")
    run(*workflow, *options, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "results" / "table.csv").read_text().splitlines()))
    assert [row["gene"] for row in rows] == ["gene1", "gene2", "gene3"]
    assert [row["iterations"] for row in rows] == ["40", "30", "40"]
    for row in rows:
        summary = json.loads((tmp_path / "results" / f"{row['gene']}.vbpi" / "summary.json").read_text())
        assert float(row["elbo"]) == summary["elbo"]
        assert summary["seed"] == (5 if row["gene"] == "gene2" else 7)
        assert summary["verdict"] == row["verdict"]
        assert "<svg" in (tmp_path / "results" / f"{row['gene']}.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("summary.json")}
    run(*workflow, *options, folder=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in before}

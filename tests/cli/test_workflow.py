"""The workflow for many genes: its table from runs, and all of it where Snakemake is installed."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vbpi_mix.files import write_yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "workflow"
PROGRAMS = Path(sys.executable).parent
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile"), "--cores", "2")
needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="needs Snakemake: pip install 'vbpi-mix[workflow]'"
)
# In place of vbpi-mix: notes how it was called, says so, and leaves of a run what is asked of it.
STAND_IN = f"""#!{sys.executable}
import hashlib, pathlib, sys
with open("calls", "a") as file:
    print(*sys.argv[1:], sep=" ", file=file)
print("it was called")
if "--out" in sys.argv:
    run = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    run.mkdir()
    digest = hashlib.sha256(pathlib.Path(sys.argv[2]).read_bytes()).hexdigest()
    (run / "config.yaml").write_text(f"alignment:\\n  file: {{sys.argv[2]}}\\n  sha256: {{digest}}\\ntrees:\\n  sha256: no\\n")
"""


def done(*command, folder, before=PROGRAMS):
    """A program's end, with the programs of the folder `before` ahead of others."""
    environment = {**os.environ, "PATH": f"{before}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=500)


def run(*command, folder):
    """What a program beside this Python printed; it must succeed."""
    found = done(*command, folder=folder)
    assert found.returncode == 0, found.stderr
    return found.stdout


def table_of(*runs, folder):
    return list(csv.DictReader(run(sys.executable, str(WORKFLOW / "table.py"), *runs, folder=folder).splitlines()))


def test_the_table_has_what_the_summaries_say(tmp_path):
    for name, mean in (("one", -3900.25), ("two", None)):
        (tmp_path / f"{name}.vbpi").mkdir()
        forms = [{"form": "pooled", "mean": 1.0}, {"form": "weighted", "mean": mean, "error": None if mean is None else 0.5}]
        summary = {"marginal_log_likelihood": forms, "verdict": "trust", "elbo": -3901.5, "seconds": 2.0}
        (tmp_path / f"{name}.vbpi" / "summary.json").write_text(json.dumps(summary))
        (tmp_path / f"{name}.vbpi" / "config.yaml").write_text("parts:\n- name: all\n  model: GTR+G4\nmodel:\n  model: gtr+g\n")
    one, two = table_of("one.vbpi", "two.vbpi", folder=tmp_path)
    assert (one["gene"], one["log_evidence"], one["error"], one["elbo"], one["verdict"]) == (
        "one", "-3900.25", "0.5", "-3901.5", "trust",
    )  # fmt: skip
    assert (two["gene"], two["log_evidence"], two["error"], two["pareto_k"]) == ("two", "", "", "")
    assert one["model"] == two["model"] == "GTR+G4"


@pytest.mark.parametrize("replicates", [False, True])
def test_the_table_has_the_models_that_the_parts_have(tmp_path, replicates):
    # As runs are written: a model that YAML would take for a number is in quotes.
    config = {
        "target": "as it is", "model": {"model": None},
        "parts": [
            {"name": "a: b", "model": "010010", "priors": {"kappa": "beta:1,1"}},
            {"name": "c", "model": "GTR{1,2,3,4,5}+G4"},
            {"name": "d", "model": "010010"},
        ],
        "training": {"model": "no"},
    }  # fmt: skip
    folder = tmp_path / "gene.vbpi"
    fit = folder / "replicate-1" if replicates else folder
    fit.mkdir(parents=True)
    write_yaml(fit / "config.yaml", config)
    if replicates:
        write_yaml(folder / "config.yaml", {"command": "replicates", "model": {"model": None}})
    forms = [{"form": "weighted", "mean": 1.0, "error": 0.5}]
    (folder / "summary.json").write_text(json.dumps({"marginal_log_likelihood": forms}))
    (row,) = table_of("gene.vbpi", folder=tmp_path)
    assert row["model"] == "010010, GTR{1,2,3,4,5}+G4"


@pytest.fixture
def gene(tmp_path):
    """A folder with an alignment, one for results, and a stand-in for vbpi-mix."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vbpi-mix").write_text(STAND_IN)
    (tmp_path / "bin" / "vbpi-mix").chmod(0o755)
    (tmp_path / "a.fasta").write_text(">t1\nACGT\n")
    (tmp_path / "out").mkdir()
    return tmp_path


def fit(folder, *options):
    """The job of one gene: what came of it, and what its log says."""
    script = (sys.executable, str(WORKFLOW / "fit.py"), "a.fasta", "out/a.b.vbpi", "out/a.b.log")
    found = done(*script, *options, folder=folder, before=folder / "bin")
    return found, (folder / "out" / "a.b.log").read_text()


def calls(folder):
    return (folder / "calls").read_text().splitlines()


FIRST = "fit a.fasta --out out/a.b.vbpi --threads 1"
AGAIN = "fit --resume out/a.b.vbpi --threads 1"


def refused(folder, *options):
    """Why a job did not go to work: the same line in the log and on the screen, and the program was not called."""
    before = calls(folder)
    found, log = fit(folder, *options)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == log
    assert log.startswith("error: ")
    assert log.count("\n") == 1
    assert calls(folder) == before
    return log.removeprefix("error: ").rstrip("\n")


def test_a_fit_that_was_cut_off_is_resumed_for_the_same_options_and_alignment(gene):
    found, log = fit(gene, "--model", "GTR+G4", "--constraint", "(a, b)")
    assert (found.returncode, found.stdout, found.stderr, log) == (0, "", "", "it was called\n")
    digest = hashlib.sha256((gene / "a.fasta").read_bytes()).hexdigest()
    asked = {"options": ["--model", "GTR+G4", "--constraint", "(a, b)"], "alignment": digest, "files": {}}
    assert json.loads((gene / "out" / "a.b.asked").read_text()) == asked
    os.utime(gene / "a.fasta")
    assert fit(gene, "--model", "GTR+G4", "--constraint", "(a, b)")[0].returncode == 0
    assert calls(gene) == [f"{FIRST} --model GTR+G4 --constraint (a, b)", AGAIN]
    assert sorted(file.name for file in (gene / "out").iterdir()) == ["a.b.asked", "a.b.log", "a.b.vbpi"]


def test_a_run_is_not_resumed_for_other_options(gene):
    fit(gene)
    assert refused(gene, "--model", "GTR+G4") == (
        "a.b: its run was fitted with other options (none; now --model GTR+G4): remove out/a.b.vbpi to fit anew, "
        "or put the options back"
    )
    # Being refused changes nothing of what was asked for.
    assert refused(gene, "--model", "GTR+G4").startswith("a.b: its run was fitted with other options (none; ")
    fit(gene)
    shutil.rmtree(gene / "out" / "a.b.vbpi")
    fit(gene, "--model", "GTR+G4")
    fit(gene, "--model", "GTR+G4")
    assert calls(gene) == [FIRST, AGAIN, f"{FIRST} --model GTR+G4", AGAIN]
    assert "with other options (--model GTR+G4; now none)" in refused(gene)


def test_a_run_is_not_resumed_for_another_alignment(gene):
    fit(gene, "--seed", "2")
    (gene / "a.fasta").write_text(">t1\nACGA\n")
    assert refused(gene, "--seed", "2") == (
        "a.b: its run was fitted from another alignment: remove out/a.b.vbpi to fit anew, or put the alignment back"
    )
    assert refused(gene) == (
        "a.b: its run was fitted with other options (--seed 2; now none) and from another alignment: remove out/a.b.vbpi "
        "to fit anew, or put the options and the alignment back"
    )


@pytest.mark.parametrize("options", [("--partitions", "p.nex"), ("--partitions=p.nex",)])
def test_a_run_is_not_resumed_for_other_contents_of_a_file_that_an_option_names(gene, options):
    (gene / "p.nex").write_text("one")
    fit(gene, *options)
    fit(gene, *options)
    assert len(calls(gene)) == 2
    (gene / "p.nex").write_text("two")
    assert refused(gene, *options) == (
        "a.b: its run was fitted with other contents of p.nex: remove out/a.b.vbpi to fit anew, or put p.nex back"
    )


def test_a_run_made_by_hand_is_resumed_for_its_own_alignment_only(gene):
    fit(gene, "--seed", "2")
    (gene / "out" / "a.b.asked").unlink()
    fit(gene, "--seed", "3")
    assert calls(gene) == [f"{FIRST} --seed 2", AGAIN]
    (gene / "a.fasta").write_text(">t1\nACGA\n")
    assert refused(gene, "--seed", "3") == (
        "a.b: its run was fitted from another alignment: remove out/a.b.vbpi to fit anew, or put the alignment back"
    )
    (gene / "out" / "a.b.vbpi" / "config.yaml").write_text("command: fit\n")
    assert "from another alignment" in refused(gene)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"options": 1, "alignment": "", "files": []}', '{"options": [], "files'])
def test_what_was_asked_for_is_damaged(gene, text):
    fit(gene)
    (gene / "out" / "a.b.asked").write_text(text)
    assert refused(gene) == (
        "out/a.b.asked, which says what out/a.b.vbpi was asked for, is damaged: remove both to fit anew"
    )


def test_a_fit_that_fails_before_it_has_a_run_is_begun_anew(gene):
    (gene / "bin" / "vbpi-mix").write_text("#!/bin/sh\necho no >&2\nexit 2\n")
    found, log = fit(gene, "--model", "QQQ")
    assert (found.returncode, log) == (2, "no\n")
    (gene / "bin" / "vbpi-mix").write_text(STAND_IN)
    assert fit(gene, "--model", "JC")[0].returncode == 0
    assert calls(gene) == [f"{FIRST} --model JC"]


def dry_run(tmp_path, *names):
    """What Snakemake says of a folder with these files, without doing anything."""
    (tmp_path / "genes").mkdir()
    for name in names:
        (tmp_path / "genes" / name).write_text("")
    return done(*SNAKEMAKE, "--dry-run", "--config", "genes=genes", folder=tmp_path)


@needs_snakemake
def test_alignments_are_known_by_their_endings_and_other_files_are_named(tmp_path):
    alignments = (
        "a.fasta", "b.FA", "c.fas", "d.fna", "e.faa", "f.nex", "g.nexus", "h.nxs", "i.phy", "j.phylip", "k.phy.gz",
        "l.1.FASTA.GZ",
    )  # fmt: skip
    found = dry_run(tmp_path, *alignments, "notes.txt", "x.gz", ".hidden.fa", ".DS_Store")
    assert found.returncode == 0, found.stderr
    planned = found.stdout + found.stderr
    for gene in (*"abcdefghijk", "l.1"):
        assert f"results/{gene}.fitted" in planned
    (line,) = (line for line in planned.splitlines() if "left out" in line)
    assert line.endswith(": notes.txt, x.gz")
    assert "hidden" not in planned


@needs_snakemake
@pytest.mark.parametrize("other", ["a.fasta", "a.phy.gz"])
def test_two_alignments_of_one_name_are_refused(tmp_path, other):
    found = dry_run(tmp_path, "a.fa", other, "b.fa")
    assert found.returncode == 1
    assert f"genes/a.fa and genes/{other} would both be the gene a: rename or remove one" in found.stdout + found.stderr


@needs_snakemake
def test_a_folder_without_alignments_is_refused(tmp_path):
    found = dry_run(tmp_path, *(f"{k:02}.txt" for k in range(12)))
    assert found.returncode == 1
    said = found.stdout + found.stderr
    assert "genes holds no alignment, only 00.txt, 01.txt" in said
    assert "09.txt and 2 more: their names end in .fasta" in said
    (tmp_path / "genes").rename(tmp_path / "other")
    found = done(*SNAKEMAKE, "--dry-run", "--config", "genes=genes", folder=tmp_path)
    assert "genes is no folder of alignments" in found.stdout + found.stderr


@needs_snakemake
def test_three_genes_are_fitted_and_a_fit_that_was_cut_off_is_resumed(tmp_path):
    # A fit that is cut off leaves its run and no mark that it is done.
    (tmp_path / "results").mkdir()
    cut = ("vbpi-mix", "fit", str(WORKFLOW / "genes" / "gene2.fasta"), "--out", "results/gene2.vbpi")
    run(*cut, "--iterations", "30", "--seed", "5", "--threads", "1", "--quiet", folder=tmp_path)
    genes = tmp_path / "genes"
    shutil.copytree(WORKFLOW / "genes", genes)
    options = ("--config", "fit=--iterations 40 --seed 7")
    run(*SNAKEMAKE, *options, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "results" / "table.csv").read_text().splitlines()))
    assert [row["gene"] for row in rows] == ["gene1", "gene2", "gene3"]
    assert [row["iterations"] for row in rows] == ["40", "30", "40"]
    for row in rows:
        summary = json.loads((tmp_path / "results" / f"{row['gene']}.vbpi" / "summary.json").read_text())
        assert float(row["elbo"]) == summary["elbo"]
        assert summary["seed"] == (5 if row["gene"] == "gene2" else 7)
        assert summary["verdict"] == row["verdict"]
        assert row["model"] == "JC69"
        assert "<svg" in (tmp_path / "results" / f"{row['gene']}.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("summary.json")}
    run(*SNAKEMAKE, *options, folder=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in before}

    # Other options are not taken for those that the runs began with: no gene is marked as fitted, and the table stays.
    table = (tmp_path / "results" / "table.csv").read_text()
    found = done(*SNAKEMAKE, "--keep-going", "--config", "fit=--iterations 40 --seed 8", folder=tmp_path)
    assert found.returncode == 1
    line = (
        "error: gene1: its run was fitted with other options (--iterations 40 --seed 7; now --iterations 40 --seed 8): "
        "remove results/gene1.vbpi to fit anew, or put the options back"
    )
    assert line in found.stderr.splitlines()
    assert (tmp_path / "results" / "gene1.log").read_text() == f"{line}\n"
    # The second was made by hand.
    assert [file.name for file in (tmp_path / "results").glob("*.fitted")] == ["gene2.fitted"]
    assert (tmp_path / "results" / "table.csv").read_text() == table
    shutil.rmtree(tmp_path / "results" / "gene1.vbpi")
    # Another alignment is not taken for the one that was fitted either.
    shutil.copy(genes / "gene1.fasta", genes / "gene3.fasta")
    found = done(*SNAKEMAKE, "--keep-going", *options, folder=tmp_path)
    assert found.returncode == 1
    assert "gene3: its run was fitted from another alignment: remove results/gene3.vbpi" in found.stderr
    assert sorted(file.name for file in (tmp_path / "results").glob("*.fitted")) == ["gene1.fitted", "gene2.fitted"]

"""`vbpi-mix cells`: train, evaluate, resume; refusals in one line that write nothing."""

import csv
import dataclasses
import json
import signal
import warnings

import numpy as np
import pytest
import torch

from vbpi_mix.cells.config import FitConfig
from vbpi_mix.cells.data import CellsError, split
from vbpi_mix.cells.fit import fit, resume
from vbpi_mix.cells.run import evaluate, load
from vbpi_mix.cells.scores import classify, cluster
from vbpi_mix.errors import ConfigError
from vbpi_mix.training.batch_problem import BatchProblem

SHORT = ("--epochs", 2, "--batch-size", 256, "--quiet")


def rows_without_seconds(path):
    rows = csv.DictReader((path / "trace.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def summary(path):
    return json.loads((path / "summary.json").read_text())


def write_h5ad(path, counts, **obs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata
        import pandas as pd

        names = pd.DataFrame(obs, index=[f"c{i}" for i in range(len(counts))])
        anndata.AnnData(counts, obs=names).write_h5ad(path)


def test_a_run_records_what_made_it(trained):
    found = summary(trained)
    assert (found["command"], found["A"], found["S"], found["genes"], found["iterations"]) == ("cells", 2, 2, 200, 8)
    assert found["component_counts"] == [2_048, 2_048]
    config = load(trained).config
    assert config.data["labels"] == "type"
    assert config.data["counts_from"] is None  # there is one place only
    assert [config.data[part] for part in ("train", "validation", "test")] == [1_118, 93, 189]
    assert {path.name for path in trained.iterdir()} >= {"config.yaml", "checkpoint.pt", "trace.csv", "log.txt"}


def test_evaluate_prints_and_keeps_all_scores(run, copied):
    outcome = run("cells", "evaluate", copied, "--importance-samples", 3, "--quiet")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("NLL (published form): ")
    assert "189 cells, L = 3 of each component, A = 2 components" in lines[1]
    assert lines[3].startswith("SVM accuracy ")
    assert lines[4].startswith("k-means, k = 7: ARI ")
    found = summary(copied)
    published, pooled = (entry["nll"] for entry in found["negative_log_likelihood"])
    assert pooled <= published <= -found["miselbo"]
    assert 0 <= found["svm_accuracy"]["mean"] <= 1
    run("cells", "--resume", copied, "--epochs", 3, "--quiet")
    assert "svm_accuracy" not in summary(copied)
    assert "clusters" not in summary(copied)


def test_resume_continues_as_if_it_had_not_stopped(run, empty_world, monkeypatch):
    options = ("cells", "simulated", "--A", 3, "--S", 1, "--estimator", "s2a", "--schedule", "cosine", *SHORT)
    assert run(*options, "--out", "whole").status == 0
    original = BatchProblem.objective

    def interrupted(self, iteration, beta, generator):
        if iteration == 6:
            signal.raise_signal(signal.SIGINT)
        return original(self, iteration, beta, generator)

    with monkeypatch.context() as patch:
        patch.setattr(BatchProblem, "objective", interrupted)
        outcome = run(*options, "--out", "parts")
    assert outcome.out.startswith("parts: interrupted after 1.5 epochs"), outcome.out
    assert run("cells", "--resume", "parts", "--quiet").status == 0
    assert rows_without_seconds(empty_world / "whole") == rows_without_seconds(empty_world / "parts")
    one, two = (torch.load(empty_world / name / "checkpoint.pt", weights_only=True)["problem"] for name in ("whole", "parts"))
    assert "encoder.running_mean" in one["model"]
    for name, value in one["model"].items():
        assert torch.equal(value, two["model"][name]), name


def test_python_gives_the_numbers_of_the_command(trained, empty_world):
    fitted = fit(FitConfig("simulated", A=2, epochs=2, batch_size=256), "mine")
    assert rows_without_seconds(empty_world / "mine") == rows_without_seconds(trained)
    with pytest.raises(ConfigError, match=r"--epochs 1 in all, but the run has had 2: give more"):
        resume("mine", epochs=1)
    assert fitted.epochs == 2


def test_training_raises_the_bound(trained):
    values = [float(row["miselbo"]) for row in rows_without_seconds(trained) if row["miselbo"]]
    assert values[-1] > values[0] + 10


def test_an_ensemble_is_the_mean_of_its_models(run, copied, empty_world):
    assert run("cells", "simulated", "--A", 1, "--seed", 5, *SHORT, "--out", "other").status == 0
    runs = [load(copied), load("other")]
    cells = runs[0].cells()
    cells = dataclasses.replace(cells, test=cells.test[:20])
    how = {"importance_samples": 2, "likelihood_only": True}
    together = evaluate(runs, cells, **how).held_out.pooled
    one, two = (evaluate([each], cells, **how).held_out.pooled for each in runs)
    np.testing.assert_allclose(np.exp(together - one), (1 + np.exp(two - one)) / 2)
    before = summary(copied)
    outcome = run("cells", "evaluate", copied, "other", "--importance-samples", 2, "--quiet")
    assert "2 models as one" in outcome.out
    assert summary(copied) == before


def test_scores_of_latents_that_say_all_and_of_those_that_say_nothing():
    labels = np.repeat(list("abc"), 40)
    random = np.random.RandomState(1)
    told = np.eye(3)[np.repeat(np.arange(3), 40)] * 10 + random.normal(size=(120, 3))
    noise = random.normal(size=(120, 3))
    assert classify(told, labels).mean == 1.0
    assert cluster(told, labels) == cluster(told, labels)
    assert (cluster(told, labels).ari, round(cluster(told, labels).nmi, 9)) == (1.0, 1.0)
    assert classify(noise, labels).mean < 0.55
    assert abs(cluster(noise, labels).ari) < 0.1
    with pytest.raises(CellsError, match="all test cells are of one type"):
        cluster(told, np.repeat("a", 120))


def test_a_file_is_trained_on_and_evaluated(run, empty_world):
    pytest.importorskip("anndata")
    random = np.random.RandomState(1)
    counts = random.poisson(3.0, (80, 6)).astype(np.float32)
    counts[[3, 5]] = 0
    write_h5ad("mine.h5ad", counts, kind=["a", "b"] * 40)
    options = ("--A", 2, "--genes", 5, "--batch-size", 32, "--epochs", 1)
    outcome = run("cells", "mine.h5ad", *options)
    assert outcome.status == 0, outcome.err
    assert "2 cells have no count in these genes and were dropped" in outcome.err
    # The run finds its file from anywhere; it has no labels unless their column is named.
    line = run("cells", "evaluate", "mine.vbpi", "--quiet").error_line()
    assert line == "error: mine has no labels: name their column with --labels, or evaluate with --likelihood-only"
    assert run("cells", "evaluate", "mine.vbpi", "--likelihood-only", "--importance-samples", 2, "--quiet").status == 0
    outcome = run("cells", "evaluate", "mine.vbpi", "--labels", "kind", "--importance-samples", 2, "--quiet")
    assert "k-means, k = 2" in outcome.out
    write_h5ad("mine.h5ad", counts + 1, kind=["a", "b"] * 40)
    assert "are not those that the run was trained on" in run("cells", "evaluate", "mine.vbpi", "--quiet").error_line()
    (empty_world / "mine.h5ad").unlink()
    assert "mine.h5ad: no such file" in run("cells", "--resume", "mine.vbpi", "--epochs", 2).error_line()


@pytest.mark.parametrize("named", [(), ("--labels", "cell_type")])
def test_cells_without_labels_are_trained_on_and_have_a_likelihood(run, empty_world, named):
    """Only scores need labels: half of these cells have none, nor later a column."""
    pytest.importorskip("anndata")
    counts = np.random.RandomState(1).poisson(3.0, (80, 6)).astype(np.float32)
    write_h5ad("mine.h5ad", counts, cell_type=["a", None] * 40)
    trained = run("cells", "mine.h5ad", *named, "--A", 2, "--batch-size", 32, "--epochs", 1)
    assert trained.status == 0, trained.err
    said = "mine: labels cell_type are missing for 40 of 80 cells"
    assert said in trained.err.splitlines()
    likelihood = ("cells", "evaluate", "mine.vbpi", "--likelihood-only", "--importance-samples", 2)
    outcome = run(*likelihood)
    assert outcome.status == 0, outcome.err
    assert said in outcome.err.splitlines()
    missing = int((split(80)[2] % 2 == 1).sum())
    line = run("cells", "evaluate", "mine.vbpi", "--quiet").error_line()
    assert line.startswith(f"error: {said}, {missing} of them test cells: fill them in")
    write_h5ad("mine.h5ad", counts)
    assert run("cells", "--resume", "mine.vbpi", "--epochs", 2, "--quiet").status == 0
    assert run(*likelihood).status == 0
    assert run("cells", "evaluate", "mine.vbpi", "--quiet").error_line().startswith("error: mine has no labels")
    line = run(*likelihood, "--labels", "cell_type").error_line()
    assert line.endswith("mine.h5ad has no labels 'cell_type': the columns of obs are none")


@pytest.mark.parametrize("place", ["layer counts", "raw.X", "X"])
def test_a_run_says_where_its_counts_come_from(run, empty_world, place):
    pytest.importorskip("anndata")
    counts = np.random.RandomState(1).poisson(3.0, (80, 6)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata

        content = anndata.AnnData(counts if place == "X" else np.log1p(counts))
        if place == "raw.X":
            content.raw = anndata.AnnData(counts)
        elif place != "X":
            content.layers["counts"] = counts
        content.write_h5ad("mine.h5ad")
    outcome = run("cells", "mine.h5ad", "--A", 1, "--batch-size", 32, "--epochs", 1)
    assert outcome.status == 0, outcome.err
    assert outcome.err.splitlines()[0].endswith(f" to test; 6 genes; counts from {place}")
    assert summary(empty_world / "mine.vbpi")["counts_from"] == place
    assert load("mine.vbpi").config.data["counts_from"] == place


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("simulated", "--A", 0), "error: --A must be a whole number of at least 1, not 0"),
        (("simulated", "--A", 2, "--S", 3), "error: S=3 components are to be sampled of A=2"),
        (("simulated", "--batch-size", 2_000), "error: batch size 2000 for 1118 training cells: give from 2 to 1118"),
        (("simulated", "--layer", "x"), "error: --layer x: simulated has no layers"),
        (("simulated", "--labels", "x"), "error: simulated has no labels 'x': there are type"),
        (("nothing.h5ad",), "error: nothing.h5ad: no such file"),
        (("--data", "cortex"), "error: cortex is not here and downloads are off"),
        (("simulated", "--genes", 0), "error: --genes must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, empty_world, options, words):
    assert run("cells", *options).error_line().startswith(words)
    assert list(empty_world.iterdir()) == []


@pytest.mark.parametrize(("flaw", "words"), [(-1.0, "negative numbers"), (0.25, "fractions")])
def test_a_file_without_counts_writes_nothing(run, empty_world, flaw, words):
    pytest.importorskip("anndata")
    counts = np.ones((60, 4), dtype=np.float32)
    counts[2, 1] = flaw
    write_h5ad("bad.h5ad", counts)
    line = run("cells", "bad.h5ad").error_line()
    assert line.startswith(f"error: bad.h5ad holds no raw counts: X holds {words} ({flaw:g})")
    assert [path.name for path in empty_world.iterdir()] == ["bad.h5ad"]


def test_a_run_of_another_kind_is_refused(run, copied):
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("command: cells", "command: image"))
    assert run("cells", "evaluate", copied).error_line().endswith("is not a run of vbpi-mix cells")


def test_a_resumed_run_keeps_what_it_has_fixed(run, copied):
    line = run("cells", "--resume", copied, "--A", 3).error_line()
    assert line == "error: --A cannot be given with --resume: the run has fixed it"


def test_the_word_train_may_be_left_out(run):
    for options in (("cells", "--help"), ("cells", "train", "--help"), ("cells", "evaluate", "--help")):
        assert "Examples:" in run(*options).out

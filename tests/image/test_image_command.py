"""`vbpi-mix image` as a user types it: train, evaluate, sample, compare, and be refused."""

import dataclasses
import io
import json
import math
import os

import pytest
import torch
import yaml
from image_commands import SMALL, TRAIN, files, summary, trace_without_seconds
from image_files import cifar_records, random_images, write_idx_set
from matplotlib import image as png

from vbpi_mix.image import comparison, evaluation


def test_training_writes_a_run(run, empty_world):
    outcome = run("image", "digits", *SMALL, "--A", 3, "--estimator", "S2A")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("digits.vbpi: all done after 2 epochs and ")
    assert "best validation MISELBO -" in outcome.out
    assert "digits: 1,257 to train, 180 to validate, 360 to test" in outcome.err
    place = empty_world / "digits.vbpi"
    assert files(place) == ["checkpoint.pt", "config.yaml", "log.txt", "summary.json", "trace.csv"]
    found = summary(place)
    expected = {
        "A": 3,
        "S": 2,
        "L": 1,
        "estimator": "s2a",
        "phi_per": "point",
        "seed": 1,
        "iterations": 6,
        "data": "digits",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["likelihood"] == "valid"
    best = max(trace_without_seconds(place), key=lambda row: float(row["miselbo"]))
    assert sum(found["component_counts"]) == int(best["iteration"]) * 400 * 2  # S = 2 for each image
    latest = torch.load(place / "checkpoint.pt", weights_only=True)["training"]["latest"]
    assert int(latest["component_counts"].sum()) == 6 * 400 * 2
    parameters = found["parameters"]
    assert parameters["total"] == sum(count for name, count in parameters.items() if name != "total")
    line = next(line for line in outcome.err.splitlines() if "parameters:" in line)
    assert line.startswith(f"{parameters['total']:,} parameters: ")
    for name, count in parameters.items():
        assert name == "total" or f"{name} {count:,}" in line
    config = yaml.safe_load((place / "config.yaml").read_text())
    assert config["data"]["split_seed"] == 42
    assert config["data"]["binarisation_seed"] == 777
    assert config["training"]["validate_every"] == 3
    rows = trace_without_seconds(place)
    assert [row["iteration"] for row in rows] == ["3", "6"]
    bounds = [float(row["miselbo"]) for row in rows]
    assert bounds == pytest.approx([float(row["reconstruction"]) - float(row["kl"]) for row in rows], rel=1e-5)
    assert found["best_validation_miselbo"] == max(bounds)
    # Better than a fair coin for each of 64 pixels.
    assert -64 * math.log(2) < bounds[0] < bounds[1] < -20


@pytest.mark.parametrize("estimator", ["a2a", "s2a", "s2s"])
def test_the_same_seed_gives_the_same_run_and_another_seed_another(run, empty_world, estimator):
    S = 3 if estimator == "a2a" else 2
    options = ("--A", 3, "--S", S, "--estimator", estimator)
    for out, seed in (("one", 5), ("two", 5), ("three", 6)):
        assert run(*TRAIN, *options, "--seed", seed, "--out", out).status == 0
    one, two, three = (trace_without_seconds(empty_world / name) for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_digits_take_one_thread_unless_told_otherwise(run, empty_world):
    """With one thread the same seed gives the same run on every machine."""
    options = ("image", "digits", "--epochs", 1, "--batch-size", 600, "--A", 2, "--quiet")
    for out, threads in (("default", ()), ("two", ("--threads", 2))):
        assert run(*options, *threads, "--out", out).status == 0
        recorded = yaml.safe_load((empty_world / out / "config.yaml").read_text())["training"]["threads"]
        assert recorded == torch.get_num_threads() == (2 if threads else 1)


def test_eval_prints_and_writes_both_forms(run, copied):
    outcome = run("image", "eval", copied, "--importance-samples", 4, "--images", 30, "--threads", 1, "--quiet")
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0].startswith("NLL (published form): ")
    assert lines[0].endswith("30 images, L = 4 of each of A = 3 components")
    assert lines[1].startswith("NLL (pooled form): ")
    assert "bits per dimension" not in outcome.out
    assert "of at most log A = 1.099" in lines[2]
    assert lines[3].startswith("each component was trained on ")
    found = summary(copied)
    published, pooled = found["negative_log_likelihood"]
    assert (published["form"], pooled["form"]) == ("published", "pooled")
    assert published["nll"] >= pooled["nll"] - 1e-9
    assert published["likelihood"] == "valid"
    assert 0 <= found["jensen_shannon_diversity"] <= math.log(3)
    assert found["iterations"] == 6
    assert run("image", "eval", "--importance-samples", 4, "--images", 30, "--threads", 1, "--quiet").out == outcome.out


def test_a_budget_of_decoder_samples_takes_fewer_images(run, copied):
    outcome = run("image", "eval", copied, "--importance-samples", 4, "--max-decoder-samples", 250, "--threads", 1)
    assert "digits.vbpi: 20 of 360 test images, 240 decoder samples" in outcome.err
    assert "; 20 images, L = 4" in outcome.out


def test_an_interrupted_evaluation_goes_on(run, copied, monkeypatch):
    options = ("image", "eval", copied, "--importance-samples", 3, "--images", 9, "--images-at-once", 4, "--threads", 1)
    whole = run(*options)
    kept = copied / "nll-L3-n9-seed1.json"
    content = kept.read_bytes()
    kept.unlink()
    original, calls = evaluation.evaluate_block, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluation, "evaluate_block", interrupted)
    outcome = run(*options)
    assert outcome.status == 130
    assert "finished images are kept in digits.vbpi/nll-L3-n9-seed1.json: run the same command again to continue" in outcome.err
    assert len(json.loads(kept.read_text())["pooled"]) == 4
    assert run(*options).out == whole.out
    assert kept.read_bytes() == content
    assert len(calls) == 4


def test_results_of_an_earlier_model_are_not_taken_for_those_of_a_later(run, copied):
    options = ("image", "eval", copied, "--importance-samples", 2, "--images", 8, "--threads", 1, "--quiet")
    first = run(*options)
    assert run("image", "digits", "--resume", copied, "--epochs", 4, "--threads", 1, "--quiet").status == 0
    assert run(*options).out != first.out


def test_samples_that_do_not_fill_a_row_are_all_shown(run, copied):
    """Five images in two rows of three: the picture is as large as one of six."""
    shapes = []
    for count in (5, 6):
        assert run("image", "sample", copied, "--count", count, "--originals", 1, "--threads", 1, "--quiet").status == 0
        shapes.append(png.imread(io.BytesIO((copied / "samples.png").read_bytes()), format="png").shape)
    assert shapes[0] == shapes[1]


def test_sample_writes_pictures(run, copied):
    outcome = run("image", "sample", copied, "--count", 9, "--originals", 4, "--components", 2, "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert outcome.out == f"wrote samples.png, components.png, reconstructions.png, latents.png in {copied.name}\n"
    for name in ("samples.png", "components.png", "reconstructions.png", "latents.png"):
        content = (copied / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert png.imread(io.BytesIO(content), format="png").std() > 0.1
    again = {name: (copied / name).read_bytes() for name in files(copied) if name.endswith(".png")}
    assert run("image", "sample", copied, "--count", 9, "--originals", 4, "--components", 2, "--threads", 1).status == 0
    assert again == {name: (copied / name).read_bytes() for name in again}


def test_compare_shows_runs_side_by_side(run, copied, empty_world):
    assert run(*TRAIN, "--A", 1, "--estimator", "a2a", "--out", "one.vbpi").status == 0
    for name in ("one.vbpi", "digits.vbpi"):
        assert (
            run("image", "eval", name, "--importance-samples", 2, "--images", 8, "--threads", 1, "--quiet").status == 0
        )
    outcome = run("image", "compare", "one.vbpi", "digits.vbpi", "--out", "figure.png")
    assert outcome.status == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert outcome.err == ""
    assert rows[0][:8] == ["run", "A", "S", "estimator", "images", "L", "published", "pooled"]
    assert [row[-1] for row in rows[:3]] == ["model", "plain", "plain"]
    assert rows[1][:6] == ["one.vbpi", "1", "1", "a2a", "8", "2"]
    nll = summary(copied)["negative_log_likelihood"][0]["nll"]
    assert rows[2][:7] == ["digits.vbpi", "3", "2", "s2a", "8", "2", f"{nll:.3f}"]
    assert (empty_world / "figure.png").read_bytes().startswith(b"\x89PNG")
    before = (empty_world / "figure.png").read_bytes()
    assert (
        run("image", "eval", "one.vbpi", "--importance-samples", 2, "--images", 9, "--threads", 1, "--quiet").status
        == 0
    )
    assert "warning: these runs were evaluated on different" in run("image", "compare", "one.vbpi", "digits.vbpi").err
    assert "figure.png exists" in run("image", "compare", "one.vbpi", "--out", "figure.png").error_line()
    assert (empty_world / "figure.png").read_bytes() == before


def test_compare_tells_the_training_and_the_model_of_runs_apart(run, copied, empty_world):
    """The baseline with L = 20 in training is not the plain model of A = 1, nor are models of other parts or sizes."""
    asked = {
        "one": (("--A", 1), "1", "plain", "A2A"),
        "iwae": (("--model", "iwae"), "20", "plain", "A2A, trained with L = 20"),
        "wide": (("--A", 1, "--latent", 9, "--pixel-layers", 2, "--no-res-enc", "--norm", "none"), "1",
                 "linear heads, d = 9, masked layers: 2, norm none",
                 "A2A, linear heads, d = 9, masked layers: 2, norm none"),
        "dreg": (("--A", 1, "--L", 2, "--gradient", "dreg", "--phi-per", "batch"), "2",
                 "plain, dreg gradient, components per batch",
                 "A2A, trained with L = 2, dreg gradient, components per batch"),
        "parts": (("--A", 1, "--model", "vamp", "--encoder", "separate", "--features", "dense"), "1",
                  "separate encoders, VampPrior, dense features", "A2A, separate encoders, VampPrior, dense features"),
    }  # fmt: skip
    for name, (options, *_) in asked.items():
        assert run(*TRAIN, *options, "--epochs", 1, "--estimator", "a2a", "--out", name).status == 0
    outcome = run("image", "compare", *asked, "--out", "figure.png")
    header, *lines = outcome.out.splitlines()[:-1]
    at = header.index("trained L")
    assert [line[at : at + 9].strip() for line in lines] == [L for _, L, _, _ in asked.values()]
    assert [line[header.index("model") :] for line in lines] == [model for _, _, model, _ in asked.values()]
    rows = comparison.compare_runs(asked)
    assert [row.series for row in rows] == [series for *_, series in asked.values()]
    # With more components in none of them, each is a line of its own.
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "draw_comparison", lambda points, *_: drawn.extend(points) or b"")
        comparison.draw_rows([*rows, dataclasses.replace(rows[0], A=4), dataclasses.replace(rows[1], A=4)])
    assert [(point.series, point.A) for point in drawn[:4]] == [
        ("A2A", 1), ("A2A", 4), ("A2A, trained with L = 20", 1), ("A2A, trained with L = 20", 4)
    ]  # fmt: skip
    assert [(point.series, point.A) for point in drawn[4:]] == [(row.series, 1) for row in rows[2:]]


def evaluate_and_compare(run, first, second):
    """What `compare` warns of, after two runs were evaluated so."""
    for name, options in (("digits.vbpi", first), ("other.vbpi", second)):
        assert run("image", "eval", name, *options, "--threads", 1, "--quiet").status == 0
    return run("image", "compare", "digits.vbpi", "other.vbpi").err


def test_compare_warns_where_runs_were_evaluated_otherwise(run, copied, empty_world):
    assert run(*TRAIN, "--A", 6, "--out", "other.vbpi").status == 0
    few, seed = ("--importance-samples", 2, "--images", 8), ("--seed", 2)
    assert evaluate_and_compare(run, few, few) == ""
    images = evaluate_and_compare(run, few, (*few, *seed))
    assert images == "warning: these runs were evaluated on different test images: evaluate them alike to compare\n"
    everything = ("--importance-samples", 1)
    assert evaluate_and_compare(run, everything, (*everything, *seed)) == ""
    pooled = evaluate_and_compare(run, ("--importance-samples", 4, "--images", 8), few)
    assert "their pooled forms can be compared, their published forms not" in pooled
    both = evaluate_and_compare(run, ("--importance-samples", 3, "--images", 9), few)
    assert [line.split(":")[1] for line in both.splitlines()] == [
        " these runs were evaluated on different test images", " these runs differ in L"
    ]  # fmt: skip


def test_compare_refuses_a_folder_for_its_figure(run, copied, empty_world):
    (empty_world / "pictures").mkdir()
    for more in ((), ("--force",)):
        assert "is a folder" in run("image", "compare", copied, "--out", "pictures", *more).error_line()
    assert "does not exist" in run("image", "compare", copied, "--out", "nowhere/figure.png").error_line()


def test_the_newest_run_is_the_newest_of_images(run, copied, empty_world):
    options = ("--threads", 1, "--quiet")
    assert run("toy", "--iterations", 20, "--A", 2, "--quiet").status == 0
    evaluated = run("image", "eval", "--importance-samples", 2, "--images", 8, *options)
    assert evaluated.status == 0, evaluated.err
    assert "negative_log_likelihood" in summary(copied)
    os.utime(empty_world / "toy-funnel.vbpi" / "summary.json")
    assert run("image", "sample", "--count", 1, "--originals", 1, *options).status == 0
    assert (copied / "samples.png").exists()
    assert "no run of vbpi-mix fit in or below" in run("eval").error_line()


NOTE = "not a valid likelihood"


def says_a_likelihood(line):
    """Whether a line shows a number of log p(x), its bound, or less of it."""
    return any(word in line for word in ("NLL", "MISELBO", "miselbo", "bound "))


def test_paper_compat_says_everywhere_that_its_nll_is_no_likelihood(run, empty_world):
    shown = run(*(word for word in TRAIN if word != "--quiet"), "--A", 2, "--paper-compat")
    assert shown.status == 0, shown.err
    place = empty_world / "digits.vbpi"
    config = yaml.safe_load((place / "config.yaml").read_text())
    assert config["estimation"]["phi_per"] == "batch"
    assert config["model"]["norm"] == "batch"
    evaluated = run("image", "eval", place, "--importance-samples", 2, "--images", 8, "--threads", 1)
    assert evaluated.status == 0, evaluated.err
    printed = [*shown.out.splitlines(), *shown.err.splitlines(), *evaluated.out.splitlines(), *evaluated.err.splitlines()]
    likelihoods = [line for line in printed if says_a_likelihood(line)]
    assert len(likelihoods) == 5, printed  # the last of progress, the result; both forms, MISELBO
    assert [line for line in likelihoods if NOTE not in line] == []
    found = summary(place)
    assert found["likelihood"] == NOTE
    assert {entry["likelihood"] for entry in found["negative_log_likelihood"]} == {NOTE}
    assert json.loads((place / "nll-L2-n8-seed1.json").read_text())["likelihood"] == NOTE
    assert run("image", "compare", place).out.splitlines()[1].endswith(NOTE)
    assert run("image", "sample", place, "--count", 4, "--originals", 2, "--threads", 1, "--quiet").status == 0


def test_a_valid_likelihood_has_no_note(run, copied):
    evaluated = run("image", "eval", copied, "--importance-samples", 2, "--images", 8, "--threads", 1)
    assert NOTE not in evaluated.out + evaluated.err
    assert json.loads((copied / "nll-L2-n8-seed1.json").read_text())["likelihood"] == "valid"


def test_other_encoders_and_norms_train(run, empty_world):
    for options in (("--encoder", "separate", "--norm", "none"), ("--no-res-enc", "--L", 2), ("--norm", "batch")):
        outcome = run(
            "image",
            "digits",
            "--epochs",
            1,
            "--batch-size",
            600,
            "--threads",
            1,
            "--quiet",
            "--A",
            2,
            "--force",
            *options,
        )
        assert outcome.status == 0, outcome.err


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--model", "composite", "--encoder", "separate"), {"levels": 2, "flow": "iaf", "prior": "vamp"}),
        (("--model", "hierarchical", "--estimator", "s2s", "--prior", "learned"), {"levels": 2, "prior": "learned"}),
        (("--model", "iwae", "--A", 1, "--L", 3, "--gradient", "dreg"), {"levels": 1, "flow": "none"}),
        (("--model", "vamp", "--gradient", "stl", "--estimator", "a2a"), {"prior": "vamp"}),
        (("--features", "dense", "--decoder", "dense"), {"features": "dense", "decoder": "dense"}),
    ],
)
def test_models_of_parts_train_evaluate_and_sample(run, empty_world, options, parts):
    small = ("--epochs", 1, "--batch-size", 600, "--threads", 1, "--quiet")
    A = () if "--A" in options else ("--A", 3)
    outcome = run("image", "digits", *small, *A, *options)
    assert outcome.status == 0, outcome.err
    recorded = yaml.safe_load((empty_world / "digits.vbpi" / "config.yaml").read_text())["model"]
    assert {name: recorded[name] for name in parts} == parts
    evaluated = run("image", "eval", "--importance-samples", 2, "--images", 4, "--threads", 1, "--quiet")
    assert evaluated.status == 0, evaluated.err
    assert math.isfinite(summary(empty_world / "digits.vbpi")["miselbo"])
    drawn = run("image", "sample", "--count", 4, "--originals", 2, "--components", 2, "--threads", 1, "--quiet")
    assert drawn.status == 0, drawn.err


def test_mnist_from_a_folder(run, empty_world):
    write_idx_set(empty_world / "mine", random_images(24), random_images(12, seed=1))
    options = ("--data", "mine", "--epochs", 1, "--batch-size", 10, "--threads", 1, "--A", 2, "--S", 1)
    outcome = run("image", "mnist", *options)
    assert outcome.status == 0, outcome.err
    assert "mnist: fewer images than published" in outcome.err
    assert f"{606_781 + 240 * 2:,} parameters: " in outcome.err
    evaluated = run("image", "eval", "mnist.vbpi", "--importance-samples", 1, "--images", 2, "--threads", 1, "--quiet")
    assert evaluated.status == 0, evaluated.err
    write_idx_set(empty_world / "mine", random_images(24, seed=9), random_images(12, seed=1))
    line = run(
        "image", "eval", "mnist.vbpi", "--importance-samples", 1, "--images", 2, "--threads", 1, "--quiet"
    ).error_line()
    assert "not those that the run was trained on" in line


def test_cifar10_reports_bits_per_dimension(run, empty_world):
    (empty_world / "data_batch_1.bin").write_bytes(cifar_records(20)[0])
    (empty_world / "test_batch.bin").write_bytes(cifar_records(12)[0])
    options = ("--data", ".", "--epochs", 1, "--batch-size", 8, "--threads", 1, "--A", 2, "--S", 1, "--quiet")
    outcome = run("image", "cifar10", *options)
    assert outcome.status == 0, outcome.err
    outcome = run("image", "eval", "cifar10.vbpi", "--importance-samples", 1, "--images", 2, "--threads", 1, "--quiet")
    assert outcome.status == 0, outcome.err
    entry = summary(empty_world / "cifar10.vbpi")["negative_log_likelihood"][0]
    assert entry["bits_per_dimension"] == pytest.approx(entry["nll"] / (3072 * math.log(2)))
    assert f"{entry['bits_per_dimension']:.4f} bits per dimension" in outcome.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--A", 2, "--S", 3), "S=3"),
        (("--A", 0), "--A must be a whole number of at least 1, not 0"),
        (("--A", 4, "--S", 2, "--estimator", "a2a"), "a2a"),
        (("--epochs", 0), "--epochs must be a whole number of at least 1, not 0"),
        (("--seconds", -1), "seconds"),
        (("--patience", 0), "patience"),
        (("--batch-size", 2000), "batch size 2000"),
        (("--learning-rate", 0), "--learning-rate must be a number above 0, not 0"),
        (("--latent", 0), "latent"),
        (("--L", 0), "--L must be a whole number of at least 1, not 0"),
        (("--seed", -1), "seed"),
        (("--threads", 0), "--threads must be a whole number of at least 1, not 0"),
        (("--paper-compat", "--norm", "layer"), "norm batch"),
        (("--out", "nowhere/run"), "does not exist"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_leave_nothing(run, empty_world, options, words):
    assert words in run(*TRAIN, *options).error_line()
    assert files(empty_world) == []


def test_refused_data_leave_nothing(run, empty_world, monkeypatch):
    assert "no image data set is called 'svhn'" in run("image", "svhn").error_line()
    assert "mnist is not here and downloads are off" in run("image", "mnist").error_line()
    assert "no such folder" in run("image", "mnist", "--data", "nowhere").error_line()
    assert "digits come with scikit-learn and are read from no folder" in run(*TRAIN, "--data", ".").error_line()
    monkeypatch.setenv("VBPI_MIX_DATA", "nowhere")
    assert "VBPI_MIX_DATA=nowhere" in run("image", "fashion-mnist").error_line()
    monkeypatch.setenv("VBPI_MIX_DATA", str(empty_world))
    assert "downloads are off" in run("image", "mnist").error_line()
    write_idx_set(empty_world / "mnist", random_images(24), random_images(12))
    place = empty_world / "mnist" / "train-images-idx3-ubyte.gz"
    place.write_bytes(place.read_bytes()[:1000])
    line = run("image", "mnist").error_line()
    assert f"{place} is cut short" in line
    assert files(empty_world) == ["mnist"]


def test_cuda_where_there_is_none_is_said(run, empty_world, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no CUDA device" in run(*TRAIN, "--device", "cuda").error_line()
    assert files(empty_world) == []


def test_an_earlier_run_is_kept_without_force(run, copied):
    before = (copied / "checkpoint.pt").read_bytes()
    assert "--force" in run(*TRAIN).error_line()
    assert (copied / "checkpoint.pt").read_bytes() == before
    assert run(*TRAIN, "--force", "--A", 2).status == 0
    assert summary(copied)["A"] == 2


def test_eval_and_sample_refuse_what_is_no_image_run(run, empty_world, copied):
    (empty_world / "empty").mkdir()
    for command in ("eval", "sample", "compare"):
        assert "not a run" in run("image", command, "empty").error_line()
    assert "asked for" in run("image", "eval", copied, "--images", 361).error_line()
    assert "--importance-samples must be" in run("image", "eval", copied, "--importance-samples", 0).error_line()
    assert "not enough for 2 images" in run("image", "eval", copied, "--max-decoder-samples", 10).error_line()
    assert "--images-at-once must be" in run("image", "eval", copied, "--images-at-once", 0).error_line()
    assert "--count must be" in run("image", "sample", copied, "--count", 0).error_line()
    whole = (copied / "checkpoint.pt").read_bytes()
    (copied / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    for command in ("eval", "sample"):
        assert "checkpoint.pt is damaged" in run("image", command, copied).error_line()


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("command", "fit", "is not a run of vbpi-mix image"),
        ("estimation", {"A": 3}, "lacks estimation: estimator, S, L, phi_per, batch_size"),
        ("data", None, "lacks data: name, sha256"),
        ("model", [], "lacks model: all of it"),
        ("model", {"components": 3}, "does not describe an image model"),
        ("training", {"speed": 3}, "unknown training option speed"),
        ("estimation: batch_size", "x", "estimation: batch_size of its config.yaml must be a whole number of at least 1"),
        ("estimation: S", True, "S of its config.yaml must be a whole number"),
        ("estimation: estimator", "S3A", "must be one of a2a, s2a, s2s, not 'S3A'"),
        ("estimation: phi_per", ["point"], "must be one of point, batch"),
        ("execution: device", "tpu", "must be one of cpu, cuda, not 'tpu'"),
        ("execution: compile", 1, "must be one of false, true, not 1"),
        ("data: name", 3, "name of its config.yaml must be text, not 3"),
        ("model: shape", {"channels": 1, "height": -8, "width": 8}, "height must be a whole number of at least 1, not -8"),
        ("model: residual", "yes", "residual must be true or false"),
        ("model: feature_layers", [[4, 3]], "feature_layers are (channels, kernel, stride) each"),
        ("model: feature_layers", [[4, 3, 0]], "stride of feature_layers must be"),
    ],
)
def test_a_configuration_that_is_not_whole_is_one_line(run, copied, part, value, words):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    room, _, entry = part.partition(": ")
    if entry:
        config[room][entry] = value
    else:
        config[room] = value
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    assert words in run("image", "digits", "--resume", copied).error_line()
    if part != "training":
        assert words in run("image", "eval", copied).error_line()
    assert "checkpoint.pt" in files(copied)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist", "cifar10", "eval", "sample", "classify", "fid", "compare"])
def test_every_command_shows_an_example(run, name):
    outcome = run("image", name, "--help")
    assert outcome.status == 0
    assert "Example" in outcome.out
    assert f"vbpi-mix image {name}" in outcome.out
    listed = run("image", "--help").out
    assert name in listed

"""Image runs from a notebook: no command line is imported, and the numbers are those of the commands."""

import dataclasses
import subprocess
import sys

import pytest
import torch
import yaml
from image_commands import TRAIN, summary, trace_without_seconds

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.image.config import AT_LEAST, FitConfig
from vbpi_mix.image.fit import fit, resume
from vbpi_mix.image.run import load
from vbpi_mix.training.schedules import make_schedule

QUICK = FitConfig("digits", A=3, epochs=2, batch_size=400, threads=1)


def same_parameters(one, two):
    first, second = one.model.state_dict(), two.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_fit_is_the_run_of_the_command(trained, empty_world):
    """`trained` was made by `vbpi-mix image digits` with the same choices."""
    reports, lines = [], []
    run = fit(QUICK, "mine.vbpi", progress=reports.append, notice=lines.append)
    place = empty_world / "mine.vbpi"
    assert trace_without_seconds(place) == trace_without_seconds(trained)
    assert (place / "config.yaml").read_text() == (trained / "config.yaml").read_text()
    assert summary(place).keys() == summary(trained).keys()
    assert same_parameters(run, load(trained))
    assert run.checksum() == load(place).checksum()
    assert torch.equal(run.component_counts, load(trained).component_counts)
    assert run.epochs == 2
    assert reports[-1].finished
    assert lines[0] == "digits: 1,257 to train, 180 to validate, 360 to test"


def test_nothing_of_the_command_line_is_imported():
    code = (
        "import sys; import vbpi_mix.image.fit, vbpi_mix.image.comparison, vbpi_mix.toy.run\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('click', 'vbpi_mix_cli')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_help_does_not_wait_for_torch():
    code = "import sys; import vbpi_mix_cli.image, vbpi_mix_cli.toy; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist", "cifar10"])
def test_options_have_the_defaults_of_the_library(name):
    from vbpi_mix_cli.image import command

    given = command.commands[name].make_context(name, []).params
    plain = FitConfig(name)
    for field in dataclasses.fields(FitConfig):
        if field.name != "data":
            assert given[field.name] == getattr(plain, field.name), field.name


def test_evaluating_is_what_the_command_writes(run, copied):
    loaded = load(copied)
    done = []
    results = loaded.evaluate(importance_samples=4, count=30, progress=lambda *counts: done.append(counts))
    assert done[-1] == (30, 30)
    written = summary(copied)
    assert written["negative_log_likelihood"][1]["nll"] == -results.mean("pooled")
    before = written["negative_log_likelihood"]
    (copied / "nll-L4-n30-seed1.json").unlink()
    assert run("image", "eval", copied, "--importance-samples", 4, "--images", 30, "--threads", 1).status == 0
    assert summary(copied)["negative_log_likelihood"] == before


def test_samples_are_those_of_the_command(run, copied):
    loaded = load(copied)
    panels = loaded.sample(9, 4, 2)
    assert panels.prior.shape == (9, 1, 8, 8)
    assert panels.components.shape == (2, 4, 1, 8, 8)
    assert panels.shown == (0, 2)
    assert loaded.write_pictures(panels) == ["samples.png", "components.png", "reconstructions.png"]
    mine = (copied / "samples.png").read_bytes()
    options = ("--count", 9, "--originals", 4, "--components", 2, "--threads", 1, "--quiet")
    assert run("image", "sample", copied, *options).status == 0
    assert (copied / "samples.png").read_bytes() == mine


def test_resuming_goes_on_as_the_command_does(run, copied, empty_world):
    assert run(*TRAIN, "--A", 3, "--out", "other.vbpi").status == 0
    other = empty_world / "other.vbpi"
    assert run("image", "digits", "--resume", other, "--epochs", 3, "--quiet").status == 0
    longer = resume(copied, epochs=3)
    assert longer.result.iterations == 9
    assert trace_without_seconds(copied) == trace_without_seconds(other)
    lines = []
    resume(copied, notice=lines.append)
    assert lines == ["nothing left to train: the run is at its end, after 9 iterations"]


def test_a_run_that_is_there_is_kept(copied):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        fit(QUICK)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


@pytest.mark.parametrize("name", AT_LEAST)
def test_numbers_that_are_too_small_are_refused(name):
    with pytest.raises(ConfigError, match=f"^{name} {AT_LEAST[name] - 1}: give at least {AT_LEAST[name]}$"):
        FitConfig("digits", **{name: AT_LEAST[name] - 1})


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"data": "svhn"}, "no image model is named 'svhn'"),
        ({"estimator": "S3A"}, "S3A"),
        ({"S": 5}, "S=5"),
        ({"encoder": "both"}, "encoder must be one of shared, separate"),
        ({"norm": "group"}, "norm must be one of layer, none, batch"),
        ({"schedule": "linear"}, "schedule must be constant or cosine"),
        ({"phi_per": "epoch"}, "phi_per must be one of point, batch"),
        ({"device": "tpu"}, "device must be one of cpu, cuda"),
        ({"precision": "bf8"}, "precision must be one of float32, bf16"),
        ({"compile": 1}, "compile must be one of false, true"),
        ({"model": "ladder"}, "model must be one of vanilla, hierarchical, iaf, vamp, composite, iwae"),
        ({"prior": "flat"}, "prior must be one of normal, learned, vamp"),
        ({"gradient": "reinforce"}, "gradient must be one of pathwise, stl, dreg"),
        ({"gradient": "stl", "L": 2}, "gradient stl is for L = 1, not L = 2"),
        ({"gradient": "dreg", "model": "composite"}, "gradient dreg is for models without a flow, not composite"),
        ({"paper_compat": True, "norm": "layer"}, "norm batch"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, words):
    with pytest.raises(ConfigError) as error:
        FitConfig(**{"data": "digits", **choices})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_plain_config_asks_for():
    """Published: learning rate 0.0005, KL warm-up of 100 epochs, 100 images; a subset for each batch under paper_compat."""
    plain = FitConfig("mnist", A=20, epochs=2000, threads=1)
    training = plain.training(500)
    assert (training.iterations, training.learning_rate, training.tempering_iterations) == (1_000_000, 5e-4, 50_000)
    assert (training.validate_every, training.final_learning_rate_factor) == (500, 1.0)
    assert dataclasses.astuple(plain.estimation()) == ("s2a", 20, 2, 1, "point", 100, "pathwise")
    assert FitConfig("mnist", estimator="a2a", paper_compat=True).estimation().S == 4
    assert FitConfig("mnist", paper_compat=True).estimation().phi_per == "batch"
    assert FitConfig("digits", seconds=50.0).training(12).tempering_seconds == 5.0
    assert FitConfig("digits").training(12).iterations == 500 * 12
    assert FitConfig("digits").training(12).threads == 1


def test_what_the_models_of_parts_ask_for():
    """A, S, L as the estimators get them, and the parts of the specification."""
    iwae = FitConfig("mnist", model="iwae")
    assert dataclasses.astuple(iwae.estimation())[1:4] == (1, 1, 20)
    assert iwae.spec() == FitConfig("mnist", A=1).spec()
    mixture = FitConfig("mnist", model="iwae", A=3, L=5).estimation()
    assert (mixture.A, mixture.S, mixture.L) == (3, 2, 5)
    composite = FitConfig("digits", model="composite", encoder="separate").spec()
    assert (composite.components, composite.levels, composite.flow, composite.prior) == (4, 2, "iaf", "vamp")
    assert FitConfig("digits", model="composite", prior="learned").spec().prior == "learned"


@pytest.mark.parametrize(
    ("choices", "hold", "warmup"),
    [
        ({}, 0, 50),
        ({"model": "vamp"}, 59, 88),
        ({"model": "hierarchical"}, 59, 88),
        ({"prior": "learned"}, 59, 88),
        ({"model": "iaf"}, 0, 50),
        ({"model": "vamp", "epochs": 60}, 12, 18),
        ({"model": "vamp", "hold": 0}, 0, 50),
        ({"hold": 7, "warmup": 3}, 7, 3),
        ({"model": "vamp", "warmup": 5}, 59, 5),
        ({"model": "vamp", "data": "mnist"}, 2, 10),
    ],
)
def test_where_the_prior_has_no_scale_of_its_own_the_kl_term_comes_later(choices, hold, warmup):
    """700 iterations without it, at most a fifth of the epochs, then a warm-up of at least one and a half times as long."""
    config = FitConfig(**{"data": "digits", **choices})
    n = 500 if config.data == "mnist" else 12
    schedule = make_schedule(config.training(n))
    beta = [schedule.at(t, 0.0)[1] for t in (max(1, hold * n), (hold + warmup) * n, hold * n + warmup * n // 2)]
    assert beta == [0.0 if hold else pytest.approx(1 / (warmup * n)), 1.0, pytest.approx(0.5)]


def test_of_a_run_by_the_clock_a_tenth_is_without_the_kl_term():
    schedule = make_schedule(FitConfig("mnist", model="vamp", seconds=100.0).training(500))
    beta = [schedule.at(1, seconds)[1] for seconds in (9.9, 10.0, 17.5, 25.0)]
    assert beta == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=1e-12)


@pytest.mark.slow
def test_a_trained_vamp_prior_leaves_latents_that_tell_digits_apart(empty_world):
    """Under the plain warm-up it was right for one in ten: guesses."""
    config = FitConfig("digits", model="vamp", A=2, epochs=60, learning_rate=0.002, schedule="cosine")
    assert fit(config).classify(repeats=1).accuracy > 0.6


def test_a_run_from_before_there_were_parts_loads(copied):
    """Its config.yaml and checkpoint lack their entries: all of them are then as they were."""
    config = yaml.safe_load((copied / "config.yaml").read_text())
    content = torch.load(copied / "checkpoint.pt", weights_only=True)
    for recorded in (config, content["config"]):
        del recorded["estimation"]["gradient"]
        later = ("decoder", "levels", "lower_layers", "hidden", "flow", "flow_steps", "flow_hidden", "prior", "pseudo_inputs")
        for name in later:
            del recorded["model"][name]
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(content, copied / "checkpoint.pt")
    loaded = load(copied)
    assert (loaded.config.estimation.gradient, loaded.model.spec.levels, loaded.model.spec.flow) == ("pathwise", 1, "none")
    assert resume(copied, epochs=3).result.iterations == 9


def test_a_checkpoint_of_another_model_is_refused(copied):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    config["model"]["latent"] = 9
    (copied / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunDirectoryError, match=r"model: latent of its config\.yaml is 9, but its checkpoint was made with"):
        load(copied)

"""`vbpi-mix image classify`: labels beside their images, features, and the numbers of a classifier fitted by hand."""

import gzip
import math

import numpy as np
import pytest
import torch
from image_commands import summary
from image_files import random_images, write_idx_set
from reference import image_levels
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC
from tiny_models import all_images, tiny_model

from vbpi_mix.image.datasets import load_images, load_labels
from vbpi_mix.image.evaluation import evaluate_block
from vbpi_mix.image.formats import DatasetError
from vbpi_mix.image.latents import _diversity, drawn_features, latent_features
from vbpi_mix.image.run import classify_runs, load


def test_labels_of_digits_are_those_of_their_images():
    bundle = load_digits()
    of_image = {}
    for image, label in zip(bundle.images.astype(np.uint8), bundle.target, strict=True):
        of_image.setdefault(image.tobytes(), set()).add(int(label))
    data = load_images("digits")
    labels = load_labels(data)
    assert (len(labels.train), len(labels.test)) == (len(data.train), len(data.test))
    for image, label in zip(data.train.numpy(), labels.train, strict=True):
        assert int(label) in of_image[image.tobytes()]
    # Test images are binarised: their pixels are 1 where the grey level is high, of the image with that label.
    rest = bundle.target[np.random.RandomState(42).permutation(len(bundle.target))[1437:]]
    assert labels.test.tolist() == rest.tolist()


def write_labels(folder, name, labels, magic=b"\x00\x00\x08\x01", count=None):
    content = magic + (len(labels) if count is None else count).to_bytes(4, "big") + bytes(labels)
    (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))


def test_labels_of_mnist_stand_beside_the_images(empty_world):
    folder = empty_world / "mine"
    write_idx_set(folder, random_images(24), random_images(12, seed=1))
    data = load_images("mnist", folder)
    with pytest.raises(DatasetError, match="train-labels-idx1-ubyte is missing: put the published labels beside the images"):
        load_labels(data, folder)
    write_labels(folder, "train", [n % 10 for n in range(24)])
    write_labels(folder, "t10k", [7] * 12)
    labels = load_labels(data, folder)
    assert labels.train.tolist() == [n % 10 for n in range(20)]  # the last of six are for validation
    assert labels.test.tolist() == [7] * 12
    for labels_are, match in (
        ({"labels": [1] * 11}, "holds 11 labels where the images beside it need 12"),
        ({"labels": [1] * 12, "count": 13}, "holds 12 labels"),
        ({"labels": [1] * 12, "magic": b"\x00\x00\x08\x03"}, "is not an IDX file of labels"),
    ):
        write_labels(folder, "t10k", **labels_are)
        with pytest.raises(DatasetError, match=match):
            load_labels(data, folder)


def test_features_are_means_and_standard_deviations_of_all_components():
    model, x = tiny_model(3, 2), all_images()
    found = latent_features(model, x)
    assert found.shape == (16, 12)
    for n in (0, 7):
        q = model.encode(x[n : n + 1])
        wanted = [*q.mean[:, 0].flatten().tolist(), *torch.exp(0.5 * q.log_variance[:, 0]).flatten().tolist()]
        assert found[n].tolist() == pytest.approx(wanted, abs=1e-6)


def test_features_of_two_levels_are_those_of_both():
    model, x = tiny_model(3, 2, levels=2, lower_layers=((3, 3, 1),), hidden=4), all_images()
    found, n = latent_features(model, x), 5
    assert found.shape == (16, 24)
    q = model.encode(x[n : n + 1])
    assert found[n, :6].tolist() == pytest.approx(q.mean[:, 0].flatten().tolist(), abs=1e-6)
    for a in range(3):
        mean, log_variance = image_levels.lower(model, x[n : n + 1], q.mean[a, 0], a)
        assert found[n, 12 + 2 * a : 14 + 2 * a].tolist() == pytest.approx(mean.tolist(), abs=1e-5)
        assert found[n, 18 + 2 * a : 20 + 2 * a].tolist() == pytest.approx(torch.exp(0.5 * log_variance).tolist(), abs=1e-5)


@pytest.mark.parametrize("parts", [{}, {"levels": 2, "lower_layers": ((3, 3, 1),), "hidden": 4, "flow": "iaf", "flow_hidden": 5}])
def test_the_diversity_is_that_of_an_evaluation(parts):
    model, x = tiny_model(3, 2, **parts), all_images()
    found, error = _diversity([model], x, torch.Generator().manual_seed(1))
    wanted = evaluate_block(model, x, list(range(16)), 400, 1)[3]
    assert 0.02 < found < math.log(3)
    assert found == pytest.approx(float(wanted.mean()), abs=0.02)
    assert error < 0.02


def test_a_component_twice_is_no_more_diverse_and_one_far_away_is_a_bit_more():
    """An ensemble's diversity is over the components of all models: of the same twice that of one, of two apart log 2 more."""
    model, other, x = tiny_model(3, 2), tiny_model(3, 2), all_images()
    once, twice = (_diversity(models, x, torch.Generator().manual_seed(1))[0] for models in ([model], [model, other]))
    assert twice == pytest.approx(once, abs=0.02)
    with torch.no_grad():
        other.encoder.mean.layers[-1].bias.add_(100.0)
    apart = _diversity([model, other], x, torch.Generator().manual_seed(1))[0]
    assert apart == pytest.approx(once + math.log(2), abs=0.02)


@pytest.mark.parametrize("parts", [{}, {"levels": 2, "lower_layers": ((3, 3, 1),), "hidden": 4}])
def test_latents_drawn_have_the_moments_of_the_mixture(parts):
    model, x, draws = tiny_model(3, 2, **parts), all_images()[:4], 6_000
    D = model.spec.dimensions
    found = drawn_features(model, x, draws, torch.Generator().manual_seed(1)).reshape(4, draws, D)
    q = model.encode(x)  # of two levels the upper, which comes last
    mean = q.mean.mean(0).detach().numpy()
    variance = (q.log_variance.exp() + q.mean.square()).mean(0).detach().numpy() - mean**2
    error = np.sqrt(variance / draws)
    assert np.abs((found[..., D - 2 :].mean(1) - mean) / error).max() < 4.5
    assert found[..., D - 2 :].var(1) == pytest.approx(variance, rel=0.15)


def test_features_of_an_ensemble_stand_side_by_side(run, copied, empty_world):
    assert run("image", "digits", "--A", 1, "--epochs", 1, "--batch-size", 400, "--quiet", "--out", "one.vbpi").status == 0
    files = {path: path.read_bytes() for path in (*copied.iterdir(), *(empty_world / "one.vbpi").iterdir())}
    outcome = run("image", "classify", copied, "one.vbpi", "--repeats", 1, "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert "from 64 numbers of 2 models" in outcome.out
    assert "at most log 4 = 1.386" in outcome.out
    assert {path: path.read_bytes() for path in files} == files
    models, data = [load(place).model for place in (copied, "one.vbpi")], load_images("digits")
    grey, generator = data.train.float() / 16, torch.Generator().manual_seed(1)
    pixels = (torch.rand(grey.shape, generator=generator) < grey).float()
    train, test = (np.hstack([latent_features(model, x) for model in models]) for x in (pixels, data.test.float()))
    labels = load_labels(data)
    machine = LinearSVC(C=0.025, dual=True, max_iter=20_000, random_state=1).fit(train, labels.train)
    assert classify_runs([load(copied), load("one.vbpi")], repeats=1).accuracy == machine.score(test, labels.test)


def test_latents_drawn_are_features_on_request(run, copied):
    outcome = run("image", "classify", copied, "--repeats", 1, "--threads", 1, "--draws", 3)
    assert outcome.status == 0, outcome.err
    assert "from 24 numbers" in outcome.out
    assert summary(copied)["classification"]["features"] == "3 latents drawn from q(z|x)"
    assert "draws" in run("image", "classify", copied, "--draws", 0).error_line()


def test_ensembles_that_do_not_fit_are_refused(run, copied, empty_world):
    options = ("--A", 1, "--epochs", 1, "--batch-size", 400, "--quiet")
    assert run("image", "digits", *options, "--latent", 3, "--out", "small.vbpi").status == 0
    assert "same number of dimensions" in run("image", "classify", copied, "small.vbpi").error_line()
    write_idx_set(empty_world / "mine", random_images(24), random_images(12, seed=1))
    few = ("--data", "mine", "--epochs", 1, "--batch-size", 10, "--threads", 1, "--A", 1, "--pixel-layers", 1, "--quiet")
    assert run("image", "mnist", *few).status == 0
    assert "of other images" in run("image", "classify", copied, "mnist.vbpi").error_line()


def test_a_classifier_that_stops_early_is_told_of(monkeypatch, run, copied):
    monkeypatch.setattr("vbpi_mix.image.latents.MOST_ITERATIONS", 1)
    outcome = run("image", "classify", copied, "--repeats", 1, "--threads", 1)
    assert outcome.status == 0
    assert "had not converged" in outcome.err


def test_the_command_prints_and_writes_the_classifier_fitted_by_hand(run, copied):
    outcome = run("image", "classify", copied, "--repeats", 2, "--seed", 3, "--threads", 1)
    assert outcome.status == 0, outcome.err
    entry = summary(copied)["classification"]
    loaded, data = load(copied), load_images("digits")
    labels, generator = load_labels(data), torch.Generator().manual_seed(3)
    grey = data.train.float() / 16
    pixels = (torch.rand(grey.shape, generator=generator) < grey).float()
    machine = LinearSVC(C=0.025, dual=True, max_iter=20_000, random_state=3)
    machine.fit(latent_features(loaded.model, pixels), labels.train)
    first = float(machine.score(latent_features(loaded.model, data.test.float()), labels.test))
    assert entry["repeats"][0] == first
    assert entry["accuracy"] == pytest.approx(np.mean(entry["repeats"]))
    line, diversity = outcome.out.splitlines()
    assert line.startswith(f"accuracy {100 * entry['accuracy']:.2f} % (se ")
    assert "of 360 test images, from 48 numbers of A = 3 components" in line
    assert "at most log A = 1.099" in diversity
    assert run("image", "digits", "--resume", copied, "--epochs", 3, "--quiet").status == 0
    assert "classification" not in summary(copied)


def test_runs_without_labels_are_refused(run, empty_world):
    write_idx_set(empty_world / "mine", random_images(24), random_images(12, seed=1))
    options = ("--data", "mine", "--epochs", 1, "--batch-size", 10, "--threads", 1, "--A", 1, "--pixel-layers", 1, "--quiet")
    assert run("image", "mnist", *options).status == 0
    before = {path.name: path.read_bytes() for path in (empty_world / "mnist.vbpi").iterdir()}
    assert "labels beside the images" in run("image", "classify", "mnist.vbpi").error_line()
    assert {path.name: path.read_bytes() for path in (empty_world / "mnist.vbpi").iterdir()} == before

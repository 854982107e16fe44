"""`vbpi-mix image fid`: Gaussians in closed form, images of the model's own distribution, and the classifier."""

from typing import ClassVar

import numpy as np
import pytest
import scipy.linalg
import torch
from image_commands import summary
from tiny_models import all_images, exact_log_evidence, tiny_model

from vbpi_mix.errors import ConfigError
from vbpi_mix.image import feature_networks, frechet
from vbpi_mix.image.datasets import ImageData, load_images, load_labels
from vbpi_mix.image.feature_networks import Classifier, FeatureNetwork, classifier_of
from vbpi_mix.image.frechet import draw_images, frechet_distance, measure
from vbpi_mix_cli import image_fid


def features_with(mean, covariance, count=50, seed=0):
    """[count, F] whose mean and sample covariance are exactly these."""
    noise = np.random.default_rng(seed).standard_normal((count, len(mean)))
    noise -= noise.mean(0)
    white = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def some_covariance(seed, size=4):
    root = np.random.default_rng(seed).standard_normal((size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_distance_of_independent_gaussians_is_that_of_their_deviations():
    one = features_with(np.array([1.0, -2.0, 0.5]), np.diag([1.0, 4.0, 0.25]))
    two = features_with(np.array([1.5, 0.0, 0.5]), np.diag([9.0, 1.0, 0.25]), count=70, seed=1)
    # (1.5 - 1)^2 + 2^2, and of the deviations (1 - 3)^2 + (2 - 1)^2.
    assert frechet_distance(one, two) == pytest.approx(0.25 + 4.0 + 4.0 + 1.0, abs=1e-9)


def test_distance_of_correlated_gaussians_is_that_of_the_matrix_square_root():
    first, second = some_covariance(1), some_covariance(2)
    means = np.zeros(4), np.array([0.3, -1.0, 2.0, 0.0])
    root = scipy.linalg.sqrtm(first @ second)
    wanted = means[1] @ means[1] + np.trace(first + second - 2.0 * root.real)
    found = frechet_distance(features_with(means[0], first), features_with(means[1], second, seed=3))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_distance_of_few_images_with_dead_features():
    """Covariances without full rank: moving all features by t costs |t|^2, whatever the rest."""
    features = np.random.default_rng(1).standard_normal((3, 6))
    features[:, 2] = 0.0
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(features, features + 0.5) == pytest.approx(6 * 0.25, abs=1e-9)
    with pytest.raises(ConfigError, match="at least two images"):
        frechet_distance(features[:1], features)


def test_images_are_drawn_from_the_evidence(monkeypatch):
    """Chi-squared over the 16 images of the model's p(x), in parts of 900."""
    monkeypatch.setattr(frechet, "IMAGES_AT_ONCE", 900)
    model, count, told = tiny_model(3, 1), 5000, []
    expected = count * exact_log_evidence(model, all_images()).exp()
    drawn = draw_images(model, count, torch.Generator().manual_seed(3), lambda done, total: told.append((done, total)))
    codes = (drawn.view(count, 4).long() << torch.arange(4)).sum(1)
    observed = torch.bincount(codes, minlength=16)
    # 15 degrees of freedom: 44.3 is exceeded once in 10,000.
    assert float(((observed - expected).square() / expected).sum()) < 44.3
    assert told == sorted(told)
    assert told[-1] == (4 * count, 4 * count)


def test_measure_compares_samples_and_training_images_with_test_images():
    random = torch.Generator().manual_seed(1)
    grey, binary = torch.randint(0, 17, (40, 1, 2, 2), generator=random), torch.randint(0, 2, (30, 1, 2, 2), generator=random)
    data = ImageData("digits", grey.byte(), binary.byte(), binary.byte(), 16, True, None, False)
    network = FeatureNetwork("pixels", torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4)), 4, None, "")
    with torch.no_grad():
        network.module[1].weight.copy_(torch.eye(4))
        network.module[1].bias.zero_()
    found = measure(tiny_model(2, 1), data, network, samples=50, seed=4)
    drawn = draw_images(tiny_model(2, 1), 50, torch.Generator().manual_seed(4))
    pixels = [images.flatten(1).double().numpy() for images in (drawn, binary)]
    assert found.distance == pytest.approx(frechet_distance(*pixels), abs=1e-9)
    assert (found.samples, found.training_images, found.test_images) == (50, 40, 30)
    # Whatever model is measured.
    assert measure(tiny_model(3, 2), data, network, samples=50, seed=4).of_training_images == found.of_training_images
    # Training pixels are drawn with the probabilities of their levels, all 40 images: a mean near that of the levels.
    bound = frechet_distance(np.tile(pixels[1], (2, 1)), pixels[1])
    assert bound < found.of_training_images < 1.0


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(feature_networks, "STEPS", 40)


def no_labels():
    raise AssertionError("the labels are not needed")


def test_classifier_is_trained_once_and_kept_as_plain_arrays(tmp_path, few_steps):
    data, told = load_images("digits"), []
    torch.set_num_threads(2)
    made = classifier_of(data, lambda: load_labels(data), tmp_path, lambda *counts: told.append(counts))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert told[-1] == (40, 40)
    assert 0.2 < made.accuracy < 1.0
    kept = classifier_of(data, no_labels, tmp_path)
    assert kept.facts() == made.facts()
    images = data.held_out_input(data.test)[:7]
    assert np.array_equal(kept(images), made(images))
    assert made(images).shape == (7, 64)
    (file,) = tmp_path.iterdir()
    with np.load(file, allow_pickle=False) as content:
        right = content["classes.weight"] @ made(data.held_out_input(data.test)).T + content["classes.bias"][:, None]
        assert (right.argmax(0) == load_labels(data).test).mean() == pytest.approx(made.accuracy)
    # On one thread as on two, from the same seed.
    file.unlink()
    assert classifier_of(data, lambda: load_labels(data), tmp_path).digest == made.digest


@pytest.mark.parametrize("damage", ["cut", "pickled", "of other images", "of other sizes", "no archive"])
def test_what_is_kept_damaged_or_of_other_images_is_made_anew(tmp_path, few_steps, damage, monkeypatch):
    monkeypatch.setattr(feature_networks, "STEPS", 1)
    data = load_images("digits")
    good = classifier_of(data, lambda: load_labels(data), tmp_path)
    (file,) = tmp_path.iterdir()
    with np.load(file, allow_pickle=False) as content:
        arrays = dict(content)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "no archive":
        file.write_bytes(b"nothing")
    else:
        change = {
            "pickled": {"classes.bias": np.array([{}], dtype=object)},
            "of other images": {"checksum": np.array("0" * 64)},
            "of other sizes": {"classes.bias": np.zeros(3, dtype=np.float32)},
        }[damage]
        np.savez(file, **{**arrays, **change})
    asked = []
    again = classifier_of(data, lambda: asked.append(1) or load_labels(data), tmp_path)
    assert asked
    assert again.digest == good.digest


def test_classifier_fits_images_of_both_sizes():
    for side, features in ((8, 32 * 4 * 4), (28, 32 * 7 * 7)):
        module = Classifier(1, side, side)
        assert module.features.in_features == features
        assert module(torch.zeros(2, 1, side, side)).shape == (2, 64)


def test_command_says_and_records_all_that_the_distance_depends_on(run, copied, few_steps):
    outcome = run("image", "fid", copied, "--samples", 40, "--threads", 1)
    assert outcome.status == 0, outcome.err
    entry = summary(copied)["frechet_distance"]
    assert f"Frechet distance {entry['distance']:.3f}: 40 samples against 360 test images" in outcome.out
    assert f"of 40 training images in place of samples: {entry['distance_of_training_images']:.3f}" in outcome.out
    assert "no more images than the 64 features" in outcome.out
    assert entry["features"] in outcome.out
    assert (entry["samples"], entry["test_images"], entry["likelihood"]) == (40, 360, "valid")
    assert 0.2 < entry["classifier_accuracy"] < 1.0
    assert run("image", "fid", copied, "--features", "none.pth").error_line().startswith("error: none.pth: no such file")
    assert run("image", "fid", copied, "--samples", 1).error_line().startswith("error: --samples must be")


def test_colour_images_without_labels_need_another_network():
    class OfCifar:
        class config:
            data: ClassVar = {"name": "cifar10"}

    with pytest.raises(ConfigError, match="image fid of cifar10 needs --features"):
        image_fid._network(OfCifar, None, None, None)

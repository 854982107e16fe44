"""Encoders: numbers of parameters, all components at once against one after the other, densities."""

import pytest
import torch
from image_models import TINY_GREY, colour_model, grey_model, images_for, spread_out
from reference import image_encoders

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.densities import gaussian_log_density
from vbpi_mix.image.model import build_model
from vbpi_mix.image.networks import LOG_VARIANCE_RANGE, Gaussians
from vbpi_mix.image.spec import ImageShape, ModelSpec, preset

# Features, decoder and their layers as counted on the published code.
FEATURE_LAYERS = [3_200, 18_496, 102_528, 73_856, 6_924]
GREY_DECODER = 324_577
# The published ResNet-20 also carries a classification layer that nothing uses.
UNUSED_CLASSIFIER = 64 * 10 + 10


def total(name, A, **changes):
    return build_model(preset(name, A, **changes)).parameter_counts()["total"]


@pytest.mark.parametrize(
    ("A", "published"), [(1, 607_021), (50, 618_781), (200, 654_781), (400, 702_781), (800, 798_781)]
)
def test_shared_encoder_has_the_published_number_of_parameters(A, published):
    assert published == 606_781 + 240 * A
    assert total("mnist", A) == total("mnist", A, norm="batch") == published


def test_every_layer_has_the_published_number_of_parameters():
    A = 50
    layers = build_model(preset("mnist", A)).parameter_counts(depth=4)
    assert [layers[f"encoder.features.layers.{k}"] for k in range(5)] == FEATURE_LAYERS
    for net in ("mean", "log_variance"):
        inputs = [294 + A, 334 + A, 334 + A]
        assert [layers[f"encoder.{net}.layers.{k}"] for k in range(3)] == [40 * n + 40 for n in inputs]
    decoder = build_model(preset("mnist", A)).parameter_counts(depth=3)
    masked = [decoder[f"decoder.layers.{k}"] for k in range(0, 16, 2)]
    norms = [decoder[f"decoder.layers.{k}"] for k in range(1, 16, 2)]
    assert [c + n for c, n in zip(masked, norms, strict=True)] == [1_280] + 7 * [36_992]
    assert decoder["decoder.projection.weight"] + decoder["decoder.projection.bias"] == 64_288
    assert decoder["decoder.output.weight"] + decoder["decoder.output.bias"] == 65
    assert sum(n for name, n in decoder.items() if name.startswith("decoder")) == GREY_DECODER


def test_other_documented_numbers_of_parameters():
    assert total("mnist", 7, residual=False) == 553_181 + 80 * 7
    assert [total("mnist", A, encoder="separate") for A in (1, 2, 12)] == [553_181, 781_785, 3_067_825]
    assert preset("cifar10", 3, encoder="separate").features == "gated"
    assert [total("cifar10", A, encoder="separate") for A in (1, 5)] == [474_020 + 309_836 * A for A in (1, 5)]
    assert total("mnist", 1, latent=70) == 720_541
    assert total("fashion_mnist", 3) == 606_781 + 240 * 3


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_colour_model_has_the_published_number_of_parameters_and_the_forgotten_projection(norm):
    published = 728_126 - UNUSED_CLASSIFIER
    counts = build_model(preset("cifar10", 4, norm=norm)).parameter_counts()
    assert counts["decoder.projection"] == 131_072
    assert counts["total"] == published + 131_072 + 768 * 4
    assert counts["encoder.features"] == 269_722 - UNUSED_CLASSIFIER
    assert counts["encoder.mean"] + counts["encoder.log_variance"] == 115_456 + 768 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("residual", [True, False])
def test_all_components_at_once_equal_one_after_the_other(residual, dtype):
    model = grey_model(A=5, residual=residual, dtype=dtype)
    images = images_for(model, 3)
    mean, log_variance = image_encoders.shared(model, images)
    found = model.encode(images)
    tolerance = {"atol": 1e-6 if dtype == torch.float32 else 1e-10, "rtol": 0.0}
    torch.testing.assert_close(found.mean, mean, **tolerance)
    torch.testing.assert_close(found.log_variance, log_variance, **tolerance)
    assert not torch.equal(mean[0], mean[1])


def test_the_published_size_too():
    model = build_model(preset("mnist", 3), torch.Generator().manual_seed(1))
    images = images_for(model, 2)
    mean, log_variance = image_encoders.shared(model, images)
    found = model.encode(images)
    torch.testing.assert_close(found.mean, mean, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(found.log_variance, log_variance, atol=1e-6, rtol=0.0)


def test_separate_encoders_equal_one_after_the_other():
    model = grey_model(A=3, encoder="separate")
    images = images_for(model, 2)
    mean, log_variance = image_encoders.separate(model, images)
    found = model.encode(images)
    torch.testing.assert_close(found.mean, mean, atol=1e-10, rtol=0.0)
    torch.testing.assert_close(found.log_variance, log_variance, atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("make", [grey_model, colour_model, lambda **k: grey_model(encoder="separate", **k)])
def test_some_components_are_rows_of_all(make):
    model = make(A=4)
    images = images_for(model, 3)
    everything = model.encode(images)
    of_batch = torch.tensor([2, 0])
    of_image = torch.tensor([[2, 0, 1], [3, 3, 2]])
    for rows, pick in ((of_batch, of_batch[:, None].expand(2, 3)), (of_image, of_image)):
        found = model.encode(images, rows)
        for b in range(3):
            torch.testing.assert_close(found.mean[:, b], everything.mean[pick[:, b], b])
            torch.testing.assert_close(found.log_variance[:, b], everything.log_variance[pick[:, b], b])


def test_log_variances_stay_in_their_range():
    model = spread_out(grey_model(A=20), size=10.0)
    low, high = LOG_VARIANCE_RANGE
    values = model.encode(images_for(model, 2)).log_variance
    assert float(values.detach().min()) == low
    assert float(values.detach().max()) == high


@pytest.mark.parametrize("particles", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_densities_by_differences_and_by_products(particles, dtype):
    """Both ways of gaussian_log_density, with variances at the ends of their range, and their gradients."""
    generator = torch.Generator().manual_seed(4)
    S, R, B, d = 2, 5, 3, 40
    mean = torch.randn(R, B, d, generator=generator, dtype=torch.float64)
    log_variance = (8.0 * torch.rand(R, B, d, generator=generator, dtype=torch.float64) - 6.0).contiguous()
    z = torch.randn(S, particles, B, d, generator=generator, dtype=torch.float64) + mean[:S].unsqueeze(1)
    wanted_in = [x.clone().requires_grad_() for x in (z, mean, log_variance)]
    wanted = image_encoders.log_density(*wanted_in)
    found_in = [x.to(dtype).requires_grad_() for x in (z, mean, log_variance)]
    found = gaussian_log_density(found_in[0], Gaussians(found_in[1], found_in[2]))
    relative = 2e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.double(), wanted, rtol=relative, atol=relative)
    weights = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    (weights * wanted).sum().backward()
    (weights * found).sum().backward()
    for a, b in zip(found_in, wanted_in, strict=True):
        torch.testing.assert_close(
            a.grad.double(), b.grad, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=relative * 1e3
        )


def test_same_seed_same_model_and_the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    first, second, other = grey_model(seed=5), grey_model(seed=5), grey_model(seed=6)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.encoder.mean.layers[0].weight, other.encoder.mean.layers[0].weight)


def test_a_specification_survives_plain_data():
    for name in ("digits", "mnist", "fashion_mnist", "cifar10"):
        spec = preset(name, 3)
        assert ModelSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ConfigError, match="does not describe an image model"):
        ModelSpec.from_dict({**preset("digits", 3).to_dict(), "colour": "red"})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"components": 0}, "components must be a whole number of at least 1"),
        ({"latent": 2.5}, "latent must be a whole number"),
        ({"norm": "group"}, "norm must be one of layer, none, batch"),
        ({"paper_compat": True, "norm": "layer"}, "paper_compat needs norm batch"),
        ({"feature_layers": ()}, "need feature_layers"),
        ({"features": "resnet20"}, "3 channels"),
        ({"shape": ImageShape(3, 8, 8)}, "1 channel"),
        ({"likelihood": "discretised_logistic"}, "3 channels"),
    ],
)
def test_what_does_not_fit_is_refused(changes, match):
    values = {"shape": ImageShape(1, 8, 8), "components": 2, **TINY_GREY, **changes}
    with pytest.raises(ConfigError, match=match):
        ModelSpec(**values)


def test_unknown_preset():
    with pytest.raises(ConfigError, match="digits, mnist, fashion_mnist, cifar10"):
        preset("svhn", 2)

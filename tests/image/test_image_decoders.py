"""Decoders: masks, independence of other images, likelihoods that sum to one, the same result however computed."""

import itertools

import pytest
import torch
from image_models import colour_model, grey_model, images_for
from reference import image_decoders

from vbpi_mix.image import model as model_module
from vbpi_mix.image.likelihoods import (
    bernoulli_log_likelihood,
    colour_means,
    discretised_logistic_log_likelihood,
    logistic_parameters,
)
from vbpi_mix.image.spec import ImageShape


def latents(model, B, S=1, K=1, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((S, K, B, model.spec.latent), generator=generator, dtype=model.dtype)


def test_grey_decoder_equals_its_slow_twin():
    model = grey_model(pixel_layers=4)
    images, z = images_for(model, 3), latents(model, 3)
    with torch.no_grad():  # norms that do something
        for norm in model.decoder.layers[1::2]:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    wanted = image_decoders.grey_logits(model.decoder, images, z[0, 0])
    torch.testing.assert_close(model.decoder_output(images, z)[0, 0], wanted, atol=1e-10, rtol=0.0)


def test_samples_and_particles_are_decoded_each_by_itself():
    model = grey_model()
    images, z = images_for(model, 2), latents(model, 2, S=3, K=4)
    together = model.decode_log_likelihood(images, z)
    assert together.shape == (3, 4, 2)
    for s, k, b in itertools.product(range(3), range(4), range(2)):
        one = model.decode_log_likelihood(images[b : b + 1], z[s, k, b].view(1, 1, 1, -1))
        torch.testing.assert_close(together[s, k, b], one[0, 0, 0])


@pytest.mark.parametrize("make", [grey_model, colour_model])
@pytest.mark.parametrize("training", [True, False])
def test_by_default_the_likelihood_of_an_image_does_not_depend_on_the_others(make, training):
    model = make().train(training)
    images, z = images_for(model, 4), latents(model, 4)
    other_images, other_z = images.clone(), z.clone()
    other_images[1:] = images_for(model, 3, seed=99)
    other_z[:, :, 1:] = 5.0
    first = model.decode_log_likelihood(images, z)[0, 0]
    second = model.decode_log_likelihood(other_images, other_z)[0, 0]
    torch.testing.assert_close(first[0], second[0], atol=1e-10, rtol=0.0)
    assert bool((first[1:] - second[1:]).abs().min() > 1e-3)


@pytest.mark.parametrize("make", [grey_model, colour_model])
def test_in_paper_compat_it_does_even_in_evaluation(make):
    model = make(norm="batch", paper_compat=True).eval()
    assert not model.spec.valid_likelihood
    images, z = images_for(model, 4), latents(model, 4)
    other_images, other_z = images.clone(), z.clone()
    other_images[1:] = images_for(model, 3, seed=99)
    other_z[:, :, 1:] = 5.0
    first = model.decode_log_likelihood(images, z)[0, 0].detach()
    second = model.decode_log_likelihood(other_images, other_z)[0, 0].detach()
    assert abs(float(first[0] - second[0])) > 1e-3


def test_batch_statistics_are_used_in_training_only_without_paper_compat():
    model = grey_model(norm="batch")
    images, z = images_for(model, 4), latents(model, 4)

    def difference():
        with torch.no_grad():
            together = model.decode_log_likelihood(images, z)[0, 0, 0]
            return abs(float(together - model.decode_log_likelihood(images[:1], z[:, :, :1])[0, 0, 0]))

    model.train()
    assert difference() > 1e-3
    model.eval()
    assert difference() < 1e-10


def test_in_paper_compat_each_component_is_a_batch_of_its_own():
    """As published: what one component's samples are normalised by is not mixed with another's."""
    model = grey_model(norm="batch", paper_compat=True)
    images, z = images_for(model, 4), latents(model, 4, S=3)
    together = model.decode_log_likelihood(images, z)
    for s in range(3):
        torch.testing.assert_close(together[s], model.decode_log_likelihood(images, z[s : s + 1])[0])


@pytest.mark.parametrize("make", [grey_model, colour_model])
@pytest.mark.parametrize("norm", ["layer", "none"])
def test_no_output_sees_its_own_or_a_later_pixel(make, norm):
    model = make(norm=norm)
    _, H, W = model.spec.shape.sizes
    images, z = images_for(model, 1).requires_grad_(), latents(model, 1)
    output = model.decoder_output(images, z)[0, 0, 0]  # [P, H, W]
    weights = torch.randn(output.shape[0], generator=torch.Generator().manual_seed(1), dtype=output.dtype)
    seen = torch.zeros(H * W, H * W, dtype=torch.bool)
    for pixel in range(H * W):
        at = (weights @ output.flatten(1))[pixel]
        (gradient,) = torch.autograd.grad(at, images, retain_graph=True)
        seen[pixel] = (gradient[0] != 0).any(0).flatten()
    assert not bool(seen.triu().any())
    # Pixels to the left and above are seen; here and there a ReLU without normalisation hides one.
    left = seen.diagonal(-1)[[pixel - 1 for pixel in range(1, H * W) if pixel % W]]
    above = seen.diagonal(-W)
    for neighbours in (left, above):
        assert float(neighbours.float().mean()) > (0.99 if norm == "layer" else 0.7)


def test_colours_of_a_pixel_depend_on_earlier_colours_only():
    """The means of red, green and blue move with 0, 1 and 2 colours of the pixel."""
    model = colour_model()
    images = images_for(model, 1)
    output = model.decoder_output(images, latents(model, 1))[0, 0]
    _, means, _, coefficients = logistic_parameters(output)
    x = (2.0 * images - 1.0).requires_grad_()
    moved = colour_means(means, coefficients, x)
    for colour in range(3):
        (gradient,) = torch.autograd.grad(moved[0, colour].sum(), x, retain_graph=True, allow_unused=True)
        assert [bool((gradient[0, other] != 0).any()) for other in range(3)] == [other < colour for other in range(3)]


def test_bernoulli_likelihoods_of_all_images_sum_to_one():
    """Over all images of 2 x 4 pixels, the autoregressive decoder included."""
    model = grey_model(shape=ImageShape(1, 2, 4))
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8)), dtype=torch.float64).view(-1, 1, 2, 4)
    z = latents(model, 1).expand(1, 1, len(images), -1)
    log_p = model.decode_log_likelihood(images, z).detach()
    assert float(log_p.logsumexp(2)) == pytest.approx(0.0, abs=1e-10)


def test_bernoulli_likelihood_of_certain_pixels():
    x = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 1, 4)
    logits = torch.tensor([200.0, -200.0, -200.0, 200.0]).view(1, 1, 1, 4)
    assert float(bernoulli_log_likelihood(x, logits)) == pytest.approx(-400.0)


def outputs(kind, M, generator):
    """[10 M] decoder outputs of a pixel: random, or with most of the mass below 0, or above 255."""
    output = torch.randn(10 * M, generator=generator, dtype=torch.float64)
    parts = output[M:].view(3, 3, M)  # means, log-scales, coefficients
    parts[1] -= 3.0
    if kind != "inside":
        parts[0] = {"black": -1.05, "white": 1.05}[kind]
        parts[1] = -9.0  # below the smallest log-scale, so that it is that one
        parts[1, :, 0] = -2.0
        parts[2] = 0.0
    return output


@pytest.mark.parametrize("kind", ["inside", "black", "white"])
def test_discretised_logistic_mixture_sums_to_one_over_each_colour(kind):
    """Summing out blue given red and green, then green given red, then red."""
    generator = torch.Generator().manual_seed(5)
    values = torch.arange(256, dtype=torch.float64) / 255.0
    output = outputs(kind, 4, generator).view(1, -1, 1, 1)

    def log_p(red, green, blue):
        pixels = torch.stack(torch.broadcast_tensors(red, green, blue), -1).view(-1, 3, 1, 1)
        return discretised_logistic_log_likelihood(pixels, output)

    # All greens and blues for a few reds, so 65,536 colours at once. Red by itself is what these sums are of.
    reds = torch.tensor([0, 1, 100, 254, 255])
    marginals = [float(log_p(values[r], values[:, None], values[None, :]).logsumexp(0)) for r in reds]
    alone = _red_alone(output, values)
    assert marginals == pytest.approx(alone[reds].tolist(), abs=1e-7)
    assert float(alone.logsumexp(0)) == pytest.approx(0.0, abs=1e-9)
    if kind == "white":
        assert float(alone[255]) > -1.0
    if kind == "black":
        assert float(alone[0]) > -1.0


def _red_alone(output, values):
    """[256] log-probabilities of red, by the reference's differences of logistic functions."""
    numbers = output.flatten()
    M = len(numbers) // 10
    log_weights = torch.log_softmax(numbers[:M], 0)
    mean, scale = numbers[M : 2 * M], torch.exp(numbers[4 * M : 5 * M].clamp(min=-7.0))
    x = 2.0 * values[:, None] - 1.0
    below = torch.sigmoid((x - 1 / 255 - mean) / scale)
    above = torch.sigmoid((x + 1 / 255 - mean) / scale)
    below[0], above[255] = 0.0, 1.0
    return torch.logsumexp(torch.log(above - below) + log_weights, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_discretised_logistic_mixture_equals_its_slow_twin(dtype):
    generator = torch.Generator().manual_seed(6)
    for pixel in ([0, 255, 128], [255, 255, 255], [0, 0, 0], [3, 77, 254], [254, 1, 2]):
        output = outputs("inside", 3, generator)
        found = discretised_logistic_log_likelihood(
            torch.tensor(pixel, dtype=dtype).view(3, 1, 1) / 255.0, output.to(dtype).view(-1, 1, 1)
        )
        wanted = image_decoders.colour_log_probability(pixel, output)
        assert float(found) == pytest.approx(wanted, rel=1e-9 if dtype == torch.float64 else 1e-4)


def test_far_tails_stay_finite_with_gradients():
    output = torch.zeros(10, 1, 1)
    output[1:4], output[4:7] = 40.0, -7.0
    output.requires_grad_()
    found = discretised_logistic_log_likelihood(torch.zeros(3, 1, 1), output)
    found.backward()
    assert bool(torch.isfinite(found))
    assert bool(torch.isfinite(output.grad).all())
    assert float(found.detach()) < -1e4


@pytest.mark.parametrize("make", [grey_model, colour_model])
def test_it_works_in_chunks(make, monkeypatch):
    model = make()
    images, z = images_for(model, 3), latents(model, 3, S=2, K=5)
    wanted = model.decode_log_likelihood(images, z).detach()
    output = model.decoder_output(images, z).detach()
    _, H, W = model.spec.shape.sizes
    monkeypatch.setitem(model_module.PIXELS_AT_ONCE, "cpu", 7 * H * W)
    seen = []
    model.decoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    torch.testing.assert_close(model.decode_log_likelihood(images, z).detach(), wanted)
    torch.testing.assert_close(model.decoder_output(images, z).detach(), output)
    assert seen == [7, 7, 7, 7, 2] * 2


@pytest.mark.parametrize("make", [grey_model, colour_model])
def test_bfloat16_convolutions_change_only_rounding(make):
    plain, half = make(dtype=torch.float32), make(dtype=torch.float32)
    half.accelerate(bfloat16=True)
    images, z = images_for(plain, 4), latents(plain, 4)
    exact, rounded = plain.decode_log_likelihood(images, z), half.decode_log_likelihood(images, z)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)  # it did something
    torch.testing.assert_close(rounded, exact, rtol=5e-3, atol=0.5)
    for a, b in ((plain.encode(images), half.encode(images)),):
        assert b.mean.dtype == b.log_variance.dtype == torch.float32
        torch.testing.assert_close(b.mean, a.mean, rtol=0.0, atol=0.02)
    rounded.sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in half.parameters())

"""Images drawn pixel by pixel come from the distribution that the likelihood states."""

import math

import pytest
import torch
from tiny_models import all_images, tiny_model

from vbpi_mix.image import sampling
from vbpi_mix.image.likelihoods import discretised_logistic_log_likelihood
from vbpi_mix.image.sampling import draw_panels, sample_images
from vbpi_mix.image.spec import ImageShape

COLOUR = {
    "shape": ImageShape(3, 8, 8),
    "likelihood": "discretised_logistic",
    "pixel_layers": 3,
    "logistics": 2,
}


def test_frequencies_are_the_probabilities_of_the_likelihood():
    """Chi-squared over the 16 images, at one latent."""
    model = tiny_model(1, 2)
    z, count = torch.tensor([[1.3, -0.7]]), 20_000
    with torch.no_grad():
        expected = count * model.decode_log_likelihood(all_images(), z.expand(1, 1, 16, 2))[0, 0].exp()
    drawn = sample_images(model, z.expand(count, 2), torch.Generator().manual_seed(1))
    codes = (drawn.view(count, 4).long() << torch.arange(4)).sum(1)
    observed = torch.bincount(codes, minlength=16)
    assert float(expected.sum()) == pytest.approx(count, rel=1e-5)
    # 15 degrees of freedom: 44.3 is exceeded once in 10,000.
    assert float(((observed - expected).square() / expected).sum()) < 44.3


@pytest.mark.parametrize("norm", ["layer", "none", "batch"])
@pytest.mark.parametrize("colour", [False, True])
def test_decoding_windows_gives_the_pixels_of_whole_images(norm, colour, monkeypatch):
    shape = COLOUR if colour else {"shape": ImageShape(1, 9, 8), "pixel_layers": 3}
    model = tiny_model(1, 2, norm=norm, **shape)
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
    windows = sample_images(model, z, torch.Generator().manual_seed(4))
    original = sampling._window
    monkeypatch.setattr(sampling, "_window", lambda *arguments: original(*arguments[:-1], True))
    whole = sample_images(model, z, torch.Generator().manual_seed(4))
    assert torch.equal(windows, whole)
    assert windows.std() > 0.1
    assert not torch.equal(windows[0], windows[1])


def test_colours_are_drawn_from_the_discretised_logistic_mixture():
    """If x comes from p then E[q(x) / p(x)] = 1 for every q near p: a wrong mean, scale, coefficient or bin shows."""
    generator = torch.Generator().manual_seed(7)
    count = 40_000
    output = torch.randn(1, 20, generator=generator) * 0.5
    output[:, 8:14] -= 2.0  # narrow logistics
    x = sampling._draw_colour(output.expand(count, 20), generator)
    assert torch.equal(x, torch.round(x * 255) / 255)

    def log_probability(parameters):
        return discretised_logistic_log_likelihood(
            x.view(count, 3, 1, 1), parameters.view(1, 20, 1, 1).expand(count, 20, 1, 1)
        ).double()

    base = log_probability(output)
    for index in range(20):
        moved = output.clone()
        moved[0, index] += 0.2 if index not in range(2, 8) else 0.02
        ratio = torch.exp(log_probability(moved) - base)
        error = float(ratio.std()) / math.sqrt(count)
        assert abs(float(ratio.mean()) - 1) < 4.5 * error, index


def test_panels_have_their_shapes_and_the_same_seed_gives_the_same():
    model = tiny_model(4, 2)
    found = [draw_panels(model, all_images()[:5], 7, (0, 2, 3), torch.Generator().manual_seed(1)) for _ in range(2)]
    assert found[0].prior.shape == (7, 1, 2, 2)
    assert found[0].components.shape == (3, 5, 1, 2, 2)
    assert found[0].reconstructions.shape == (5, 1, 2, 2)
    for name in ("prior", "components", "reconstructions"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name))


def test_rows_of_components_follow_the_component():
    """The row of a component is drawn from the decoder at latents of that component: frequencies against averages of
    the likelihood over latents of it."""
    model = tiny_model(3, 1, seed=4)
    with torch.no_grad():
        model.encoder.mean.layers[2].code.copy_(torch.tensor([[-3.0], [0.0], [3.0]]))
    original = all_images()[6:7]
    count = 8000
    panels = draw_panels(model, original.expand(count, -1, -1, -1), 1, (0, 2), torch.Generator().manual_seed(2))
    with torch.no_grad():
        q = model.encode(original)
        torch.manual_seed(3)
        z = q.mean[[0, 2]] + torch.exp(0.5 * q.log_variance[[0, 2]]) * torch.randn(2, 4000, 1)
        points = z.unsqueeze(2).expand(2, 4000, 16, 1)
        expected = count * model.decode_log_likelihood(all_images(), points).exp().mean(1)
    codes = (panels.components.view(2, count, 4).long() << torch.arange(4)).sum(2)
    for row in range(2):
        observed = torch.bincount(codes[row], minlength=16)
        assert float(((observed - expected[row]).square() / expected[row]).sum()) < 60
    assert (expected[0] - expected[1]).abs().max() > 100


def test_paper_compat_samples_whole_images():
    model = tiny_model(2, 1, norm="batch", paper_compat=True)
    panels = draw_panels(model, all_images()[:4], 6, (0, 1), torch.Generator().manual_seed(1))
    assert panels.components.shape == (2, 4, 1, 2, 2)
    assert set(panels.prior.unique().tolist()) <= {0.0, 1.0}

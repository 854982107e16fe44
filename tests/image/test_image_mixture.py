"""The image mixture under the estimators: protocol, S = A, bounds between zero and log A, what is decoded."""

import math
from itertools import combinations

import pytest
import torch
from image_models import colour_model, grey_model, images_for, spread_out
from reference import image_encoders

from vbpi_mix.estimators import (
    ComponentDraw,
    Draws,
    Estimator,
    Target,
    VariationalMixture,
    draw_components,
    log_importance_weights,
    log_mixture_density,
    miselbo,
    pooled_estimate,
    published_estimate,
)
from vbpi_mix.image.mixture import ImageMixture
from vbpi_mix.image.target import ImageTarget
from vbpi_mix.parallel import Share


def weights_of(model, images, estimator, S, K, seed, batch_shape=None):
    """Draws and log weights [S, K, B]."""
    generator = torch.Generator().manual_seed(seed)
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    shape = (len(images),) if batch_shape is None else batch_shape
    draw = draw_components(estimator, mixture.n_components, S, generator, shape)
    draws = mixture.sample(draw, K, generator)
    return draws, log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)


@pytest.mark.parametrize("make", [grey_model, colour_model])
def test_it_meets_the_protocols(make, generator):
    model = make()
    images = images_for(model, 2)
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    assert isinstance(mixture, VariationalMixture)
    assert isinstance(target, Target)
    draws = mixture.sample(draw_components(Estimator.A2A, 3, None, None), 4, generator)
    assert isinstance(draws, Draws)
    assert draws.z.shape == (3, 4, 2, model.spec.latent)
    assert draws.log_q.shape == (3, 4, 3, 2)
    assert target.log_likelihood(draws).shape == target.log_prior(draws).shape == (3, 4, 2)


@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
@pytest.mark.parametrize("per_point", [True, False])
def test_densities_are_those_of_the_components_drawn(estimator, per_point, generator):
    """Against all parameters and a loop over images, for subsets per image and per batch."""
    model = spread_out(grey_model(A=4))
    images = images_for(model, 3)
    draw = draw_components(estimator, 4, 2, generator, (3,) if per_point else ())
    draws = ImageMixture(model, images).sample(draw, 2, generator)
    mean, log_variance = image_encoders.shared(model, images)
    for b in range(3):
        evaluated = draw.evaluated[:, b] if draw.evaluated.ndim == 2 else draw.evaluated
        sampled = draw.sampled[:, b] if per_point else draw.sampled
        wanted = image_encoders.log_density(
            draws.z[:, :, b : b + 1], mean[evaluated, b : b + 1], log_variance[evaluated, b : b + 1]
        )
        torch.testing.assert_close(draws.log_q[..., b], wanted[..., 0])
        # A latent is its own component's mean plus noise: of another it would be many deviations away in some sum.
        deviation = torch.exp(0.5 * log_variance[sampled, b]).unsqueeze(1)
        standard = (draws.z[:, :, b] - mean[sampled, b].unsqueeze(1)) / deviation
        assert float(standard.detach().abs().max()) < 5.0


def test_noise_is_standard_normal_under_the_own_component(generator):
    model = spread_out(grey_model(A=3, latent=2), size=3.0)
    images = images_for(model, 50)
    draw = draw_components(Estimator.S2A, 3, 1, generator, (50,))
    with torch.no_grad():
        draws = ImageMixture(model, images).sample(draw, 200, generator)
    q = draws.gaussians
    which, image = draw.sampled[0], torch.arange(50)
    standard = (draws.z[0] - q.mean[which, image]) / torch.exp(0.5 * q.log_variance[which, image])
    assert float(standard.mean()) == pytest.approx(0.0, abs=4 / math.sqrt(standard.numel()))
    assert float(standard.square().mean()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / standard.numel()))


def test_with_all_components_sampled_the_estimators_are_one():
    model = spread_out(grey_model(A=3))
    images = images_for(model, 4)
    found = [weights_of(model, images, estimator, 3, 2, seed=9)[1] for estimator in Estimator]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(miselbo(found[0]), miselbo(found[2]))


def test_the_mixture_gains_between_zero_and_log_a():
    """MISELBO less the mean ELBO of the components is their Jensen-Shannon divergence, estimated from the same draws."""
    A = 4
    for size, low, high in (
        (0.0, -1e-3, 0.02),
        (1.0, 0.1, math.log(A)),
        (30.0, math.log(A) - 1e-3, math.log(A) + 1e-9),
    ):
        model = spread_out(grey_model(A=A), size=size)
        images = images_for(model, 5)
        with torch.no_grad():
            draws, log_w = weights_of(model, images, Estimator.A2A, None, 50, seed=9)
            own = draws.log_q[torch.arange(A), :, torch.arange(A)]  # log q_s(z_s), [A, K, B]
            log_p = log_w + log_mixture_density(draws.log_q)
        gain = float((miselbo(log_w) - miselbo(log_p - own)).mean())
        assert low <= gain <= high, size


def test_pooled_is_never_below_the_published_form():
    model = spread_out(grey_model(A=3))
    with torch.no_grad():
        _, log_w = weights_of(model, images_for(model, 4), Estimator.A2A, None, 5, seed=1)
    assert bool((pooled_estimate(log_w) >= published_estimate(log_w)).all())
    assert bool((pooled_estimate(log_w) > published_estimate(log_w) + 1e-6).any())


def pair_draw(estimator, pair, A):
    """The draw that samples these components."""
    rows = torch.tensor(pair)
    if estimator is Estimator.S2A:
        return ComponentDraw(rows, torch.arange(A), rows)
    return ComponentDraw(rows, rows, torch.arange(len(rows)))


def test_some_to_all_is_unbiased_and_some_to_some_is_below(monkeypatch):
    """Over all pairs, each component with the same noise in all of them: the mean of S2A is A2A, that of S2S is below."""
    A, K, B = 4, 400, 3
    model = spread_out(grey_model(A=A), size=1.0)
    images = images_for(model, B)
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    noise = torch.randn(A, K, B, model.spec.latent, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def bound(draw):
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(torch, "randn", lambda *size, **_: noise[draw.sampled].reshape(*size))
            draws = mixture.sample(draw, K, torch.Generator())
            log_w = log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)
        return float(miselbo(log_w).mean())

    a2a = bound(draw_components(Estimator.A2A, A, None, None))
    s2a, s2s = (
        torch.tensor([bound(pair_draw(estimator, pair, A)) for pair in combinations(range(A), 2)], dtype=torch.float64)
        for estimator in (Estimator.S2A, Estimator.S2S)
    )
    assert float(s2a.std()) > 1e-3
    assert float(s2a.mean()) == pytest.approx(a2a, abs=1e-9)
    assert float(s2s.mean()) < a2a - 1e-3


def test_the_pairs_of_that_test_are_draws_that_the_estimators_make():
    for estimator in (Estimator.S2A, Estimator.S2S):
        drawn = draw_components(estimator, 4, 2, torch.Generator().manual_seed(1))
        built = pair_draw(estimator, tuple(drawn.sampled.tolist()), 4)
        for name in ("sampled", "evaluated", "own"):
            assert torch.equal(getattr(drawn, name), getattr(built, name)), name


@pytest.mark.parametrize(("estimator", "evaluated"), [(Estimator.S2A, 6), (Estimator.S2S, 2)])
def test_only_sampled_components_are_decoded(estimator, evaluated):
    model = grey_model(A=6)
    decoded, encoded = [], []
    model.decoder.register_forward_hook(lambda _, inputs, __: decoded.append(len(inputs[0])))
    model.encoder.mean.register_forward_hook(lambda _, __, output: encoded.append(len(output)))
    weights_of(model, images_for(model, 5), estimator, 2, 3, seed=1)
    assert decoded == [2 * 3 * 5]
    assert encoded == [evaluated]


def test_a_share_of_a_batch_has_the_noise_of_its_images():
    model = spread_out(grey_model(A=3))
    images = images_for(model, 5)
    draw = draw_components(Estimator.A2A, 3, None, None)
    whole = ImageMixture(model, images).sample(draw, 2, torch.Generator().manual_seed(1))
    part = ImageMixture(model, images[1:3], Share(1, 2, 5)).sample(draw, 2, torch.Generator().manual_seed(1))
    torch.testing.assert_close(part.z, whole.z[:, :, 1:3])
    torch.testing.assert_close(part.log_q, whole.log_q[..., 1:3])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240611)

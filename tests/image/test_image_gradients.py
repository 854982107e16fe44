"""Gradients that leave the score out or reparameterise it: the expectation of the pathwise one, with less variance."""

import pytest
import torch
from linear_gaussian import gaussian_images, linear_gaussian_model

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    Estimator,
    doubly_reparameterised_objective,
    draw_components,
    log_importance_weights,
    pathwise_objective,
)
from vbpi_mix.image.mixture import ImageMixture
from vbpi_mix.image.target import ImageTarget
from vbpi_mix.training.batch_problem import BatchProblem

REPEATS = 1_500


def objective(model, images, gradient, L, seed, estimator, beta):
    """As BatchProblem makes it."""
    generator = torch.Generator().manual_seed(seed)
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    draw = draw_components(estimator, model.spec.components, min(2, model.spec.components), generator, (len(images),))
    draws = mixture.sample(draw, L, generator)
    if gradient == "dreg":
        return doubly_reparameterised_objective(target, draws, beta)
    if gradient == "stl":
        draws = draws.constant(draws.z)
    log_w = log_importance_weights(
        target.log_likelihood(draws), target.log_prior(draws), draws.log_q, beta=beta, warm_up="kl"
    )
    return pathwise_objective(log_w, L)


def gradients(model, images, gradient, L, estimator, beta, repeats=REPEATS):
    """[repeats, parameters], all random numbers anew in each."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for seed in range(repeats):
        found = torch.autograd.grad(
            objective(model, images, gradient, L, seed, estimator, beta).surrogate, parameters, allow_unused=True
        )
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def fitted(A, L, **parts):
    """A model after a few steps, where the score is most of what the pathwise gradient varies by; one layer is left free."""
    model = linear_gaussian_model(A=A, d=2, **parts)
    images = gaussian_images(model, 2)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for seed in range(150):
        optimiser.zero_grad()
        objective(model, images, "pathwise", L, seed, Estimator.S2A, 1.0).surrogate.backward()
        optimiser.step()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("encoder.mean.layers.2", "encoder.log_variance.layers.2", "upper_prior")))
    return model, images


@pytest.mark.parametrize(
    ("gradient", "A", "L", "estimator", "beta"),
    [
        ("dreg", 1, 8, Estimator.S2A, 1.0),
        ("dreg", 3, 4, Estimator.S2A, 1.0),
        ("dreg", 3, 4, Estimator.S2S, 0.5),
        ("stl", 1, 1, Estimator.S2A, 1.0),
        ("stl", 3, 1, Estimator.S2A, 0.5),
        ("stl", 3, 1, Estimator.S2S, 1.0),
    ],
)
def test_the_mean_is_that_of_the_pathwise_gradient_and_the_variance_less(gradient, A, L, estimator, beta):
    model, images = fitted(A, L, prior="learned")
    plain = gradients(model, images, "pathwise", L, estimator, beta)
    other = gradients(model, images, gradient, L, estimator, beta)
    error = ((plain.var(0) + other.var(0)) / REPEATS).sqrt()
    off = (plain.mean(0) - other.mean(0)).abs()
    assert bool((off < 4.5 * error + 1e-9).all())
    assert float((plain.mean(0).abs() > 6 * error).double().mean()) > 0.1  # a gradient to be wrong about
    encoder = slice(0, -4)  # the last four are of the prior
    ratio = float(other[:, encoder].var(0).sum() / plain[:, encoder].var(0).sum())
    print(gradient, A, L, estimator, beta, ratio)
    assert ratio < 0.9


def test_two_levels_and_a_vamp_prior_too():
    """A prior made of the encoder keeps its gradient: what is left out is the score of q alone."""
    model = linear_gaussian_model(A=2, d=1, levels=2, prior="vamp")
    images = gaussian_images(model, 1)
    for gradient, L in (("stl", 1), ("dreg", 3)):
        plain = gradients(model, images, "pathwise", L, Estimator.A2A, 1.0, 500)
        other = gradients(model, images, gradient, L, Estimator.A2A, 1.0, 500)
        error = ((plain.var(0) + other.var(0)) / 500).sqrt()
        assert bool(((plain.mean(0) - other.mean(0)).abs() < 5 * error + 1e-9).all())


def test_sticking_the_landing_takes_one_sample():
    with pytest.raises(ConfigError, match="gradient stl is for L = 1, not L = 3"):
        BatchProblem("image", None, estimator=Estimator.A2A, sampled=None, importance_samples=3, gradient="stl")

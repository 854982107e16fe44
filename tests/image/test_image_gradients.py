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
from vbpi_mix.image.networks import Gaussians, take_rows
from vbpi_mix.image.posterior import Posterior
from vbpi_mix.image.target import ImageTarget
from vbpi_mix.training.batch_problem import BatchProblem

REPEATS = 10_000


def objective(model, images, gradient, L, seed, estimator, beta):
    """As BatchProblem makes it."""
    generator = torch.Generator().manual_seed(seed)
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    A = model.spec.components
    S = A if estimator is Estimator.A2A else min(2, A)
    draw = draw_components(estimator, A, S, generator, (len(images),))
    draws = mixture.sample(draw, L, generator)
    if gradient == "dreg":
        return doubly_reparameterised_objective(target, draws, beta)
    if gradient == "stl":
        draws = draws.constant(draws.z)
    log_w = log_importance_weights(
        target.log_likelihood(draws), target.log_prior(draws), draws.log_q, beta=beta, warm_up="kl"
    )
    return pathwise_objective(log_w, L)


def per_repeat(q, model, images, gradient, L, estimator, beta, seed=1):
    """[A, B, 2 d]: gradients with respect to mean and log-variance of every image, each a repeat of the first."""
    leaves = [value.detach().expand(-1, len(images), -1).clone().requires_grad_() for value in q]

    def posterior(_, rows):
        return Posterior(Gaussians(*(x if rows is None else take_rows(x, rows) for x in leaves)), None, None)

    model.posterior = posterior
    surrogate = objective(model, images, gradient, L, seed, estimator, beta).surrogate
    return torch.cat(torch.autograd.grad(surrogate * len(images), leaves), 2)


def fitted(A, L):
    """A linear Gaussian model, and Gaussians [A, 1, d] after some steps, where the score is most of what varies."""
    model = linear_gaussian_model(A=A, d=2, prior="learned")
    images = gaussian_images(model, 1)
    q = [0.5 * torch.randn(A, 1, 2, dtype=torch.float64), torch.zeros(A, 1, 2, dtype=torch.float64)]
    for seed in range(60):
        repeats = images.expand(200, -1, -1, -1)
        steps = per_repeat(q, model, repeats, "pathwise", L, Estimator.A2A, 1.0, seed).mean(1, keepdim=True)
        q = [value - 0.3 * A * step for value, step in zip(q, steps.chunk(2, 2), strict=True)]
    return q, model, images.expand(REPEATS, -1, -1, -1)


@pytest.mark.parametrize(
    ("gradient", "A", "L", "estimator", "beta", "less"),
    [
        ("dreg", 1, 8, Estimator.S2A, 1.0, 0.05),
        ("dreg", 3, 4, Estimator.S2A, 1.0, 0.6),
        ("dreg", 3, 4, Estimator.S2S, 0.5, 0.5),
        ("stl", 1, 1, Estimator.S2A, 1.0, 0.05),
        ("stl", 3, 1, Estimator.S2A, 1.0, 0.1),
        ("stl", 3, 1, Estimator.S2S, 0.5, 0.3),
    ],
)
def test_the_mean_is_that_of_the_pathwise_gradient_and_the_variance_less(gradient, A, L, estimator, beta, less):
    q, model, images = fitted(A, L)
    q = [value + 0.3 for value in q]  # so that there is a gradient
    plain = per_repeat(q, model, images, "pathwise", L, estimator, beta)
    other = per_repeat(q, model, images, gradient, L, estimator, beta, seed=2)
    error = ((plain.var(1) + other.var(1)) / REPEATS).sqrt()
    assert bool(((plain.mean(1) - other.mean(1)).abs() < 4.5 * error).all())
    assert float((plain.mean(1).abs() / error).max()) > 10
    q = [value - 0.3 for value in q]
    plain = per_repeat(q, model, images, "pathwise", L, estimator, 1.0)
    other = per_repeat(q, model, images, gradient, L, estimator, 1.0)
    assert float(other.var(1).sum()) < less * float(plain.var(1).sum())


@pytest.mark.parametrize("parts", [{"prior": "learned"}, {"levels": 2, "prior": "vamp"}])
@pytest.mark.parametrize(("gradient", "L"), [("stl", 1), ("dreg", 3)])
def test_all_parameters_have_the_gradient_of_the_pathwise_one(parts, gradient, L):
    """A prior made of the encoder keeps its own: what is left out is the score of q alone. Over blocks of repeats."""
    model = linear_gaussian_model(A=2, d=1, **parts)
    images = gaussian_images(model, 1).expand(400, -1, -1, -1)
    parameters = [parameter for name, parameter in model.named_parameters() if not name.startswith("decoder")]
    found = {}
    for kind in ("pathwise", gradient):
        rows = []
        for seed in range(12):
            surrogate = objective(model, images, kind, L, seed, Estimator.A2A, 1.0).surrogate
            rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(surrogate, parameters)]))
        found[kind] = torch.stack(rows)
    plain, other = found.values()
    error = ((plain.var(0) + other.var(0)) / 12).sqrt()
    off = (plain.mean(0) - other.mean(0)).abs()
    assert float((off > 3 * error + 1e-9).double().mean()) < 0.03
    assert float(off.norm()) < 0.1 * float(plain.mean(0).norm())


def test_sticking_the_landing_takes_one_sample():
    with pytest.raises(ConfigError, match="gradient stl is for L = 1, not L = 3"):
        BatchProblem("image", None, estimator=Estimator.A2A, sampled=None, importance_samples=3, gradient="stl")

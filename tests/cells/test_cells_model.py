"""Encoders, decoder and mixture: counts, a cell by itself, and bounds against the exact evidence."""

import math

import pytest
import torch
from cell_models import tiny_counts, tiny_model

from vbpi_mix.cells.batches import CellBatches
from vbpi_mix.cells.evaluation import features, held_out
from vbpi_mix.cells.mixture import CellMixture, CellTarget
from vbpi_mix.cells.model import ModelSpec, build_model
from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights, log_mixture_density, miselbo
from vbpi_mix.training.batch_problem import BatchProblem


def test_parameters_are_those_of_the_published_networks():
    """scVI's: 1200 genes, 128 hidden units, 10 latent dimensions; batch normalisation in encoders only."""
    for A in (1, 4):
        counts = build_model(ModelSpec(A, 1200)).parameter_counts()
        encoder = (1200 * 128 + 128) + 2 * 128 + 2 * (128 * 10 + 10)
        decoder = (10 * 128 + 128) + 2 * (128 * 1200 + 1200) + 1200
        assert counts == {"encoder": A * encoder, "decoder": decoder, "total": A * encoder + decoder}


def test_variances_have_a_floor():
    model = tiny_model()
    with torch.no_grad():
        model.encoder.variance_bias.fill_(-50.0)
        variance = model.encoder(tiny_counts()).log_variance.exp()
    torch.testing.assert_close(variance, torch.full_like(variance, 1e-4))


def test_a_component_is_an_encoder_of_its_own():
    """All at once, against torch's layers one by one."""
    model, counts = tiny_model(), tiny_counts()
    q = model.encoder(counts)
    e = model.encoder
    for a in range(3):
        hidden = torch.nn.functional.linear(torch.log1p(counts), e.weight[a], e.bias[a, 0])
        hidden = torch.nn.functional.batch_norm(
            hidden, e.running_mean[a, 0], e.running_variance[a, 0], e.norm_scale[a, 0], e.norm_shift[a, 0], eps=1e-3
        ).relu()
        torch.testing.assert_close(q.mean[a], hidden @ e.mean_weight[a].T + e.mean_bias[a])
        v = torch.exp(hidden @ e.variance_weight[a].T + e.variance_bias[a]) + 1e-4
        torch.testing.assert_close(q.log_variance[a].exp(), v)


def test_training_moves_the_stored_statistics_as_torch_does():
    model, counts = tiny_model(A=1), tiny_counts()
    layer = torch.nn.BatchNorm1d(5, eps=1e-3, momentum=0.01).double()
    layer.running_mean.copy_(model.encoder.running_mean[0, 0])
    layer.running_var.copy_(model.encoder.running_variance[0, 0])
    layer(torch.log1p(counts) @ model.encoder.weight[0].T + model.encoder.bias[0])
    model.train()
    model.encoder(counts, torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.encoder.running_mean[0, 0], layer.running_mean)
    torch.testing.assert_close(model.encoder.running_variance[0, 0], layer.running_var)


def test_a_cell_does_not_depend_on_the_others():
    model, counts = tiny_model(), tiny_counts()
    z = torch.randn(2, 3, 6, 1, dtype=torch.float64)
    with torch.no_grad():
        together = model.decode_log_likelihood(counts, z)
        alone = [model.decode_log_likelihood(counts[[i]], z[:, :, [i]]) for i in range(6)]
        torch.testing.assert_close(together, torch.cat(alone, 2))
        model.train()  # the decoder is the same in training
        torch.testing.assert_close(model.decode_log_likelihood(counts, z), together)
    model.eval()
    assert features(model, counts[[4]]) == pytest.approx(features(model, counts)[[4]], abs=1e-12)
    first, last = (held_out(model, some, importance_samples=7) for some in (counts[:2], counts))
    assert first.pooled == pytest.approx(last.pooled[:2], abs=1e-12)


def exact_log_evidence(model, counts):
    """log p(x | library) of one latent dimension, by the trapezoidal rule."""
    line = torch.linspace(-9.0, 9.0, 2_001, dtype=torch.float64)
    z = line.view(1, -1, 1, 1).expand(1, -1, len(counts), 1)
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(line).view(-1, 1)
    with torch.no_grad():
        log_joint = model.decode_log_likelihood(counts, z)[0] + log_prior
    return torch.logsumexp(log_joint, 0) + math.log(line[1] - line[0])


def weights_of(model, counts, estimator, S, K, seed=3, per_point=True):
    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(estimator, model.spec.components, S, generator, (len(counts),) if per_point else ())
    draws, target = CellMixture(model, counts).sample(draw, K, generator), CellTarget(model, counts)
    return draws, log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)


def test_many_importance_samples_give_the_evidence():
    model, counts = tiny_model(), tiny_counts()
    exact = exact_log_evidence(model, counts)
    found = held_out(model, counts, importance_samples=4_000)
    assert found.pooled == pytest.approx(exact.numpy(), abs=0.03)
    assert (found.pooled >= found.published - 1e-12).all()
    assert (found.elbo < exact.numpy()).all()


@pytest.mark.parametrize(("estimator", "S"), [(Estimator.A2A, None), (Estimator.S2A, 2), (Estimator.S2S, 2)])
def test_bounds_are_below_the_evidence(estimator, S):
    model, counts = tiny_model(), tiny_counts()
    with torch.no_grad():
        _, log_w = weights_of(model, counts, estimator, S, 2_000, per_point=False)
    gap = exact_log_evidence(model, counts) - miselbo(log_w)
    assert (gap > 0).all()
    assert (gap > 0.01).any()


def test_the_mixture_gains_between_zero_and_log_a():
    A = 4
    for size, least, most in ((0.0, -1e-9, 0.3), (40.0, 1.2, math.log(A) + 1e-9)):
        model, counts = tiny_model(A=A), tiny_counts()
        with torch.no_grad():
            for values in (model.encoder.mean_weight, model.encoder.variance_weight):
                values.copy_(values[:1].expand_as(values)).mul_(0.1)
            model.encoder.mean_bias.copy_(size * torch.arange(4.0).view(4, 1, 1))
            draws, log_w = weights_of(model, counts, Estimator.A2A, None, 50)
            own = draws.log_q[torch.arange(A), :, torch.arange(A)]
            log_p = log_w + log_mixture_density(draws.log_q)
        gain = float((miselbo(log_w) - miselbo(log_p - own)).mean())
        assert least <= gain <= most
        assert float(draws.diversity().mean()) == pytest.approx(gain, abs=0.1)


def test_densities_are_those_of_the_components_that_were_drawn():
    model, counts = tiny_model(latent=2), tiny_counts()
    q = model.encoder(counts)
    for estimator in (Estimator.S2A, Estimator.S2S):
        generator = torch.Generator().manual_seed(1)
        draw = draw_components(estimator, 3, 2, generator, (6,))
        draws = CellMixture(model, counts).sample(draw, 2, generator)
        for b in range(6):
            rows = draw.evaluated[:, b] if draw.evaluated.ndim == 2 else draw.evaluated
            normal = torch.distributions.Normal(q.mean[rows, b], torch.exp(0.5 * q.log_variance[rows, b]))
            torch.testing.assert_close(draws.log_q[..., b], normal.log_prob(draws.z[:, :, b].unsqueeze(2)).sum(-1))


def test_the_gradient_of_the_bound_is_that_of_differences():
    model, counts = tiny_model(A=2, dropout=0.3), tiny_counts()
    batches = CellBatches(model, counts, counts, batch_size=6, seed=1)
    problem = BatchProblem("cells", batches, estimator=Estimator.S2A, sampled=1, importance_samples=2)
    parameters = [tensor for group in problem.parameter_groups() for tensor in group["params"]]
    generator = torch.Generator().manual_seed(8)
    direction = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in parameters]

    def bound(step):
        with torch.no_grad():
            for tensor, part in zip(parameters, direction, strict=True):
                tensor.add_(part, alpha=step)
        found = problem.objective(1, 1.0, torch.Generator().manual_seed(5))
        if step == 0.0:
            found.backward()
        with torch.no_grad():
            for tensor, part in zip(parameters, direction, strict=True):
                tensor.add_(part, alpha=-step)
        return float(found.bound)

    bound(0.0)
    slope = -sum(float((part * tensor.grad).sum()) for tensor, part in zip(parameters, direction, strict=True))
    step = 1e-6
    differences = (bound(step) - bound(-step)) / (2 * step)
    assert slope == pytest.approx(differences, rel=1e-5)


def test_dropout_comes_from_the_generator():
    model, counts = tiny_model(dropout=0.5), tiny_counts()
    model.train()
    torch.manual_seed(1)
    one = model.encoder(counts, torch.Generator().manual_seed(4)).mean
    torch.manual_seed(2)
    two = model.encoder(counts, torch.Generator().manual_seed(4)).mean
    other = model.encoder(counts, torch.Generator().manual_seed(5)).mean
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="components must be a whole number of at least 1, not 0"):
        ModelSpec(0)
    with pytest.raises(ConfigError, match="dropout must be a number of at least 0"):
        ModelSpec(dropout=1.0)

"""The zero-inflated negative binomial against SciPy, its sum, and autograd."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from vbpi_mix.cells.zinb import zinb_log_likelihood


def log_pmf(counts, mean, theta, logit):
    """Of single counts."""
    values = [torch.tensor([math.log(x)], dtype=torch.float64) for x in (mean, theta)]
    logits = torch.tensor([logit], dtype=torch.float64)
    return zinb_log_likelihood(torch.as_tensor(counts, dtype=torch.float64).view(-1, 1), *values, logits).numpy()


@pytest.mark.parametrize(("mean", "theta", "logit"), [(0.3, 0.2, -2.0), (6.0, 1.5, 0.5), (40.0, 300.0, -30.0)])
def test_the_masses_sum_to_one(mean, theta, logit):
    counts = np.arange(4_000)
    mass = np.exp(log_pmf(counts, mean, theta, logit))
    assert mass.sum() == pytest.approx(1.0, abs=1e-10)
    assert (counts * mass).sum() == pytest.approx(mean / (1 + math.exp(logit)), rel=1e-8)


@pytest.mark.parametrize(("mean", "theta"), [(0.01, 0.1), (3.0, 1.0), (50.0, 1e4)])
def test_without_dropout_it_is_the_negative_binomial_of_scipy(mean, theta):
    counts = np.array([0, 1, 2, 5, 40, 300])
    wanted = stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    np.testing.assert_allclose(log_pmf(counts, mean, theta, -math.inf), wanted, rtol=1e-9, atol=1e-9)


def test_dropout_adds_to_zeros_alone():
    pi = 0.3
    plain, inflated = (np.exp(log_pmf([0, 1, 7], 3.0, 2.0, logit)) for logit in (-math.inf, math.log(pi / (1 - pi))))
    np.testing.assert_allclose(inflated, (1 - pi) * plain + np.array([pi, 0, 0]), rtol=1e-12)


def test_a_cell_is_the_sum_of_its_genes():
    torch.manual_seed(0)
    counts = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    log_mean, logits = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    log_theta = torch.randn(3, dtype=torch.float64)
    together = zinb_log_likelihood(counts, log_mean, log_theta, logits)
    genes = [
        zinb_log_likelihood(counts[:, [g]], log_mean[..., [g]], log_theta[[g]], logits[..., [g]]) for g in range(3)
    ]
    assert together.shape == (5, 2)
    torch.testing.assert_close(together, sum(genes))


def test_gradients_are_those_of_differences():
    torch.manual_seed(1)
    counts = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 40.0]], dtype=torch.float64)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 2, 3), (3,), (4, 2, 3))]
    assert torch.autograd.gradcheck(lambda *values: zinb_log_likelihood(counts, *values), inputs)


def test_extreme_parameters_stay_finite_in_single_precision():
    counts = torch.tensor([[0.0, 1.0, 5_000.0]])
    for log_mean, log_theta, logit in ((-40.0, -8.0, 60.0), (12.0, 12.0, -60.0), (-20.0, 10.0, 0.0)):
        values = [torch.full((3,), x, requires_grad=True) for x in (log_mean, log_theta, logit)]
        value = zinb_log_likelihood(counts, values[0].view(1, 3), values[1], values[2].view(1, 3)).sum()
        value.backward()
        assert math.isfinite(value.detach())
        assert all(torch.isfinite(each.grad).all() for each in values)

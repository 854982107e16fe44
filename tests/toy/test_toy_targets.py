"""Targets: their densities against slow twins, their normalisers against known values."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from vbpi_mix.toy.funnel import WEIGHTS, Funnel, decay_matrix, reference_pixels
from vbpi_mix.toy.quadrature import axis, grid, in_chunks, log_integral
from vbpi_mix.toy.targets import Bimodal, Ring


class Draws(NamedTuple):
    z: Tensor


def slow_log_likelihood(z: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    """log p(x|z) of one z [2]: every logit of every pixel spelt out."""
    total = z.new_zeros(())
    for row in pixels:
        for i in range(len(row)):
            logit = weights[0, i] * z[0] + weights[1, i] * z[1]
            for j in range(i):
                logit = logit + 0.1 ** (i - j) * row[j]
            total = total - torch.nn.functional.softplus(-logit if row[i] == 1 else logit)
    return total


def slow_log_prior(z: Tensor) -> Tensor:
    zero, three = torch.zeros(2, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    first = torch.distributions.Normal(zero[0], three).log_prob(z[0])
    return first + torch.distributions.Normal(zero[1], torch.exp(0.25 * z[0])).log_prob(z[1])


def test_exact_log_evidence_of_the_funnel():
    assert round(Funnel().log_evidence(), 3) == -66.592


def test_the_funnels_evidence_does_not_depend_on_the_coordinates():
    # the same integral without the change of variables, where the posterior is
    direct = log_integral(Funnel().log_joint, (-6.0, -9.0), (7.0, 9.0), (261, 361))
    assert direct == pytest.approx(Funnel().log_evidence(), abs=1e-4)


def test_posterior_moments_of_the_funnel():
    points = grid(axis(-6.0, 7.0, 131), axis(-9.0, 9.0, 181))
    weights = torch.softmax(in_chunks(Funnel().log_joint, points), 0)
    mean = weights @ points
    deviation = (weights @ (points - mean) ** 2).sqrt()
    torch.testing.assert_close(mean, torch.tensor([0.036, -0.682], dtype=torch.float64), atol=2e-3, rtol=0)
    torch.testing.assert_close(deviation, torch.tensor([1.04, 1.01], dtype=torch.float64), atol=5e-3, rtol=0)


def test_evidence_of_the_ring_in_polar_coordinates():
    # integral over the radius of 2 pi r exp(-(r - 0.9)^2 / 0.001); what lies below r = 0 is nothing
    exact = math.log(2.0 * math.pi * 0.9 * math.sqrt(math.pi * 0.001))
    assert Ring().log_evidence() == pytest.approx(exact, abs=1e-10)


def test_evidence_of_the_bimodal_target_is_one():
    assert Bimodal().log_evidence() == pytest.approx(0.0, abs=1e-10)


def test_bimodal_density(generator):
    z = torch.randn((7, 3, 2), generator=generator, dtype=torch.float64)
    modes = [
        share * torch.distributions.Normal(z.new_tensor(centre), math.sqrt(0.1)).log_prob(z).sum(-1).exp()
        for share, centre in ((0.8, 1.0), (0.2, -1.0))
    ]
    torch.testing.assert_close(Bimodal().log_joint(z), (modes[0] + modes[1]).log(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_funnel_against_the_slow_twin(generator, scale):
    z = scale * torch.randn((4, 2), generator=generator, dtype=torch.float64)
    target, pixels = Funnel(), reference_pixels()
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    likelihood = torch.stack([slow_log_likelihood(point, pixels, weights) for point in z])
    prior = torch.stack([slow_log_prior(point) for point in z])
    torch.testing.assert_close(target.log_likelihood_at(z), likelihood, atol=1e-10, rtol=1e-12)
    torch.testing.assert_close(target.log_prior_at(z), prior, atol=1e-10, rtol=1e-12)


def test_funnel_of_other_data(generator):
    pixels = torch.randint(0, 2, (40, 6), generator=generator).to(torch.float64)
    weights = torch.randn((2, 6), generator=generator, dtype=torch.float64)
    z = torch.randn((3, 2), generator=generator, dtype=torch.float64)
    slow = torch.stack([slow_log_likelihood(point, pixels, weights) for point in z])
    torch.testing.assert_close(Funnel(pixels, weights).log_likelihood_at(z), slow)


def test_funnel_gradients(generator):
    z = torch.randn((3, 4, 2), generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradcheck(Funnel().log_likelihood_at, z)
    assert gradcheck(Funnel().log_prior_at, z)


def test_the_likelihood_is_finite_far_out():
    z = torch.tensor([[1e4, 1e4], [-1e4, -1e4], [40.0, 0.0], [1e4, -1e4]], dtype=torch.float64)
    values = Funnel().log_likelihood_at(z.requires_grad_())
    assert torch.isfinite(values).all()
    assert values[0] < -1e5
    (slope,) = torch.autograd.grad(values.sum(), z)
    assert torch.isfinite(slope).all()


def test_sequential_energy_equals_batched(generator):
    z = torch.randn((5, 3, 2), generator=generator, dtype=torch.float64, requires_grad=True)
    found = []
    for sequential in (False, True):
        values = Funnel(sequential_energy=sequential).log_likelihood(Draws(z))
        assert values.shape == (5, 3)
        found.append((values.detach(), torch.autograd.grad((values**2).sum(), z)[0]))
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-12)


def test_decay_of_earlier_pixels():
    expected = torch.tensor([[0.0, 0.1, 0.01], [0.0, 0.0, 0.1], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(decay_matrix(3), expected)

"""A mixture that draws model parameters beside its trees: gradients against differences, flows included."""

import numpy as np
import pytest
import torch

from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.branches.flows import make_flow
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.parameters import ParameterDensity, ParameterStart
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies

SIZES, A, K = (2, 1), 3, 3


def make_mixture(flow="none", base="gamma"):
    support = build_support(enumerate_topologies(5))
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(1)
    scale = (np.array([[0.5, 0.0], [0.2, 0.3]]), np.array([[0.7]]))
    start = ParameterStart(rng.normal(size=3), scale, 0.3 * rng.normal(size=(support.n_splits, 3)))
    sizes = {"planar": (2, None), "none": (None, None)}[flow]
    mixture = PhyloMixture(
        support, A, generator=generator, base=make_base(base), flow=make_flow(flow, support, generator, *sizes, torch.float64),
        parameters=ParameterDensity(SIZES, support.n_splits, A, generator, start),
    )  # fmt: skip
    with torch.no_grad():
        mixture.logits.copy_(torch.from_numpy(rng.normal(size=mixture.logits.shape)))
        mixture.features.copy_(torch.from_numpy(0.5 * rng.normal(size=mixture.features.shape)))
    return mixture


def sample(mixture, estimator):
    generator = torch.Generator().manual_seed(3)
    draw = draw_components(Estimator.parse(estimator), A, A if estimator == "a2a" else 2, generator)
    return mixture.sample(draw, K, generator)


@pytest.mark.parametrize("estimator", ["a2a", "s2a", "s2s"])
@pytest.mark.parametrize("flow", ["none", "planar"])
def test_gradients_are_differences(estimator, flow):
    mixture, rng = make_mixture(flow), np.random.default_rng(5)
    with torch.no_grad():
        first = sample(mixture, estimator)
    weights = [rng.normal(size=tuple(value.shape)) for value in (first.log_q, first.log_lengths, first.theta)]

    def value():
        with torch.no_grad():
            draws = sample(mixture, estimator)
        parts = zip(weights, (draws.log_q, draws.log_lengths, draws.theta), strict=True)
        return sum(float((weight * part.numpy()).sum()) for weight, part in parts)

    trees = first.log_q.shape[0] * K
    points = np.concatenate([weights[1].reshape(trees, -1), weights[2].reshape(trees, -1)], axis=1)
    score = torch.zeros(first.log_q_score.shape, dtype=torch.float64)
    found = mixture.pull_back(first, torch.from_numpy(weights[0]), score, points)
    checked = [mixture.parameters.mean, mixture.features]
    for parameter in checked:
        gradient = found[parameter]
        gradient = gradient.dense(parameter) if isinstance(gradient, RowGradient) else gradient
        flat, own = parameter.data.view(-1), gradient.reshape(-1)
        for k in np.linspace(0, flat.numel() - 1, 15).astype(int):
            before = float(flat[k])
            flat[k] = before + 1e-5
            above = value()
            flat[k] = before - 1e-5
            difference = (above - value()) / 2e-5
            flat[k] = before
            padded = parameter is mixture.parameters.mean and k % 4 == 3
            expected = 0.0 if padded else difference
            assert float(own[k]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_graph_and_direct_gradients_agree():
    mixture = make_mixture()
    draws = sample(mixture, "s2a")
    total = draws.log_q.sum() + (draws.log_lengths * 0.3).sum() + (draws.theta**2).sum()
    total.backward()
    trees = draws.log_q.shape[0] * K
    theta = 2.0 * draws.theta.detach().numpy().reshape(trees, -1)
    points = np.concatenate([np.full((trees, draws.log_lengths.shape[2]), 0.3), theta], axis=1)
    zero = torch.zeros(draws.log_q_score.shape, dtype=torch.float64)
    found = mixture.pull_back(draws, torch.ones(draws.log_q.shape, dtype=torch.float64), zero, points)
    for learned in mixture.parameters.learned():
        torch.testing.assert_close(learned.grad, found[learned], rtol=1e-12, atol=1e-12)


def test_state_goes_round():
    one, other = make_mixture(), make_mixture()
    with torch.no_grad():
        one.parameters.mean.add_(0.5)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        np.testing.assert_array_equal(sample(one, "a2a").theta, sample(other, "a2a").theta)

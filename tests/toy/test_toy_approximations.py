"""Gaussians and flow: densities and gradients against slow twins, and S2A against A2A subset by subset."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from vbpi_mix.estimators import (
    ComponentDraw,
    Estimator,
    draw_components,
    inclusion_probabilities,
    log_importance_weights,
    outer_weights,
    pathwise_objective,
)
from vbpi_mix.toy.flow import InverseAutoregressiveFlow
from vbpi_mix.toy.funnel import Funnel
from vbpi_mix.toy.gaussians import (
    GaussianEnsemble,
    GaussianMixture,
    _SampleAndScore,
    resampled_positions,
    start_spread,
    start_standard,
)
from vbpi_mix.toy.targets import Bimodal

ALL = draw_components(Estimator.A2A, 1, None, None)


def slow_log_q(means: Tensor, log_variances: Tensor, z: Tensor) -> Tensor:
    """[S, K, 2] -> [S, K, R]."""
    normal = torch.distributions.Normal(means, torch.exp(0.5 * log_variances))
    return normal.log_prob(z.unsqueeze(2)).sum(-1)


@pytest.mark.parametrize(
    ("sampled", "evaluated"), [([0, 1, 2, 3], [0, 1, 2, 3]), ([2, 0], [0, 1, 2, 3]), ([3, 1], [3, 1])]
)
def test_mixture_density_and_gradient(generator, sampled, evaluated):
    mixture = GaussianMixture(4, start_spread(generator))
    draw = ComponentDraw(torch.tensor(sampled), torch.tensor(evaluated), torch.tensor(sampled))
    draws = mixture.sample(draw, 3, generator)
    assert draws.z.shape == (len(sampled), 3, 2)
    expected = slow_log_q(mixture.means[evaluated], mixture.log_variances[evaluated], draws.z)
    torch.testing.assert_close(draws.log_q, expected)
    noise = torch.randn((len(sampled), 3, 2), generator=generator, dtype=torch.float64)

    def place(means: Tensor, log_variances: Tensor) -> tuple[Tensor, Tensor]:
        return _SampleAndScore.apply(means, log_variances, noise, draw.sampled, draw.evaluated)

    assert gradcheck(place, (mixture.means, mixture.log_variances))


def test_the_funnel_starts_uniformly_within_what_is_published(generator):
    """torch's kaiming_uniform_ with gain 1 for two inputs: uniform within sqrt(3 / 2), so of variance 1/2."""
    start = GaussianMixture(20_000, start_spread(generator))
    published = torch.empty((20_000, 2))
    torch.nn.init.kaiming_uniform_(published, nonlinearity="linear", generator=generator)
    for values in (start.means.detach(), start.log_variances.detach()):
        assert float(values.abs().max()) == pytest.approx(1.5**0.5, rel=1e-3)
        assert float(values.abs().max()) <= 1.5**0.5
        assert float(values.mean()) == pytest.approx(0.0, abs=0.02)
        assert float(values.std()) == pytest.approx(0.5**0.5, rel=0.02)
        assert float(values.std()) == pytest.approx(float(published.std()), rel=0.02)
    assert not torch.equal(start.means, start.log_variances)


def gradient(
    mixture: GaussianMixture, draw: ComponentDraw, noise: Tensor, inclusion: Tensor | None = None
) -> list[Tensor]:
    """Of the bound on the funnel; `noise` [A, K, 2] belongs to the components, whichever are drawn."""
    target, log_weights = Funnel(), mixture.log_weights
    draws = mixture.place(draw, noise[draw.sampled])
    log_w = log_importance_weights(
        target.log_likelihood(draws),
        target.log_prior(draws),
        draws.log_q,
        log_weights=None if log_weights is None else log_weights[draw.evaluated],
    )
    outer = outer_weights(Estimator.S2A, draw, log_weights, inclusion)
    parameters = [tensor for group in mixture.parameter_groups() for tensor in group["params"]]
    return list(torch.autograd.grad(pathwise_objective(log_w, 1, outer).surrogate, parameters))


@pytest.mark.parametrize(("A", "S"), [(2, 1), (5, 1), (5, 2), (5, 4), (20, 1), (20, 2)])
def test_s2a_gradients_over_all_subsets_average_to_a2a(generator, A, S):
    mixture = GaussianMixture(A, start_spread(generator))
    noise = torch.randn((A, 2, 2), generator=generator, dtype=torch.float64)
    everything = torch.arange(A)
    exact = gradient(mixture, ComponentDraw(everything, everything, everything), noise)
    subsets = [torch.tensor(subset) for subset in itertools.combinations(range(A), S)]
    found = [gradient(mixture, ComponentDraw(subset, everything, subset), noise) for subset in subsets]
    for number, expected in enumerate(exact):
        average = torch.stack([gradients[number] for gradients in found]).mean(0)
        torch.testing.assert_close(average, expected, atol=1e-10, rtol=1e-10)


def test_weighted_s2a_gradients_average_to_weighted_a2a(generator):
    A = 5
    mixture = GaussianMixture(A, start_spread(generator), learn_weights=True)
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.3, -0.7, 1.2, 0.0, -1.5]))
    noise = torch.randn((A, 3, 2), generator=generator, dtype=torch.float64)
    everything = torch.arange(A)
    exact = gradient(mixture, ComponentDraw(everything, everything, everything), noise)
    inclusion = inclusion_probabilities(torch.softmax(mixture.logits, 0), 1)
    draws = [ComponentDraw(one, everything, one) for one in everything.split(1)]
    found = [gradient(mixture, draw, noise, inclusion) for draw in draws]
    for number, expected in enumerate(exact):
        parts = [float(inclusion[a]) * found[a][number] for a in range(A)]
        torch.testing.assert_close(torch.stack(parts).sum(0), expected, atol=1e-10, rtol=1e-10)


def test_ensemble_members_have_their_own_density(generator):
    ensemble = GaussianEnsemble(6, start_spread(generator))
    draws = ensemble.sample(ALL, 4, generator)
    assert draws.z.shape == (1, 4, 6, 2)
    assert draws.log_q.shape == (1, 4, 1, 6)
    normal = torch.distributions.Normal(ensemble.means, torch.exp(0.5 * ensemble.log_variances))
    torch.testing.assert_close(draws.log_q[0, :, 0], normal.log_prob(draws.z[0]).sum(-1))
    joint = ensemble.as_mixture()
    assert joint.n_components == 6
    torch.testing.assert_close(joint.means, ensemble.means)


def test_flow_density_by_its_jacobian(generator):
    flow = InverseAutoregressiveFlow(4, generator)

    def push(point: Tensor) -> Tensor:
        z = flow.mean + point * torch.exp(0.5 * flow.log_variance)
        for step in flow.steps:
            z = step()(z)
        return z

    draws = flow.sample(ALL, 1, torch.Generator().manual_seed(3))
    noise = torch.randn((1, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(draws.z[0], push(noise))
    jacobian = torch.autograd.functional.jacobian(lambda point: push(point.unsqueeze(0))[0], noise[0])
    normal = torch.distributions.Normal(noise.new_zeros(()), noise.new_ones(()))
    expected = normal.log_prob(noise).sum() - jacobian.det().abs().log()
    torch.testing.assert_close(draws.log_q.reshape(()), expected)
    (draws.z.sum() + draws.log_q.sum()).backward()
    for group in flow.parameter_groups():
        assert all(tensor.grad is not None for tensor in group["params"])


def test_a_flow_leaves_the_global_generator_alone(generator):
    before = torch.random.get_rng_state()
    InverseAutoregressiveFlow(2, generator)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["mixture", "weighted", "ensemble", "flow"])
def test_state_goes_round(generator, kind):
    makers = {
        "mixture": lambda: GaussianMixture(3, start_spread(generator)),
        "weighted": lambda: GaussianMixture(3, start_spread(generator), learn_weights=True),
        "ensemble": lambda: GaussianEnsemble(3, start_spread(generator)),
        "flow": lambda: InverseAutoregressiveFlow(3, generator),
    }
    first, second = makers[kind](), makers[kind]()
    second.load_state_dict(first.state_dict())
    positions = [q.positions(60, torch.Generator().manual_seed(1))[0] for q in (first, second)]
    torch.testing.assert_close(positions[0], positions[1])


def test_state_of_another_size_is_refused(generator):
    small, large = (GaussianMixture(A, start_standard) for A in (2, 3))
    with pytest.raises(ValueError, match="means"):
        large.load_state_dict(small.state_dict())


def test_positions_follow_the_weights(generator):
    mixture = GaussianMixture(3, start_standard, learn_weights=True)
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log())
        mixture.means.copy_(torch.tensor([[-20.0, 0.0], [0.0, 0.0], [20.0, 0.0]]))
    z, labels = mixture.positions(20_000, generator)
    shares = torch.bincount(labels).double() / len(labels)
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), atol=0.015, rtol=0)
    assert torch.equal(labels == 2, z[:, 0] > 10.0)


def test_resampling_moves_towards_the_target(generator):
    single = GaussianMixture(1, start_standard)
    z, labels = resampled_positions(single, Bimodal(), 200, 2_000, generator)
    assert z.shape == (2_000, 2)
    assert int(labels.max()) == 0
    assert float((z.sum(1) > 0).double().mean()) == pytest.approx(0.8, abs=0.05)

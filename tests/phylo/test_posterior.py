"""The posterior as estimators see it: gradients of lengths and parameters, the same however often they are asked for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.estimators import Estimator
from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.priors import ExponentialLengths
from vbpi_mix.phylo.models.substitution import Likelihoods, substitution_model
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.topology import random_topologies
from vbpi_mix.training.adam import make_adam
from vbpi_mix.training.mixture_problem import MixtureProblem

N_TAXA, S, K = 6, 2, 3


class FasterJukesCantor(JukesCantor):
    """JC69 with all lengths times exp(speed): a model with a parameter."""

    name = "faster"

    def __init__(self):
        self.speed = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)

    def parameters(self):
        return {"speed": self.speed}

    def log_likelihoods(self, children, lengths, packed):
        return super().log_likelihoods(children, lengths * self._factor(), packed)

    def evaluate(self, children, lengths, packed):
        found = super().evaluate(children, lengths * self._factor(), packed)
        slopes = found.length_slopes * self._factor()
        return Likelihoods(found.values, slopes, {"speed": (slopes * lengths).sum(1, keepdims=True)})

    def _factor(self):
        return float(self.speed.detach().exp())


def patterns():
    states = np.random.default_rng(4).choice(np.array([1, 2, 4, 8, 15], np.uint8), (N_TAXA, 12))
    return SitePatterns(states, np.arange(1.0, 13.0))


def draws(requires_grad=False):
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.normal(-2.0, 0.5, (S, K, 2 * N_TAXA - 3))).requires_grad_(requires_grad)
    return SimpleNamespace(topologies=SimpleNamespace(children=random_topologies(N_TAXA, S * K, rng)), log_lengths=x)


def upstream(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(S, K)))


@pytest.mark.parametrize("model", [JukesCantor, FasterJukesCantor])
def test_a_second_backward_over_one_graph_gives_the_same_numbers(model):
    posterior, at = Posterior(patterns(), model()), draws(requires_grad=True)
    total = (upstream(1) * posterior.log_likelihood(at)).sum() + (upstream(2) * posterior.log_prior(at)).sum()
    inputs = [at.log_lengths, *posterior.model.parameters().values()]
    first = [g.clone() for g in torch.autograd.grad(total, inputs, retain_graph=True)]
    for one, two in zip(first, torch.autograd.grad(total, inputs), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("model", [JukesCantor, FasterJukesCantor])
def test_pulling_back_changes_nothing_and_equals_the_graph(model):
    posterior, at = Posterior(patterns(), model()), draws()
    found = posterior.evaluate(at)
    first = found.pull_back(upstream(1), upstream(2))
    points = first.points.copy()
    found.pull_back(upstream(3), upstream(4))
    again = found.pull_back(upstream(1), upstream(2))
    np.testing.assert_array_equal(first.points, points)
    np.testing.assert_array_equal(again.points, points)
    at = draws(requires_grad=True)
    likelihood, prior = posterior.log_likelihood(at), posterior.log_prior(at)
    torch.testing.assert_close(found.log_likelihood, likelihood.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.log_prior, prior.detach(), rtol=1e-13, atol=0)
    total = (upstream(1) * likelihood).sum() + (upstream(2) * prior).sum()
    parameters = posterior.model.parameters()
    expected, *of_parameters = torch.autograd.grad(total, [at.log_lengths, *parameters.values()])
    np.testing.assert_allclose(points, expected.numpy().reshape(points.shape), rtol=1e-10, atol=1e-12)
    assert set(first.parameters) == set(parameters)
    for gradient, expected in zip(first.parameters.values(), of_parameters, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_gradients_of_a_parameter_equal_differences():
    posterior, at = Posterior(patterns(), FasterJukesCantor()), draws()
    (gradient,) = posterior.evaluate(at).pull_back(upstream(1), upstream(2)).parameters.values()
    speed, values = posterior.model.speed, []
    for shift in (1e-6, -1e-6):
        speed.data.fill_(0.3 + shift)
        values.append((upstream(1) * posterior.evaluate(at).log_likelihood).sum().item())
    assert gradient.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_the_parameters_are_the_models():
    posterior = Posterior(patterns())
    assert posterior.parameter_groups() == []
    assert posterior.state_dict() == {}
    posterior.load_state_dict({})
    with pytest.raises(CheckpointError, match="speed"):
        posterior.load_state_dict({"speed": torch.zeros(1)})
    faster = Posterior(patterns(), FasterJukesCantor())
    assert faster.parameter_groups()[0]["params"] == [faster.model.speed]
    faster.load_state_dict({"speed": torch.tensor([0.7], dtype=torch.float64)})
    assert faster.state_dict()["speed"].item() == faster.model.speed.item() == 0.7


def test_joint_density_and_its_slopes_are_those_of_the_factors():
    posterior, at = Posterior(patterns(), branch_prior=ExponentialLengths(7.0)), draws(requires_grad=True)
    children, x = at.topologies.children, at.log_lengths.detach().numpy().reshape(S * K, -1)
    total = posterior.log_likelihood(at) + posterior.log_prior(at)
    constant = total.detach().numpy().ravel() - posterior.log_joint(children, x)
    np.testing.assert_allclose(constant, constant[0], rtol=1e-12)
    (slopes,) = torch.autograd.grad(total.sum(), at.log_lengths)
    np.testing.assert_allclose(posterior.log_joint_slopes(children, x), slopes.numpy().reshape(x.shape), atol=1e-10)


def test_unknown_models_and_impossible_rates_are_refused():
    with pytest.raises(ConfigError, match="choose one of JC69"):
        substitution_model("JC70")
    with pytest.raises(ConfigError, match="above 0"):
        ExponentialLengths(0.0)


# A model's parameter in the problem that is trained


def problem_with_a_parameter(direct):
    generator = torch.Generator().manual_seed(6)
    mixture = PhyloMixture(build_support(random_topologies(N_TAXA, 5, np.random.default_rng(7))), 3, generator=generator)
    target = Posterior(patterns(), FasterJukesCantor())
    return MixtureProblem("phylo", target, mixture, estimator=Estimator.S2A, sampled=2, particles=4, direct=direct)


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_a_targets_parameter_has_the_gradient_that_autograd_finds(beta):
    graph, direct = problem_with_a_parameter(False), problem_with_a_parameter(True)
    expected = graph.objective(1, beta, torch.Generator().manual_seed(8))
    expected.backward()
    objective = direct.objective(1, beta, torch.Generator().manual_seed(8))
    assert objective.bound.item() == pytest.approx(expected.bound.item(), abs=1e-12)
    found = objective.backward()
    pairs = [
        (graph.target.model.speed, direct.target.model.speed),
        (graph.mixture.logits, direct.mixture.logits),
        (graph.mixture.features, direct.mixture.features),
    ]
    assert len(found) == len(pairs)
    for of_graph, of_direct in pairs:
        gradient = found[of_direct]
        dense = gradient.dense(of_direct) if isinstance(gradient, RowGradient) else gradient
        torch.testing.assert_close(dense, of_graph.grad, rtol=1e-11, atol=1e-12)
    assert found[direct.target.model.speed].abs().item() > 0.01


@pytest.mark.parametrize("direct", [True, False])
def test_a_targets_parameter_is_trained_and_saved_with_the_mixture(direct, tmp_path):
    problem = problem_with_a_parameter(direct)
    groups = problem.parameter_groups()
    assert [group["name"] for group in groups] == ["sbn", "branches", "model"]
    assert groups[-1]["params"] == [problem.target.model.speed]
    optimiser = make_adam(groups)
    optimiser.set_learning_rate(0.01)
    before = {p: p.detach().clone() for group in groups for p in group["params"]}
    gradients = problem.objective(1, 1.0, torch.Generator().manual_seed(8)).backward()
    optimiser.step(gradients)
    assert all(not torch.equal(p, old) for p, old in before.items())
    torch.save(problem.state_dict(), tmp_path / "state.pt")
    other = problem_with_a_parameter(direct)
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    for p, q in zip(before, (p for group in other.parameter_groups() for p in group["params"]), strict=True):
        assert torch.equal(p, q)
    with pytest.raises(CheckpointError, match="speed"):
        other.load_state_dict(other.mixture.state_dict())

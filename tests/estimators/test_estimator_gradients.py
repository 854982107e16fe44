"""Gradients against enumeration: the expectation of each estimate is the gradient of its expectation."""

import math

import pytest
import reference_estimators as reference
import torch
from discrete_problem import DiscreteProblem

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    Estimator,
    log_importance_weights,
    miselbo,
    outer_weights,
    pathwise_objective,
    vimco_objective,
)
from vbpi_mix.estimators.components import ComponentDraw

INF = math.inf
close = torch.testing.assert_close


def exact_gradient(problem, parameters, sampled, evaluated, K, log_weights=None, counts=None):
    """Of the expected K-particle bound, differentiating the chances of all K-tuples too."""
    log_w, _, chance = problem.all_tuples(sampled, evaluated, K, log_weights)
    if counts is None:
        counts = torch.full((len(sampled),), 1 / len(sampled), dtype=torch.float64)
    return torch.autograd.grad(miselbo(log_w, K, counts.unsqueeze(1) * chance).sum(), parameters)


def mean_vimco_gradient(problem, parameters, sampled, evaluated, K, log_weights=None, counts=None):
    """Mean over all K-tuples, by their chances, of the gradient estimate, and the mean bound."""
    log_w, score, chance = problem.all_tuples(sampled, evaluated, K, log_weights)
    if counts is None:
        counts = torch.full((len(sampled),), 1 / len(sampled), dtype=torch.float64)
    objective = vimco_objective(log_w, score, counts.unsqueeze(1) * chance.detach())
    gradients = torch.autograd.grad(objective.surrogate * chance.shape[1], parameters)
    return [-g for g in gradients], objective.bound.sum()


@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize(
    ("sampled", "evaluated"), [((0, 1), (0, 1)), ((0,), (0, 1)), ((1,), (1,))], ids=["a2a", "s2a", "s2s"]
)
def test_vimco_is_unbiased(K, sampled, evaluated):
    """4 states, 2 components; log_joint stands for whatever log w depends on explicitly."""
    problem = DiscreteProblem.random(2, 4, seed=K)
    parameters = (problem.logits, problem.log_joint)
    exact = exact_gradient(problem, parameters, sampled, evaluated, K)
    mean, bound = mean_vimco_gradient(problem, parameters, sampled, evaluated, K)
    for got, want in zip(mean, exact, strict=True):
        close(got, want, atol=1e-10, rtol=0)
    q, p = problem.tables()
    assert float(bound) == pytest.approx(reference.expected_miselbo(q, p, sampled, evaluated, L=K), abs=1e-12)


@pytest.mark.parametrize("K", [2, 3])
def test_vimco_with_learned_weights(K):
    problem = DiscreteProblem.random(2, 3, seed=K)
    log_weights = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
    parameters = (problem.logits, problem.log_joint, log_weights)
    everything = ComponentDraw(torch.arange(2), torch.arange(2), torch.arange(2))

    def counts():
        return outer_weights(Estimator.A2A, everything, log_weights)

    exact = exact_gradient(problem, parameters, (0, 1), (0, 1), K, log_weights, counts())
    mean, _ = mean_vimco_gradient(problem, parameters, (0, 1), (0, 1), K, log_weights, counts())
    for got, want in zip(mean, exact, strict=True):
        close(got, want, atol=1e-10, rtol=0)


def test_vimco_with_a_reparameterised_part():
    """Discrete z and x = m[a, z] + e, e one of two equally likely values: still all enumerable."""
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    means = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    steps = torch.tensor([-0.7, 0.7], dtype=torch.float64)
    grid = torch.cartesian_prod(*[torch.arange(6)] * 2).T  # K = 2 particles, 36 tuples of (z, e)
    z, e = grid // 2, steps[grid % 2]
    log_q_z = torch.log_softmax(logits, 1)[:, z]  # [A, K, T]
    x = means[:, z] + e
    log_joint = torch.sin(z + x) - x.square()
    densities = log_q_z - 0.5 * (x.unsqueeze(1) - means[:, z]).square()  # [S, R, K, T], a stand-in density
    log_w = log_importance_weights(log_joint, torch.zeros(()), densities.transpose(1, 2))
    chance = log_q_z.sum(1).exp() / 4
    exact = torch.autograd.grad(miselbo(log_w, 2, chance / 2).sum(), (logits, means), retain_graph=True)
    objective = vimco_objective(log_w, log_q_z, chance.detach() / 2)
    mean = torch.autograd.grad(objective.surrogate * 36, (logits, means))
    for got, want in zip(mean, exact, strict=True):
        close(-got, want, atol=1e-10, rtol=0)


@pytest.mark.parametrize("A", [2, 5])
@pytest.mark.parametrize("kind", ["pathwise", "vimco"])
def test_s2a_gradients_average_to_the_a2a_gradient(A, kind):
    problem = DiscreteProblem.random(A, 4, seed=A)
    generator = torch.Generator().manual_seed(1)
    states = torch.randint(4, (A, 3), generator=generator)  # the particles each component would draw

    def gradient(subset):
        sampled = list(subset)
        log_q = problem.log_q[:, states[sampled]].movedim(0, 2)  # [S, K, R]
        log_w = log_importance_weights(problem.log_joint[states[sampled]], torch.zeros(()), log_q)
        score = problem.log_q[torch.tensor(sampled).unsqueeze(1), states[sampled]]
        objective = pathwise_objective(log_w) if kind == "pathwise" else vimco_objective(log_w, score)
        return torch.autograd.grad(objective.surrogate, problem.logits)[0]

    a2a = gradient(range(A))
    for S in range(1, A):
        mean = torch.stack([gradient(subset) for subset in reference.subsets(A, S)]).mean(0)
        close(mean, a2a, atol=1e-12, rtol=0)


@pytest.mark.parametrize("K", [1, 2, 5])
def test_signals_equal_the_twin(K, generator):
    log_w = 4 * torch.randn(3, K, generator=generator, dtype=torch.float64)
    score = torch.zeros(3, K, dtype=torch.float64, requires_grad=True)
    vimco_objective(log_w, score).surrogate.backward()
    want = torch.tensor([reference.vimco_signals(row) for row in log_w.tolist()], dtype=torch.float64)
    close(score.grad, -want / 3, atol=1e-12, rtol=1e-12)


def test_signals_are_stable_far_apart():
    log_w = torch.tensor([[0.0, -900.0, -5000.0]], dtype=torch.float64)
    score = torch.zeros_like(log_w, requires_grad=True)
    objective = vimco_objective(log_w, score)
    objective.surrogate.backward()
    close(score.grad, torch.tensor([[-900.0, 0.0, 0.0]], dtype=torch.float64))
    close(objective.bound, torch.tensor(-math.log(3), dtype=torch.float64))


@pytest.mark.parametrize("row", [[0.5, -INF, 1.0], [0.5, -INF, -INF]])
def test_vimco_with_weights_of_zero(row):
    log_w = torch.tensor([row], dtype=torch.float64, requires_grad=True)
    score = torch.zeros_like(log_w).requires_grad_()
    objective = vimco_objective(log_w, score)
    objective.surrogate.backward()
    assert math.isfinite(objective.bound.item())
    assert bool(log_w.grad.isfinite().all())
    assert bool(score.grad.isfinite().all())


def test_batched_vimco_is_the_mean_of_its_points(generator):
    log_w = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    score = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.3, 0.9], dtype=torch.float64)
    whole = vimco_objective(log_w, score, weights)
    points = [vimco_objective(log_w[..., b], score[..., b], weights) for b in range(3)]
    assert whole.bound.shape == (3,)
    close(whole.bound, torch.stack([point.bound for point in points]))
    mean = sum(point.surrogate for point in points) / 3
    for got, want in zip(
        torch.autograd.grad(whole.surrogate, (log_w, score)),
        torch.autograd.grad(mean, (log_w, score)),
        strict=True,
    ):
        close(got, want)


def test_pathwise_is_minus_the_gradient_of_the_mean_bound(generator):
    log_w = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    objective = pathwise_objective(log_w, 2)
    assert objective.bound.shape == (3,)
    assert not objective.bound.requires_grad
    assert objective.surrogate.ndim == 0
    close(objective.bound, miselbo(log_w, 2).detach())
    (got,) = torch.autograd.grad(objective.surrogate, log_w)
    (want,) = torch.autograd.grad(miselbo(log_w, 2).mean(), log_w)
    close(got, -want)


def test_descending_the_surrogate_raises_the_bound():
    problem = DiscreteProblem.random(2, 4, seed=9)
    optimiser = torch.optim.SGD([problem.logits], lr=0.2)
    bounds = []
    for _ in range(50):
        log_w, score, chance = problem.all_tuples((0, 1), (0, 1), 2)
        objective = vimco_objective(log_w, score, chance.detach() / 2)
        bounds.append(float(objective.bound.sum()))
        optimiser.zero_grad()
        (objective.surrogate * chance.shape[1]).backward()
        optimiser.step()
    assert bounds[-1] > bounds[0]
    assert bounds[-1] <= problem.log_evidence.item()


def test_vimco_errors():
    with pytest.raises(ConfigError, match=r"log_w has shape \[2, 3\] and log_q_score \[2\]: both must be"):
        vimco_objective(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ConfigError, match="3 component weights for S=2"):
        vimco_objective(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3))

"""Learned weights in steps without a graph, against enumeration: of subsets by their design, of particles by their chances."""

import itertools
import math
from types import SimpleNamespace

import pytest
import reference_estimators as reference
import torch
from discrete_problem import DiscreteProblem

from vbpi_mix.estimators import ComponentDraw, Estimator, StepWeights, direct_vimco_objective, inclusion_probabilities

STATES, K = 3, 2
# In [0, 1): of three components and S = 2 the first is always drawn.
WEIGHTS = {"even": [3, 4, 2], "capped": [9, 1, 2]}
EXPECTED = {"nothing": None, "far": torch.tensor([-7000.0, 4.0, 0.5], dtype=torch.float64)}
close = torch.testing.assert_close


class Direct:
    """A discrete problem as target and mixture that carry gradients back themselves; draws are given."""

    def __init__(self, problem):
        self.problem = problem

    def draws(self, draw, states):
        """Of states [S, K]."""
        log_q = self.problem.log_q.detach()
        own = log_q[draw.sampled.unsqueeze(1), states]
        return SimpleNamespace(states=states, log_q=log_q[draw.evaluated][:, states].movedim(0, 2), log_q_score=own, draw=draw)

    def evaluate(self, draws):
        log_joint = self.problem.log_joint.detach()[draws.states]

        def pull_back(likelihood, prior):
            return SimpleNamespace(points=None, parameters={})

        return SimpleNamespace(log_likelihood=log_joint, log_prior=torch.zeros_like(log_joint), pull_back=pull_back)

    def pull_back(self, draws, log_q, log_q_score, points):
        with torch.enable_grad():
            table = self.problem.log_q
            of_all = (table[draws.draw.evaluated][:, draws.states].movedim(0, 2) * log_q).sum()
            of_own = (table[draws.draw.sampled.unsqueeze(1), draws.states] * log_q_score).sum()
            (found,) = torch.autograd.grad(of_all + of_own, self.problem.logits)
        return {self.problem.logits: found}


def a2a_bound(problem, log_weights, evaluated=(0, 1, 2)):
    """The expected bound of K particles of a mixture, by all tuples of states: differentiable."""
    log_pi = torch.log_softmax(log_weights[list(evaluated)], 0)
    log_q = problem.log_q[list(evaluated)]
    mixture = torch.logsumexp(log_q + log_pi.unsqueeze(1), 0)
    total = 0.0
    for states in itertools.product(range(STATES), repeat=K):
        at = list(states)
        value = torch.logsumexp(problem.log_joint.detach()[at] - mixture[at], 0) - math.log(K)
        total = total + (log_pi.exp() * log_q[:, at].sum(1).exp()).sum() * value
    return total


def mean_over_particles(problem, log_weights, estimator, subset, inclusion, expected):
    """The mean bound of a subset and the mean of its gradient estimates, over all particles of all sampled components."""
    sampled = torch.tensor(subset)
    everything = estimator is not Estimator.S2S
    evaluated = torch.arange(3) if everything else sampled
    draw = ComponentDraw(sampled, evaluated, sampled if everything else torch.arange(len(subset)))
    weights = StepWeights.of(estimator, draw, log_weights, inclusion, expected)
    direct, log_q = Direct(problem), problem.log_q.detach()
    bound, found = 0.0, [torch.zeros_like(problem.logits), torch.zeros_like(log_weights)]
    for flat in itertools.product(range(STATES), repeat=K * len(subset)):
        states = torch.tensor(flat).view(len(subset), K)
        chance = log_q[sampled.unsqueeze(1), states].sum().exp()
        objective = direct_vimco_objective(direct, direct, direct.draws(draw, states), weights=weights)
        gradients = objective.backward()
        bound += float(chance * objective.bound)
        for total, leaf in zip(found, (problem.logits, log_weights), strict=True):
            total -= chance * gradients[leaf].detach()
    return bound, found


@pytest.mark.parametrize("expected", EXPECTED)
@pytest.mark.parametrize(("S", "weights"), [(1, "even"), (2, "even"), (2, "capped")])
def test_some_to_all_is_unbiased_for_all_to_all_with_its_gradient(S, weights, expected):
    """Sampled by inclusion probabilities (Theorem B.1): the bound, and the gradients of components and weights."""
    problem = DiscreteProblem.random(3, STATES, seed=4)
    log_weights = torch.tensor(WEIGHTS[weights], dtype=torch.float64).log().requires_grad_()
    exact = a2a_bound(problem, log_weights)
    gradients = torch.autograd.grad(exact, (problem.logits, log_weights))
    inclusion = inclusion_probabilities(log_weights.exp(), S)
    design = reference.systematic_design(reference.capped_inclusion(WEIGHTS[weights], S))
    bound, found = 0.0, [torch.zeros_like(each) for each in gradients]
    for subset, chance in design.items():
        one, some = mean_over_particles(problem, log_weights, Estimator.S2A, subset, inclusion, EXPECTED[expected])
        bound += float(chance) * one
        found = [total + float(chance) * each for total, each in zip(found, some, strict=True)]
    assert bound == pytest.approx(exact.item(), abs=1e-10)
    assert min(float(each.abs().max()) for each in gradients) > 0.01
    for got, want in zip(found, gradients, strict=True):
        close(got, want, atol=1e-9, rtol=0)


@pytest.mark.parametrize("estimator", [Estimator.A2A, Estimator.S2S])
def test_all_to_all_and_some_to_some_have_the_gradients_of_their_mixtures(estimator):
    """A subset of S2S is a mixture of its own, with its weights normalised."""
    problem = DiscreteProblem.random(3, STATES, seed=5)
    log_weights = torch.tensor(WEIGHTS["even"], dtype=torch.float64).log().requires_grad_()
    subset = (0, 1, 2) if estimator is Estimator.A2A else (0, 2)
    exact = a2a_bound(problem, log_weights, subset)
    bound, found = mean_over_particles(problem, log_weights, estimator, subset, None, None)
    assert bound == pytest.approx(exact.item(), abs=1e-10)
    for got, want in zip(found, torch.autograd.grad(exact, (problem.logits, log_weights)), strict=True):
        close(got, want, atol=1e-10, rtol=0)


def test_what_is_expected_takes_the_noise_of_the_draw_away():
    """Bounds near -7,000 whose common level says nothing: the gradients of both subsets of one differ by the components'
    difference, and not by seven thousand."""
    log_weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    inclusion, bounds = torch.full((2,), 0.5, dtype=torch.float64), torch.tensor([-7000.1, -7000.3], dtype=torch.float64)

    def gradients(expected):
        found = []
        for a in range(2):
            draw = ComponentDraw(torch.tensor([a]), torch.arange(2), torch.tensor([a]))
            step = StepWeights.of(Estimator.S2A, draw, log_weights, inclusion, expected)
            found.append(-step.pull_back(torch.zeros(2, dtype=torch.float64), bounds[[a]]))
        return torch.stack(found)

    slope = torch.tensor([0.05, -0.05], dtype=torch.float64)
    close(gradients(bounds), slope.expand(2, 2), atol=1e-9, rtol=0)
    close(gradients(None).mean(0), slope, atol=1e-9, rtol=0)
    assert gradients(None).abs().min() > 3000
    close(gradients(bounds + torch.tensor([1.0, -1.0])).mean(0), slope, atol=1e-9, rtol=0)


def test_what_is_expected_follows_the_bounds_of_components_drawn():
    log_weights, expected = torch.zeros(3, dtype=torch.float64, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])
    draw = ComponentDraw(torch.tensor([2, 0]), torch.arange(3), torch.tensor([2, 0]))
    inclusion = torch.full((3,), 2 / 3, dtype=torch.float64)
    step = StepWeights.of(Estimator.S2A, draw, log_weights, inclusion, expected)
    close(step.expected_next(torch.tensor([13.0, 2.0])), torch.tensor([1.1, 2.0, 4.0]))
    assert expected.tolist() == [1.0, 2.0, 3.0]
    assert StepWeights.of(Estimator.S2A, draw, log_weights, inclusion, None).expected_next(torch.ones(2)) is None

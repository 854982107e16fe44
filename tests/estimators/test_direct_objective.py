"""Steps that carry gradients back without a graph, against the same steps with one."""

import math
from types import SimpleNamespace

import pytest
import torch

from vbpi_mix.estimators import ComponentDraw, Estimator, StepWeights, direct_vimco_objective, vimco_objective

A, Z = 3, 5
close = torch.testing.assert_close


def table(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Scaled:
    """Particles z with log likelihood a u(z) and log prior b v(z); a and b are parameters."""

    def __init__(self):
        self.u, self.v = table(1, Z), table(2, Z)
        self.leaves = {"a": table(8, 1)[0].requires_grad_(), "b": table(9, 1)[0].requires_grad_()}

    def parameters(self):
        return self.leaves

    def parameter_groups(self):
        return [{"name": "scale", "params": list(self.leaves.values())}]

    def state_dict(self):
        return self.leaves

    def load_state_dict(self, state):
        self.leaves.update(state)

    def densities(self, states):
        return self.leaves["a"] * self.u[states], self.leaves["b"] * self.v[states]

    def evaluate(self, draws):
        likelihood, prior = self.densities(draws.states)

        def pull_back(of_likelihood, of_prior):
            found = {"a": (of_likelihood * self.u[draws.states]).sum(), "b": (of_prior * self.v[draws.states]).sum()}
            return SimpleNamespace(points=None, parameters=found)

        return SimpleNamespace(log_likelihood=likelihood.detach(), log_prior=prior.detach(), pull_back=pull_back)


class Tables:
    """Components over Z states."""

    def __init__(self):
        self.logits = table(3, A, Z).requires_grad_()

    @property
    def log_q(self):
        return torch.log_softmax(self.logits, 1)

    def densities(self, draw, states):
        """log q of states [S, K] under all evaluated components, and under the one that drew each."""
        return self.log_q[draw.evaluated][:, states].movedim(0, 2), self.log_q[draw.sampled.unsqueeze(1), states]

    def draws(self, draw, states):
        of_all, own = self.densities(draw, states)
        return SimpleNamespace(draw=draw, states=states, log_q=of_all.detach(), log_q_score=own.detach())

    def pull_back(self, draws, log_q, log_q_score, points):
        with torch.enable_grad():
            of_all, own = self.densities(draws.draw, draws.states)
            (found,) = torch.autograd.grad((of_all * log_q).sum() + (own * log_q_score).sum(), self.logits)
        return {self.logits: found}


def drawn(sampled, K, evaluated=tuple(range(A))):
    draw = ComponentDraw(
        torch.tensor(sampled), torch.tensor(evaluated), torch.tensor([evaluated.index(each) for each in sampled])
    )
    states = torch.randint(Z, (len(sampled), K), generator=torch.Generator().manual_seed(K))
    return draw, states


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(("sampled", "evaluated"), [((0, 1, 2), (0, 1, 2)), ((2, 0), (0, 1, 2)), ((1,), (1,)), ((2, 1), (2, 1))])
@pytest.mark.parametrize("K", [1, 4])
def test_without_a_graph_as_with_one(beta, sampled, evaluated, K):
    target, mixture = Scaled(), Tables()
    draw, states = drawn(sampled, K, evaluated)
    objective = direct_vimco_objective(target, mixture, mixture.draws(draw, states), beta)

    of_all, own = mixture.densities(draw, states)
    likelihood, prior = target.densities(states)
    log_w = beta * likelihood + prior - (torch.logsumexp(of_all, 2) - math.log(len(evaluated)))
    expected = vimco_objective(log_w, own)
    close(objective.bound, expected.bound)
    leaves = [mixture.logits, *target.leaves.values()]
    found = objective.backward()
    assert set(found) == set(leaves)
    for leaf, want in zip(leaves, torch.autograd.grad(expected.surrogate, leaves), strict=True):
        close(found[leaf], want, atol=1e-12, rtol=0)


def test_the_signs_of_training_by_hand():
    """Three components of two particles: the mean log weight, and the share of six particles that the weights are worth."""
    target, mixture = Scaled(), Tables()
    draw, states = drawn((0, 1, 2), 2)
    objective = direct_vimco_objective(target, mixture, mixture.draws(draw, states))
    of_all, _ = mixture.densities(draw, states)
    likelihood, prior = target.densities(states)
    log_w = (likelihood + prior - torch.logsumexp(of_all, 2) + math.log(3)).flatten().tolist()
    w = [math.exp(each) for each in log_w]
    kept = sum(w) ** 2 / sum(each**2 for each in w) / 6
    assert 0.1 < kept < 0.9
    assert objective.signs == pytest.approx((sum(log_w) / 6, math.log(kept)), abs=1e-12)


def test_the_signs_of_training_count_components_by_their_weights():
    """S2A, inclusion probabilities in proportion to the weights but for one: particles count pi over inclusion."""
    target, mixture = Scaled(), Tables()
    pi, inclusion = [0.6, 0.3, 0.1], [0.9, 0.7, 0.4]
    draw, states = drawn((2, 0), 2)
    logits = torch.tensor(pi, dtype=torch.float64).log().requires_grad_()
    weights = StepWeights.of(Estimator.S2A, draw, logits, torch.tensor(inclusion, dtype=torch.float64), None)
    objective = direct_vimco_objective(target, mixture, mixture.draws(draw, states), weights=weights)
    of_all, _ = mixture.densities(draw, states)
    likelihood, prior = target.densities(states)
    log_w = (likelihood + prior - torch.logsumexp(of_all + logits, 2)).tolist()
    counts = [pi[a] / inclusion[a] for a in (2, 0)]
    w = [count * math.exp(each) for count, row in zip(counts, log_w, strict=True) for each in row]
    mean = sum(count * sum(row) for count, row in zip(counts, log_w, strict=True)) / (2 * sum(counts))
    kept = sum(w) ** 2 / sum(each**2 for each in w) / 4
    assert objective.signs == pytest.approx((mean, math.log(kept)), abs=1e-12)


def test_the_signs_of_training_far_from_zero():
    """Log weights of trees are thousands: the share that counts is that of the same weights near zero."""
    near, far = Scaled(), Scaled()
    far.densities = lambda states: (near.densities(states)[0] - 7000.0, near.densities(states)[1])
    mixture = Tables()
    draws = mixture.draws(*drawn((0, 1, 2), 2))
    mean, kept = direct_vimco_objective(near, mixture, draws).signs
    assert direct_vimco_objective(far, mixture, draws).signs == pytest.approx((mean - 7000.0, kept), abs=1e-9)


def test_batches_count_their_points_equally_and_weights_get_their_slope():
    """Of S = 2 components, K = 3 particles and 4 points: the mean over points of what each gives alone."""
    log_w, score = table(5, 2, 3, 4).requires_grad_(), table(6, 2, 3, 4).requires_grad_()
    shares = torch.tensor([0.8, 0.4], dtype=torch.float64, requires_grad=True)
    for given in (None, shares):
        leaves = (log_w, score) if given is None else (log_w, score, shares)
        together = torch.autograd.grad(vimco_objective(log_w, score, given).surrogate, leaves)
        alone = [vimco_objective(log_w[..., k], score[..., k], given).surrogate for k in range(4)]
        for one, mean in zip(together, torch.autograd.grad(sum(alone) / 4, leaves), strict=True):
            close(one, mean, atol=1e-12, rtol=0)

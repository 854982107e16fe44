"""Bounds against enumeration: unbiasedness, ordering, weights, -inf, warm-up, errors."""

import itertools
import math

import pytest
import reference_estimators as reference
import torch
from discrete_problem import DiscreteProblem

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import (
    Estimator,
    draw_components,
    inclusion_probabilities,
    log_importance_weights,
    log_mixture_density,
    miselbo,
    outer_weights,
    pooled_estimate,
    published_estimate,
)
from vbpi_mix.estimators.bounds import combine_components
from vbpi_mix.estimators.components import ComponentDraw

INF = math.inf
WEIGHTS = [1, 4, 2, 3]
close = torch.testing.assert_close


def expected(problem, sampled, evaluated, log_weights=None, counts=None, K=1, L=None):
    """Exact expectation of `miselbo`, in torch: tuples are a batch, their chances ride on the weights."""
    log_w, _, chance = problem.all_tuples(sampled, evaluated, K, log_weights)
    counts = torch.full((len(sampled),), 1 / len(sampled), dtype=torch.float64) if counts is None else counts
    return miselbo(log_w, K if L is None else L, counts.unsqueeze(1) * chance).sum().detach()


def draw_of(estimator, A, subset):
    sampled = torch.tensor(subset)
    if estimator is Estimator.S2S:
        return ComponentDraw(sampled, sampled, torch.arange(len(subset)))
    return ComponentDraw(sampled, torch.arange(A), sampled)


@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_expectation_equals_the_twin(L, weighted):
    problem = DiscreteProblem.random(3, 4, seed=1)
    q, p = problem.tables()
    pi = [0.2, 0.5, 0.3] if weighted else None
    log_weights = torch.tensor(pi, dtype=torch.float64).log() if weighted else None
    for sampled, evaluated in [((0, 1, 2), (0, 1, 2)), ((2, 0), (0, 1, 2)), ((2, 0), (2, 0)), ((1,), (1,))]:
        got = expected(problem, sampled, evaluated, log_weights, K=L)
        want = reference.expected_miselbo(q, p, sampled, evaluated, pi, None, L)
        assert float(got) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("A", [2, 4])
@pytest.mark.parametrize("L", [1, 2])
def test_s2a_is_unbiased_for_a2a(A, L):
    problem = DiscreteProblem.random(A, 3, seed=A)
    everything = range(A)
    a2a = expected(problem, everything, everything, K=L)
    for S in range(1, A + 1):
        s2a = [expected(problem, subset, everything, K=L) for subset in reference.subsets(A, S)]
        close(torch.stack(s2a).mean(), a2a, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_s2s_below_a2a_below_evidence(seed):
    A = 4
    problem = DiscreteProblem.random(A, 4, seed=seed)
    everything = range(A)
    a2a = expected(problem, everything, everything)
    assert a2a < problem.log_evidence
    previous = -INF
    for S in range(1, A + 1):
        subsets = reference.subsets(A, S)
        s2s = torch.stack([expected(problem, subset, subset) for subset in subsets]).mean()
        assert s2s <= a2a + 1e-12
        assert s2s >= previous - 1e-12
        previous = s2s
    close(s2s, a2a, atol=1e-12, rtol=0)


def test_a_perfect_mixture_reaches_the_evidence():
    problem = DiscreteProblem.random(3, 4, seed=3)
    mixture = torch.logsumexp(problem.log_q, 0) - math.log(3)
    problem.log_joint = mixture.detach() - 1.25
    close(expected(problem, range(3), range(3)), torch.tensor(-1.25, dtype=torch.float64))


@pytest.mark.parametrize("S", [1, 2, 3])
@pytest.mark.parametrize("design_weights", ["mixture", "other"])
def test_weighted_s2a_is_unbiased_under_unequal_inclusion(S, design_weights):
    problem = DiscreteProblem.random(4, 3, seed=11)
    log_weights = torch.tensor(WEIGHTS, dtype=torch.float64).log()
    a2a_draw = draw_components(Estimator.A2A, 4, None, None)
    counts = outer_weights(Estimator.A2A, a2a_draw, log_weights)
    a2a = expected(problem, range(4), range(4), log_weights, counts)
    exact = reference.capped_inclusion(WEIGHTS if design_weights == "mixture" else [3, 3, 1, 1], S)
    inclusion = torch.tensor([float(v) for v in exact], dtype=torch.float64)
    mean = torch.zeros((), dtype=torch.float64)
    for subset, chance in reference.systematic_design(exact).items():
        counts = outer_weights(Estimator.S2A, draw_of(Estimator.S2A, 4, subset), log_weights, inclusion)
        mean += float(chance) * expected(problem, subset, range(4), log_weights, counts)
    close(mean, a2a, atol=1e-12, rtol=0)


def test_weighted_s2a_by_drawing():
    """The drawn subsets, not the enumerated ones: 20,000 draws, within 5 standard errors."""
    problem = DiscreteProblem.random(4, 3, seed=12)
    log_weights = torch.tensor(WEIGHTS, dtype=torch.float64).log()
    inclusion = inclusion_probabilities(torch.tensor([3.0, 3, 1, 1]), 2)
    q, p = problem.tables()
    pi = [w / 10 for w in WEIGHTS]
    values = torch.tensor(
        [reference.expected_log_mean(q, p, a, range(4), pi, 1) for a in range(4)], dtype=torch.float64
    )
    generator = torch.Generator().manual_seed(5)
    draw = draw_components(Estimator.S2A, 4, 2, generator, (20_000,), inclusion)
    sample = (outer_weights(Estimator.S2A, draw, log_weights, inclusion) * values[draw.sampled]).sum(0)
    a2a = sum(w * float(v) for w, v in zip(pi, values, strict=True))
    assert abs(float(sample.mean()) - a2a) < 5 * float(sample.std()) / math.sqrt(20_000)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_s2s_is_below_weighted_a2a_when_drawn_in_proportion(seed):
    """Uniform within the subset, drawn in proportion to pi without capping: the mixtures average to q."""
    problem = DiscreteProblem.random(4, 3, seed=seed)
    log_weights = torch.tensor(WEIGHTS, dtype=torch.float64).log()
    a2a_draw = draw_components(Estimator.A2A, 4, None, None)
    a2a = expected(
        problem, range(4), range(4), log_weights, outer_weights(Estimator.A2A, a2a_draw, log_weights)
    )
    exact = reference.capped_inclusion(WEIGHTS, 2)
    assert max(exact) < 1
    design = reference.systematic_design(exact)
    s2s = sum(float(chance) * expected(problem, subset, subset) for subset, chance in design.items())
    assert s2s <= a2a + 1e-12 < problem.log_evidence


def test_weighted_s2s_renormalises_and_is_below_the_evidence():
    problem = DiscreteProblem.random(3, 4, seed=8)
    q, p = problem.tables()
    pi = [0.2, 0.5, 0.3]
    log_weights = torch.tensor(pi, dtype=torch.float64).log()
    for subset in reference.subsets(3, 2):
        counts = outer_weights(Estimator.S2S, draw_of(Estimator.S2S, 3, subset), log_weights)
        got = expected(problem, subset, subset, log_weights, counts)
        total = sum(pi[a] for a in subset)
        want = reference.expected_miselbo(q, p, subset, subset, pi, [pi[a] / total for a in subset])
        assert float(got) == pytest.approx(want, abs=1e-12)
        assert got < problem.log_evidence


def test_more_importance_samples_tighten_the_bound():
    problem = DiscreteProblem.random(3, 3, seed=4)
    bounds = [expected(problem, range(3), range(3), K=L) for L in (1, 2, 3, 4)]
    assert all(a < b for a, b in itertools.pairwise([*bounds, problem.log_evidence]))


def test_groups_of_importance_samples_do_not_bias():
    problem = DiscreteProblem.random(2, 3, seed=4)
    close(expected(problem, (0, 1), (0, 1), K=4, L=2), expected(problem, (0, 1), (0, 1), K=2, L=2))


def test_miselbo_batch_and_weights(generator):
    log_w = torch.randn(2, 6, 3, 5, generator=generator, dtype=torch.float64)
    c = torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)
    grouped = (log_w.view(2, 3, 2, 3, 5).exp().mean(2)).log().mean(1)
    close(miselbo(log_w, 2), grouped.mean(0))
    close(miselbo(log_w, 2, c), (c * grouped).sum(0))
    close(miselbo(log_w, 2, c[:, 0, 0]), (c[:, :1, :1] * grouped).sum(0))
    close(miselbo(log_w), log_w.mean((0, 1)))


def test_mixture_density_weights_per_point(generator):
    log_q = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    want = ((weights / weights.sum(0)) * log_q.exp()).sum(2).log()
    close(log_mixture_density(log_q, weights.log()), want)
    want = (weights[:, :1] * log_q.exp()).sum(2).log() - weights[:, 0].sum().log()
    close(log_mixture_density(log_q, weights[:, 0].log()), want)
    close(log_mixture_density(log_q), log_q.exp().mean(2).log())
    close(log_mixture_density(log_q[:, :, :1]), log_q[:, :, 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_outside_a_support(weighted):
    """-inf adds nothing, gives no nan, and gets no gradient; all -inf is -inf and poisons nothing."""
    log_q = torch.tensor([[[-1.0, -INF, -2.0], [-INF, -INF, -INF], [0.5, 0.0, -INF]]], dtype=torch.float64)
    log_q.requires_grad_()
    log_weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().requires_grad_()
    got = log_mixture_density(log_q, log_weights if weighted else None)
    pi = [0.5, 0.3, 0.2] if weighted else [1 / 3] * 3
    q = torch.tensor(pi, dtype=torch.float64) * log_q.detach().exp()
    close(got.detach(), q.sum(2).log())
    got.sum().backward()
    responsibility = (q / q.sum(2, keepdim=True)).nan_to_num(nan=0.0)
    close(log_q.grad, responsibility)
    assert bool((log_q.grad[torch.isinf(log_q.detach())] == 0).all())
    if weighted:
        assert bool(log_weights.grad.isfinite().all())


@pytest.mark.parametrize("estimate", [pooled_estimate, published_estimate, lambda w: miselbo(w, 3)])
def test_weights_of_zero_are_harmless(estimate):
    log_w = torch.tensor([[0.3, -INF, 1.0], [-INF, -INF, 0.2]], dtype=torch.float64, requires_grad=True)
    value = estimate(log_w)
    value.backward()
    assert math.isfinite(value.item())
    assert bool(log_w.grad.isfinite().all())
    assert bool((log_w.grad[torch.isinf(log_w.detach())] == 0).all())


def test_gradients_of_the_mixture_density(generator):
    log_q = torch.randn(2, 2, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    log_weights = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_mixture_density, (log_q,))
    assert torch.autograd.gradcheck(log_mixture_density, (log_q, log_weights))


def test_warm_up(generator):
    log_likelihood, log_prior = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    log_q = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    mix = log_mixture_density(log_q)

    def warm(kind, beta):
        return log_importance_weights(log_likelihood, log_prior, log_q, beta=beta, warm_up=kind)

    close(warm("likelihood", 1.0), log_likelihood + log_prior - mix)
    close(warm("kl", 1.0), warm("likelihood", 1.0))
    close(warm("likelihood", 0.0), log_prior - mix)
    close(warm("kl", 0.0), log_likelihood)
    close(warm("likelihood", 0.3), 0.3 * log_likelihood + log_prior - mix)
    close(warm("kl", 0.3), log_likelihood + 0.3 * (log_prior - mix))


@pytest.mark.parametrize("weighted", [False, True])
def test_published_never_exceeds_pooled(weighted, generator):
    log_w = 3 * torch.randn(3, 20, 50, generator=generator, dtype=torch.float64)
    pi = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64) if weighted else torch.full((3,), 1 / 3).double()
    log_weights = pi.log() + 2.0 if weighted else None
    published, pooled = published_estimate(log_w, log_weights), pooled_estimate(log_w, log_weights)
    assert bool((published <= pooled).all())
    means = log_w.exp().mean(1)
    close(published, (pi.unsqueeze(1) * means.log()).sum(0), rtol=1e-6, atol=1e-6)
    close(pooled, (pi.unsqueeze(1) * means).sum(0).log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: miselbo(torch.zeros(2, 6), 4), "L=4 does not divide the K=6 particles"),
        (lambda: miselbo(torch.zeros(2, 6), 0), "L=0 does not divide"),
        (lambda: miselbo(torch.zeros(2)), r"log_w has shape \[2\]: it must be \[S, K, \*B\]"),
        (lambda: pooled_estimate(torch.zeros(2)), r"log_w has shape \[2\]"),
        (lambda: miselbo(torch.zeros(2, 6), 1, torch.ones(3)), "3 component weights for S=2"),
        (lambda: log_mixture_density(torch.zeros(2, 6)), r"log_q has shape \[2, 6\]: it must be"),
        (lambda: log_mixture_density(torch.zeros(2, 6, 3), torch.zeros(4)), "4 mixture weights for R=3"),
        (
            lambda: log_importance_weights(*torch.zeros(3, 1, 1, 1), warm_up="prior"),
            "warm_up 'prior' is unknown: give 'likelihood' or 'kl'",
        ),
    ],
)
def test_bound_errors(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_one_component_without_weights_is_its_value():
    """Whatever the shape of a batch; no other test has a batch there."""
    values = torch.tensor([[2.0, 3.0, 5.0]])
    assert combine_components(values, None).tolist() == [2.0, 3.0, 5.0]
    assert combine_components(values[:, 0], None).item() == 2.0
    assert combine_components(torch.cat([values, values + 1]), None).tolist() == [2.5, 3.5, 5.5]

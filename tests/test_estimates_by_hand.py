"""The evaluation of a mixture whose weights are written down, against sums in plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from vbpi_mix import evaluation
from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import ComponentDraw
from vbpi_mix.evaluation import evaluate

# Of repeats, components and samples: log p(Y | z), log p(z), and log q(z) under the first and the second component.
WRITTEN = [
    [
        [(-1.0, -0.5, -2.0, -0.3), (-3.0, -0.1, -0.2, -1.2), (-2.0, -0.9, -1.0, -4.0)],
        [(-1.5, -0.2, -0.4, -0.9), (-4.0, -0.3, -2.2, -0.1), (-0.5, -0.4, -1.7, -2.1)],
    ],
    [
        [(-2.5, -0.6, -0.7, -0.8), (-1.1, -0.2, -3.0, -1.0), (-2.2, -1.1, -0.4, -0.6)],
        [(-0.9, -0.7, -1.3, -2.5), (-1.8, -0.3, -0.6, -0.2), (-3.1, -0.8, -0.1, -1.9)],
    ],
    [
        [(-1.7, -0.1, -1.1, -0.5), (-0.3, -0.6, -0.8, -1.4), (-1.2, -0.2, -2.6, -0.7)],
        [(-2.8, -0.5, -0.3, -0.4), (-1.4, -0.9, -0.9, -3.3), (-0.6, -0.3, -1.5, -0.2)],
    ],
]


@dataclass
class Given:
    table: Tensor

    @property
    def log_q(self) -> Tensor:
        """[A, K, A]."""
        return self.table[..., 2:]


class Mixture:
    """Two components that draw what is written, one after the other."""

    n_components = 2

    def __init__(self) -> None:
        self.left = torch.cat([torch.tensor(repeat, dtype=torch.float64) for repeat in WRITTEN], dim=1)
        self.asked: list[int] = []

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> Given:
        assert draw.sampled.tolist() == draw.evaluated.tolist() == [0, 1]
        assert not torch.is_grad_enabled()
        self.asked.append(particles)
        given, self.left = self.left[:, :particles], self.left[:, particles:]
        return Given(given)


class Target:
    def log_likelihood(self, draws: Given) -> Tensor:
        return draws.table[..., 0]

    def log_prior(self, draws: Given) -> Tensor:
        return draws.table[..., 1]


class Unequal(Mixture):
    """The same with weights of 0.7 and 0.3, given as logarithms that are not normalised."""

    log_weights = torch.tensor([math.log(1.4), math.log(0.6)], dtype=torch.float64, requires_grad=True)


def weights(repeat, shares=(0.5, 0.5)):
    """w of each component and sample, the whole mixture in the denominator."""
    a, b = shares
    return [
        [math.exp(likelihood + prior) / (a * math.exp(one) + b * math.exp(two)) for likelihood, prior, one, two in row]
        for row in WRITTEN[repeat]
    ]


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    return math.sqrt(math.fsum((x - mean(values)) ** 2 for x in values) / (len(values) - 1))


def flat(repeat):
    return [w for row in weights(repeat) for w in row]


def test_estimates_of_a_mixture_that_is_written_down(monkeypatch):
    monkeypatch.setattr(evaluation, "PARTICLES_AT_ONCE", 4)
    mixture, told = Mixture(), []
    found = evaluate(
        mixture, Target(), importance_samples=3, repeats=3, generator=torch.Generator(),
        progress=lambda *done: told.append(done),
    )  # fmt: skip
    assert mixture.asked == [2, 1] * 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    published = [mean([math.log(mean(row)) for row in weights(r)]) for r in range(3)]
    pooled = [math.log(mean(flat(r))) for r in range(3)]
    bounds = [mean([math.log(w) for w in flat(r)]) for r in range(3)]
    assert (found.published.form, found.pooled.form) == ("published", "pooled")
    for form, expected in ((found.published, published), (found.pooled, pooled)):
        assert form.mean == pytest.approx(mean(expected), rel=1e-12)
        assert form.sd == pytest.approx(deviation(expected), rel=1e-12)
        assert (form.importance_samples, form.repeats) == (3, 3)
    assert found.elbo == pytest.approx(mean(bounds), rel=1e-12)
    assert found.elbo_standard_error == pytest.approx(deviation(bounds) / math.sqrt(3), rel=1e-12)
    sizes = [sum(flat(r)) ** 2 / sum(w * w for w in flat(r)) for r in range(3)]
    assert found.effective_sample_size == pytest.approx(mean(sizes), rel=1e-12)
    assert torch.exp(found.log_weights).tolist() == [pytest.approx(row, rel=1e-12) for row in weights(2)]


def test_the_error_of_one_repeat_is_that_of_its_draws():
    found = evaluate(Mixture(), Target(), importance_samples=3, repeats=1, generator=torch.Generator())
    assert math.isnan(found.published.sd)
    assert math.isnan(found.pooled.sd)
    logs = [math.log(w) for w in flat(0)]
    assert found.elbo_standard_error == pytest.approx(deviation(logs) / math.sqrt(6), rel=1e-12)


def test_samples_and_repeats_are_as_many_as_asked_for_and_one_at_least():
    mixture = Mixture()
    found = evaluate(mixture, Target(), importance_samples=1, repeats=2, generator=torch.Generator())
    assert mixture.asked == [1, 1]
    assert found.published.mean == pytest.approx(found.elbo, rel=1e-12)
    for wrong in ({"importance_samples": 0}, {"repeats": 0}):
        with pytest.raises(ConfigError, match="give at least 1"):
            evaluate(Mixture(), Target(), generator=torch.Generator(), **wrong)


def test_without_choices_a_hundred_estimates_have_a_thousand_samples_of_each_component():
    class Same(Mixture):
        def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> Given:
            self.asked.append(particles)
            return Given(torch.zeros((2, particles, 4), dtype=torch.float64))

    mixture = Same()
    found = evaluate(mixture, Target(), generator=torch.Generator())
    assert sum(mixture.asked) == 100 * 1_000
    assert (found.pooled.importance_samples, found.pooled.repeats) == (1_000, 100)
    assert found.effective_sample_size == pytest.approx(2_000)


def test_estimates_of_a_mixture_of_unequal_weights():
    pi = (0.7, 0.3)

    def average(values):
        return sum(share * value for share, value in zip(pi, values, strict=True))

    found = evaluate(Unequal(), Target(), importance_samples=3, repeats=3, generator=torch.Generator())
    rows = [weights(r, pi) for r in range(3)]
    published = [average([math.log(mean(row)) for row in of_repeat]) for of_repeat in rows]
    pooled = [math.log(average([mean(row) for row in of_repeat])) for of_repeat in rows]
    bounds = [average([mean([math.log(w) for w in row]) for row in of_repeat]) for of_repeat in rows]
    for form, expected in ((found.published, published), (found.pooled, pooled)):
        assert (form.mean, form.sd) == pytest.approx((mean(expected), deviation(expected)), rel=1e-12)
    assert found.elbo == pytest.approx(mean(bounds), rel=1e-12)
    assert found.elbo_standard_error == pytest.approx(deviation(bounds) / math.sqrt(3), rel=1e-12)
    counted = [[[2 * share * w for w in row] for share, row in zip(pi, of_repeat, strict=True)] for of_repeat in rows]
    flat_rows = [[w for row in of_repeat for w in row] for of_repeat in counted]
    assert found.effective_sample_size == pytest.approx(mean([sum(r) ** 2 / sum(w * w for w in r) for r in flat_rows]), rel=1e-12)
    assert torch.exp(found.log_weights).tolist() == [pytest.approx(row, rel=1e-12) for row in counted[2]]


def test_the_error_of_one_repeat_of_unequal_weights_is_that_of_each_component():
    pi = (0.7, 0.3)
    found = evaluate(Unequal(), Target(), importance_samples=3, repeats=1, generator=torch.Generator())
    of_components = [deviation([math.log(w) for w in row]) ** 2 / 3 for row in weights(0, pi)]
    expected = math.sqrt(sum(share**2 * variance for share, variance in zip(pi, of_components, strict=True)))
    assert found.elbo_standard_error == pytest.approx(expected, rel=1e-12)


def test_two_repeats_have_a_deviation():
    found = evaluate(Mixture(), Target(), importance_samples=3, repeats=2, generator=torch.Generator())
    pooled = [math.log(mean(flat(r))) for r in range(2)]
    assert found.pooled.sd == pytest.approx(deviation(pooled), rel=1e-12)

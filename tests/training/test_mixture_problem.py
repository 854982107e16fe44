"""The problem that trees and toys share: weights, batches, validation."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import ComponentDraw, Estimator
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.problem import Validates

LOG_P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log() - 1.5


class TableDraws(NamedTuple):
    index: Tensor
    log_q: Tensor


class Table:
    """Target: three states with probabilities times e^-1.5, whose log evidence is -1.5."""

    def log_likelihood(self, draws: TableDraws) -> Tensor:
        return LOG_P[draws.index]

    def log_prior(self, draws: TableDraws) -> Tensor:
        return torch.zeros((), dtype=torch.float64)


class PointMasses:
    """Component a is the one state a: MISELBO is exact for any draw, sum_a pi_a (log p_a - log pi_a)."""

    n_components = 3

    def __init__(self, log_weights: Tensor | None = None, batch: tuple[int, ...] = ()) -> None:
        self.log_weights = log_weights
        self.batch = batch

    def parameter_groups(self):
        return [{"name": "weights", "params": [] if self.log_weights is None else [self.log_weights]}]

    def state_dict(self):
        return {"log_weights": self.log_weights}

    def load_state_dict(self, state):
        self.log_weights = state["log_weights"]

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> TableDraws:
        ones = [1] * len(self.batch)
        shape = (len(draw.sampled), particles, *self.batch)
        index = draw.sampled.view(-1, 1, *ones).expand(shape)
        same = index.unsqueeze(2) == draw.evaluated.view(1, 1, -1, *ones)
        log_q = torch.where(same, 0.0, -torch.inf).to(torch.float64)
        return TableDraws(index, log_q)


def problem(mixture: PointMasses, estimator: Estimator = Estimator.A2A, S: int = 3) -> MixtureProblem:
    return MixtureProblem("toy", Table(), mixture, estimator=estimator, sampled=S, particles=2, gradient="pathwise")


def test_uniform_weights(generator):
    uniform = float(LOG_P.mean()) + torch.tensor(3.0).log().item()
    made = problem(PointMasses())
    assert isinstance(made, Validates)
    assert made.validate(1, generator)["miselbo"] == pytest.approx(uniform, abs=1e-6)
    assert made.objective(1, 1.0, generator).bound.item() == pytest.approx(uniform, abs=1e-6)


class Coins(PointMasses):
    """The first component draws its state or the next one, as its own coins say; the others do as before."""

    n_components = 2

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> TableDraws:
        index = torch.tensor([[0, 1, 1, 2, 0, 2, 1, 0], [2, 1, 0, 0, 1, 2, 0, 0]])
        assert particles == 8
        log_q = torch.tensor([0.25, 0.35, 0.4], dtype=torch.float64).log()[index].unsqueeze(2).expand(-1, -1, 2)
        return TableDraws(index, log_q)


@pytest.mark.parametrize(("L", "particles"), [(1, 16), (2, 16), (4, 17), (4, 3)])
def test_the_error_of_a_validation_is_that_of_its_groups(generator, L, particles):
    """A group has L particles of each component, and is one independent estimate; there are two at least."""
    made = MixtureProblem(
        "toy", Table(), Coins(), estimator=Estimator.A2A, sampled=2, particles=1, gradient="pathwise",
        importance_samples=L, validation_particles=particles,
    )  # fmt: skip
    p, q = [0.5, 0.3, 0.2], [0.25, 0.35, 0.4]
    drawn = [[p[k] / q[k] * math.exp(-1.5) for k in row] for row in ([0, 1, 1, 2, 0, 2, 1, 0], [2, 1, 0, 0, 1, 2, 0, 0])]
    groups = 8 // L
    bounds = [
        sum(math.log(sum(row[g * L : (g + 1) * L]) / L) for row in drawn) / 2 for g in range(groups)
    ]
    mean = sum(bounds) / groups
    error = math.sqrt(sum((x - mean) ** 2 for x in bounds) / (groups - 1) / groups)
    found = made.validate(1, generator)
    assert found["miselbo"] == pytest.approx(mean, rel=1e-12)
    assert found["miselbo_se"] == pytest.approx(error, rel=1e-12)


def test_with_vimco_a_validation_averages_k_particles_inside_the_logarithm(generator):
    made = MixtureProblem("toy", Table(), Coins(), estimator=Estimator.A2A, sampled=2, particles=4, validation_particles=16)
    expected = MixtureProblem(
        "toy", Table(), Coins(), estimator=Estimator.A2A, sampled=2, particles=1, gradient="pathwise", importance_samples=4,
        validation_particles=16,
    )  # fmt: skip
    assert made.validate(1, generator) == expected.validate(1, generator)


def test_the_best_weights_reach_the_evidence(generator):
    weights = (LOG_P + 7.0).requires_grad_()  # need not be normalised
    made = problem(PointMasses(weights))
    assert made.estimate(100, generator).mean == pytest.approx(-1.5)
    made.objective(1, 1.0, generator).backward()
    torch.testing.assert_close(weights.grad, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
def test_weighted_components_are_drawn_by_their_weights(estimator):
    weights = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log().requires_grad_()
    made = problem(PointMasses(weights), estimator, 1)
    generator = torch.Generator().manual_seed(1)
    bounds = torch.stack([made.objective(1, 1.0, generator).bound for _ in range(4_000)])
    shares = torch.softmax(weights.detach(), 0)
    per_component = LOG_P - shares.log() if estimator is Estimator.S2A else LOG_P
    error = 4.0 * float(bounds.std()) / 4_000**0.5
    assert float(bounds.mean()) == pytest.approx(float(shares @ per_component), abs=error)


class Counted(PointMasses):
    """One component, which remembers how many particles were drawn."""

    n_components = 1
    drawn = 0

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> TableDraws:
        self.drawn += particles
        return super().sample(draw, particles, generator)


def test_a_validation_takes_a_thousand_particles(generator):
    """As many whole groups of seven as there are in them."""
    made = MixtureProblem("toy", Table(), Counted(), estimator=Estimator.A2A, sampled=1, particles=7)
    made.validate(1, generator)
    assert made.mixture.drawn == 142 * 7


class Shifted(Table):
    """A target with a parameter, which is added to its log prior."""

    def __init__(self, shift: float) -> None:
        self.shift = torch.tensor(shift, dtype=torch.float64, requires_grad=True)

    def log_prior(self, draws: TableDraws) -> Tensor:
        return self.shift

    def parameters(self):
        return {"shift": self.shift}

    def parameter_groups(self):
        return [{"name": "shift", "params": [self.shift]}]

    def state_dict(self):
        return {"shift": self.shift.detach()}

    def load_state_dict(self, state):
        with torch.no_grad():
            self.shift.copy_(state["shift"])


def test_parameters_of_a_target_are_trained_and_kept(generator):
    made, other = (
        MixtureProblem("toy", Shifted(shift), PointMasses(), estimator=Estimator.A2A, sampled=3, particles=2)
        for shift in (0.25, -1.0)
    )
    assert [group["name"] for group in made.parameter_groups()] == ["weights", "shift"]
    assert [group["name"] for group in problem(PointMasses()).parameter_groups()] == ["weights"]
    assert made.estimate(50, generator).mean == pytest.approx(problem(PointMasses()).estimate(50, generator).mean + 0.25)
    other.load_state_dict(made.state_dict())
    assert other.target.shift.item() == 0.25
    assert set(problem(PointMasses()).state_dict()) == {"log_weights"}


def test_direct_gradients_are_refused_where_there_are_none():
    """Of a target that has them, they are those of whole gradients and of a bound that is not tempered by its KL term."""
    given = {"estimator": Estimator.A2A, "sampled": 3, "particles": 2, "direct": True}
    for mixture in (PointMasses(), PointMasses(torch.zeros(3))):
        MixtureProblem("toy", Table(), mixture, **given)
    for changed in ({"gradient": "pathwise"}, {"warm_up": "kl"}):
        with pytest.raises(ConfigError, match="give direct=False"):
            MixtureProblem("toy", Table(), PointMasses(), **given, **changed)


def test_a_batch_is_trained_on_its_mean(generator):
    made = problem(PointMasses(batch=(4,)))
    bound = made.objective(1, 1.0, generator).bound
    assert bound.ndim == 0
    assert bound.item() == pytest.approx(problem(PointMasses()).objective(1, 1.0, generator).bound.item())
    assert made.estimate(50, generator).mean == pytest.approx(bound.item())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="S"):
        problem(PointMasses(), Estimator.S2A, 4)
    with pytest.raises(ConfigError, match="K=0"):
        MixtureProblem("toy", Table(), PointMasses(), estimator=Estimator.A2A, sampled=3, particles=0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240611)

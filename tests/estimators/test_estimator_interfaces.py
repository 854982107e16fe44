"""A toy that meets the protocols, run through the whole core; and the core imports no problem."""

import ast
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vbpi_mix.estimators
from vbpi_mix.estimators import (
    ComponentDraw,
    Draws,
    Estimator,
    ScoredDraws,
    Target,
    VariationalMixture,
    draw_components,
    log_importance_weights,
    pathwise_objective,
)


@dataclass
class Points:
    x: Tensor  # [S, K]
    log_q: Tensor  # [S, K, R]


class Gaussians:
    """Unit normals with learned means."""

    def __init__(self, A: int) -> None:
        self.means = torch.linspace(-1, 1, A, dtype=torch.float64).requires_grad_()

    @property
    def n_components(self) -> int:
        return len(self.means)

    def sample(self, draw: ComponentDraw, particles: int, generator: torch.Generator) -> Points:
        noise = torch.randn(len(draw.sampled), particles, generator=generator, dtype=torch.float64)
        x = self.means[draw.sampled].unsqueeze(1) + noise
        distance = x.unsqueeze(2) - self.means[draw.evaluated]
        return Points(x, -0.5 * distance.square() - 0.5 * math.log(2 * math.pi))


class Normal:
    """Likelihood N(1; z, 1), prior N(0, 1)."""

    def log_likelihood(self, draws: Points) -> Tensor:
        return -0.5 * (draws.x - 1).square() - 0.5 * math.log(2 * math.pi)

    def log_prior(self, draws: Points) -> Tensor:
        return -0.5 * draws.x.square() - 0.5 * math.log(2 * math.pi)


def one_step(
    target: Target[Points], mixture: VariationalMixture[Points], estimator: Estimator, g: torch.Generator
):
    draws = mixture.sample(draw_components(estimator, mixture.n_components, 2, g), 8, g)
    log_w = log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)
    return pathwise_objective(log_w)


@pytest.mark.parametrize("estimator", [Estimator.S2A, Estimator.S2S])
def test_every_evaluated_component_gets_its_gradient(estimator, generator):
    mixture = Gaussians(4)
    objective = one_step(Normal(), mixture, estimator, generator)
    objective.surrogate.backward()
    touched = int((mixture.means.grad != 0).sum())
    assert touched == estimator.n_evaluated(4, 2)


def test_protocols_can_be_checked_at_run_time(generator):
    mixture = Gaussians(2)
    draws = mixture.sample(draw_components(Estimator.A2A, 2, None, None), 3, generator)
    assert isinstance(mixture, VariationalMixture)
    assert isinstance(Normal(), Target)
    assert isinstance(draws, Draws)
    assert not isinstance(draws, ScoredDraws)


def test_the_core_imports_torch_and_errors_only():
    allowed = {"torch", "vbpi_mix.errors", *sys.stdlib_module_names}
    for path in Path(vbpi_mix.estimators.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.startswith("vbpi_mix.estimators") or {name, name.split(".")[0]} & allowed, (
                    path,
                    name,
                )

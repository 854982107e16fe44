"""A problem small enough to check the trainer on: fit a Gaussian to a Gaussian, whose log Z is 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

TARGET_MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
LOG_TWO_PI = math.log(2.0 * math.pi)


class LocalObjective(NamedTuple):
    bound: torch.Tensor
    surrogate: torch.Tensor

    @property
    def signs(self) -> tuple[float, ...]:
        return (self.bound.item(),)

    def backward(self) -> None:
        self.surrogate.backward()


class GaussianProblem:
    """Target: N(TARGET_MEAN, 1). Variational: N(mean, exp(log_scale)^2), reparameterised, 8 samples.

    `before` is called with the iteration before each objective; `bound_of` replaces the bound.
    """

    kind = "toy"

    def __init__(
        self,
        before: Callable[[int], None] | None = None,
        bound_of: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.mean = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        self.log_scale = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
        self._before = before
        self._bound_of = bound_of

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"name": "mean", "params": [self.mean]},
            {"name": "scale", "params": [self.log_scale], "multiplier": 0.5},
        ]

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> LocalObjective:
        if self._before is not None:
            self._before(iteration)
        noise = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        draw = self.mean + self.log_scale.exp() * noise
        log_p = -0.5 * ((draw - TARGET_MEAN) ** 2 + LOG_TWO_PI).sum(1)
        log_q = -(0.5 * noise**2 + self.log_scale + 0.5 * LOG_TWO_PI).sum(1)
        value = (beta * log_p - log_q).mean()
        bound = value.detach()
        if self._bound_of is not None:
            bound = self._bound_of(iteration, bound)
        return LocalObjective(bound, -value)

    def state_dict(self) -> Mapping[str, Any]:
        return {"mean": self.mean, "log_scale": self.log_scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.mean.copy_(state["mean"])
            self.log_scale.copy_(state["log_scale"])


class ValidatedProblem(GaussianProblem):
    """The same, with a "validation" whose values are given beforehand."""

    metric_names = ("held_out", "state")

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.states: list[float] = []
        self.noise: list[float] = []

    def validate(self, iteration: int, generator: torch.Generator) -> dict[str, float]:
        self.noise.append(torch.rand((), generator=generator).item())
        self.states.append(self.mean[0].item())
        return {"held_out": self.values[len(self.states) - 1], "state": self.states[-1]}

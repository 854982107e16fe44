"""Inverse autoregressive flow in the plane: a Gaussian that T affine autoregressive steps bend.

The steps are zuko's masked autoregressive transforms (a MADE of two hidden layers of 10 units each), used in
the direction in which sampling is one pass. Their order alternates: with one order throughout, the first
coordinate would stay Gaussian however many steps there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vbpi_mix.toy.gaussians import ComponentSelection, PlaneDraws
from vbpi_mix.toy.targets import LOG_TWO_PI

HIDDEN = (10, 10)
# The networks' share of the learning rate that the Gaussians of the same experiment use.
NETWORK_MULTIPLIER = 0.02


class InverseAutoregressiveFlow:
    """T steps on a learnable diagonal Gaussian, which starts as the standard one; float64.

    To the estimators it is a mixture of one component. `generator` draws the initial networks.
    """

    n_components = 1

    def __init__(self, steps: int, generator: torch.Generator) -> None:
        from zuko.flows import MaskedAutoregressiveTransform

        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # zuko draws from torch's global generator
            torch.manual_seed(seed)
            steps_ = [
                MaskedAutoregressiveTransform(2, order=_order(step), hidden_features=HIDDEN) for step in range(steps)
            ]
        self.steps = torch.nn.ModuleList(steps_).double()
        self.mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        self.log_variance = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The base Gaussian, and the networks."""
        networks = list(self.steps.parameters())
        return [
            {"name": "base", "params": [self.mean, self.log_variance]},
            {"name": "networks", "params": networks, "multiplier": NETWORK_MULTIPLIER},
        ]

    def state_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        steps = dict(self.steps.state_dict())
        return {"mean": self.mean, "log_variance": self.log_variance, "steps": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy into the parameters."""
        with torch.no_grad():
            self.mean.copy_(state["mean"])
            self.log_variance.copy_(state["log_variance"])
        self.steps.load_state_dict(state["steps"])

    def sample(self, draw: ComponentSelection, particles: int, generator: torch.Generator) -> PlaneDraws:
        """K particles and their log-densities: z [1, K, 2], log_q [1, K, 1]."""
        noise = torch.randn((particles, 2), generator=generator, dtype=torch.float64)
        log_q = -0.5 * (noise**2 + self.log_variance).sum(-1) - LOG_TWO_PI
        z = self.mean + noise * torch.exp(0.5 * self.log_variance)
        for step in self.steps:
            z, log_stretch = step().call_and_ladj(z)
            log_q = log_q - log_stretch
        return PlaneDraws(z.unsqueeze(0), log_q.view(1, -1, 1))

    def positions(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions [draws, 2] and labels 0."""
        only = torch.zeros(1, dtype=torch.long)
        with torch.no_grad():
            z = self.sample(_Only(only, only), draws, generator).z[0]
        return z, torch.zeros(draws, dtype=torch.long)


class _Only(NamedTuple):
    """The selection of the only component."""

    sampled: Tensor
    evaluated: Tensor


def _order(step: int) -> list[int]:
    return [0, 1] if step % 2 == 0 else [1, 0]

"""What a domain brings to the trainer: parameters, an objective, its state; validation if it has any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.training.adam import Optimiser, make_adam


class ObjectiveLike(Protocol):
    """The values of one iteration (estimators.gradients.Objective has this shape)."""

    @property
    def bound(self) -> torch.Tensor:
        """Detached scalar, higher is better."""
        ...

    @property
    def signs(self) -> tuple[float, ...]:
        """What must have stopped rising before training has converged."""
        ...

    def backward(self) -> Mapping[torch.Tensor, Any] | None:
        """Minus the estimate of the bound's gradient: returned by parameter, a tensor of its shape or a RowGradient
        (vbpi_mix.gradients), or left in the `.grad` of parameters that are not returned.
        """
        ...


class Problem(Protocol):
    """A model to train. All randomness comes from the generator that `objective` is given."""

    @property
    def kind(self) -> str:
        """What the checkpoint is of: "phylo", "toy", "image" or "cells"."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups with a "name", "params" (leaf tensors) and a learning-rate "multiplier" (1 if absent); and what more the
        optimiser knows (training.adam.make_adam).
        """
        ...

    def objective(self, iteration: int, beta: float, generator: torch.Generator) -> ObjectiveLike:
        """Bound and gradient estimate of iteration t >= 1 at inverse temperature beta."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """All that makes the model: tensors and plain containers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Take over a `state_dict`, into the same parameter tensors."""
        ...


@runtime_checkable
class BringsOptimiser(Protocol):
    """A problem with an optimiser of its own, e.g. one that touches only the rows that a batch touched."""

    def make_optimiser(self, groups: list[dict[str, Any]]) -> Optimiser:
        """The optimiser of these groups; their multipliers include those of the configuration."""
        ...


@runtime_checkable
class Validates(Protocol):
    """A problem that is also measured on held-out data every `validate_every` iterations."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics, which are also columns of the trace; the first one is watched by default."""
        ...

    def validate(self, iteration: int, generator: torch.Generator) -> Mapping[str, float]:
        """The metrics now. The generator is seeded by run and iteration, and apart from that of training."""
        ...


def scaled_groups(problem: Problem, multipliers: Mapping[str, float]) -> list[dict[str, Any]]:
    """The problem's parameter groups, their multipliers times those given by name.

    ConfigError for a name that no group has.
    """
    groups = problem.parameter_groups()
    names = [str(group.get("name", "")) for group in groups]
    for name in multipliers:
        if name not in names:
            raise ConfigError(f"no parameter group is named {name!r}; there are {', '.join(names)}")
    return [
        {**group, "multiplier": group.get("multiplier", 1.0) * multipliers.get(name, 1.0)}
        for group, name in zip(groups, names, strict=True)
    ]


def make_optimiser(problem: Problem, groups: list[dict[str, Any]]) -> Optimiser:
    """The problem's own optimiser, if it brings one; otherwise Adam."""
    if isinstance(problem, BringsOptimiser):
        return problem.make_optimiser(groups)
    return make_adam(groups)

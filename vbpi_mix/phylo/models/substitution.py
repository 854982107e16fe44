"""The contract of a substitution model, and the registry of models by name.

Everything else (posterior, sampler, simulation, other programs) asks a model for what it needs and knows none by name.
A new model is a file with a subclass and a line in SUBSTITUTION_MODELS: a subclass of `reversible.ReversibleModel` if a
rate matrix says it all, of `StationaryModel` if it has kernels. The built-in sampler has kernels for JC69 and
for parts with a held model (models/held.py); for a model that is neither, trees come from files or another program.

Shapes: n taxa, T trees, E = 2n-3 edges; children int32 [T, n-2, 2] and lengths float64 [T, E], in substitutions per site.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from vbpi_mix.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vbpi_mix.phylo.data.site_patterns import SitePatterns
    from vbpi_mix.phylo.models.held import HeldPart

# Where each model is; imported when it is asked for, so that a command line can list the names cheaply.
SUBSTITUTION_MODELS = {"JC69": "vbpi_mix.phylo.models.jukes_cantor:JukesCantor"}
DEFAULT_MODEL = "JC69"


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Of T trees: log-likelihoods [T], their derivatives in the lengths [T, E], and in each parameter of the model, by
    name, [T, *shape of the parameter].
    """

    values: np.ndarray
    length_slopes: np.ndarray
    parameter_slopes: Mapping[str, np.ndarray] = field(default_factory=dict)


class SubstitutionModel(ABC):
    """A model of how characters change along branches, and its parameters, of which there may be none.

    name       as in SUBSTITUTION_MODELS
    iqtree     the model in IQ-TREE's words, after -m
    mrbayes    lines of a MrBayes block that set it
    """

    name: ClassVar[str]
    iqtree: ClassVar[str]
    mrbayes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def pack(self, patterns: SitePatterns) -> Any:
        """The site patterns as this model's likelihoods take them."""

    @abstractmethod
    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> np.ndarray:
        """Log-likelihoods [T]."""

    @abstractmethod
    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: Any) -> Likelihoods:
        """Log-likelihoods and all their derivatives, in arrays of the caller's own."""

    @abstractmethod
    def work_of(self, packed: Any) -> float:
        """Of one taxon, about: the number of patterns under JC69, and as many times that as another model takes longer."""

    def to(self, device: str) -> None:
        """Compute likelihoods on another device (device.DEVICES) from the next `pack` on. ConfigError if it cannot."""
        if device != "cpu":
            raise ConfigError(f"--device {device}: {self.name} has kernels for processors alone; leave it out")

    @property
    def held_parts(self) -> tuple[HeldPart, ...]:
        """What the built-in sampler needs of a model that has no kernels of its own; nothing of one that has."""
        return ()

    @property
    def shared_as(self) -> int | None:
        """The number by which other processes know the posterior, if they do (models/shared.py)."""
        return None

    def parameters(self) -> Mapping[str, Tensor]:
        """What is learned, by name; nothing, unless a model says otherwise."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters' values."""
        return {name: tensor.detach().clone() for name, tensor in self.parameters().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the parameters. Raises CheckpointError if the state is not of this model's parameters."""
        own = self.parameters()
        if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in state.items()}:
            raise CheckpointError(f"the state holds {sorted(state)}: {self.name} has the parameters {sorted(own)}")
        for name, tensor in own.items():
            tensor.data.copy_(state[name])


class StationaryModel(SubstitutionModel):
    """A model by which all characters evolve alike, so that they can be drawn.

    n_states   of a character
    """

    n_states: ClassVar[int] = 4

    @abstractmethod
    def frequencies(self) -> np.ndarray:
        """Of the states in equilibrium, [n_states]."""

    @abstractmethod
    def transition_matrices(self, lengths: np.ndarray | float) -> np.ndarray:
        """P [..., n_states, n_states] of lengths [...]: rows are the state before, columns the state after."""

    def draw_states(self, sites: int, rng: np.random.Generator) -> np.ndarray:
        """States uint8 [sites] from the equilibrium."""
        return rng.choice(self.n_states, sites, p=self.frequencies()).astype("uint8")

    def evolve(self, states: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
        """States uint8 [sites] at the far end of a branch that has `states` at its near end."""
        cumulative = self.transition_matrices(length).cumsum(axis=-1)[states]
        wanted = rng.random(states.size)[:, None] * cumulative[:, -1:]
        return (wanted >= cumulative).sum(axis=1).astype("uint8")


def substitution_model(name: str = DEFAULT_MODEL) -> StationaryModel:
    """A model by its name. Raises ConfigError for an unknown name."""
    if name not in SUBSTITUTION_MODELS:
        raise ConfigError(f"substitution model {name!r}: choose one of {', '.join(SUBSTITUTION_MODELS)}")
    module, _, kind = SUBSTITUTION_MODELS[name].partition(":")
    made: StationaryModel = getattr(importlib.import_module(module), kind)()
    return made

"""The contract of a base density of log branch lengths, and the registry of base densities.

A base density gives each edge of a tree a log-length, less a constant shift, from random numbers and from the sum of the
feature rows of the edge (its split, and the primary subsplit pairs at its ends). It is stateless: the tables of features
belong to the mixture and are handed in. A new one is a file that meets `BaseDensity`, its kernels, and a line in BASES.

Shapes: T trees, E edges, R components evaluated, C columns of the feature table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from vbpi_mix.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vbpi_mix.gradients import RowGradient

# Name -> module and class. No module is imported before its base density is asked for.
BASES = {
    "gamma": "vbpi_mix.phylo.branches.gamma:Gamma",
    "lognormal": "vbpi_mix.phylo.branches.lognormal:LogNormal",
}


@dataclass(frozen=True, eq=False)
class EdgeBatch:
    """T trees whose lengths are drawn and evaluated.

    rows int32 [T, E, 3], the features of each edge, -1 for none; evaluated int64 [R], the components evaluated; own int64
    [T], which of these draws each tree; threads that a kernel may use where it is worth it.
    """

    rows: np.ndarray
    evaluated: np.ndarray
    own: np.ndarray
    threads: int


class BasePass(Protocol):
    """What `sample` made, with all that its gradient needs; nothing that happens later changes it."""

    @property
    def draws(self) -> np.ndarray:
        """float64 [T, E], log-lengths less the shift."""
        ...

    @property
    def log_q(self) -> np.ndarray:
        """float64 [T, R], the log density of the draws under each evaluated component, in log-lengths."""
        ...


class LengthApproximation(Protocol):
    """Gamma approximations of the lengths of T trees (approximation.GammaApproximations): density proportional to
    b^(shape - 1) exp(-shape b / exp(mode)).
    """

    @property
    def mode(self) -> np.ndarray:
        """[T, E], of the log-length."""
        ...

    @property
    def shape(self) -> np.ndarray:
        """[T, E], of the length."""
        ...


class BaseDensity(Protocol):
    """A family of densities of log branch lengths."""

    @property
    def name(self) -> str:
        """As in BASES."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """What each column of a feature table is."""
        ...

    @property
    def shift(self) -> float:
        """What is added to a draw, or to what a flow makes of it, to have the natural logarithm of a length."""
        ...

    def initial_features(self, n_features: int, n_components: int, generator: torch.Generator) -> torch.Tensor:
        """Random tables float64 [A, n_features, C]; a leaf with gradient."""
        ...

    def noise(self, trees: int, edges: int, generator: torch.Generator) -> np.ndarray:
        """The random numbers that `sample` takes for so many trees, first dimension T, from the generator in an order that
        does not depend on threads.
        """
        ...

    def sample(self, features: np.ndarray, batch: EdgeBatch, noise: np.ndarray) -> BasePass:
        """Draws of each tree's own component, and their densities under all R, from tables float64 [A, n_features, C]."""
        ...

    def pull_back(self, done: BasePass, draws: np.ndarray, log_q: np.ndarray) -> RowGradient:
        """The gradient of the tables, flattened to [A * n_features, C], as the rows that the trees touch in each evaluated
        component; given those with respect to the draws [T, E] and to log_q [T, R].
        """
        ...

    def features_of(self, approximation: LengthApproximation) -> np.ndarray:
        """What the sums of an edge's features must be, [T, E, C], to come nearest to an approximation."""
        ...

    def summaries(self, sums: np.ndarray) -> Mapping[str, np.ndarray]:
        """Of the sums of features [..., C] of edges, what a report says of their lengths: "median", "mean" and "log_sd",
        the standard deviation of the log-length, each [...]. Of the base density: a flow is left out.
        """
        ...


def make_base(name: str = "lognormal") -> BaseDensity:
    """The base density of that name. ConfigError for another name."""
    if name not in BASES:
        raise ConfigError(f"base density {name!r} is unknown: give {' or '.join(BASES)}")
    module, _, attribute = BASES[name].partition(":")
    made: Any = getattr(import_module(module), attribute)()
    base: BaseDensity = made
    return base

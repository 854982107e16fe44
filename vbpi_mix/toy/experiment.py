"""What one call of `vbpi-mix toy` does: a target and the approximations to train on it, as plain choices.

A is the size of each approximation: components of a mixture, members of an ensemble, importance samples of
IWVI, steps of a flow. Everything here is checked when it is made, and survives a round trip through YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.sizes import check_memory

APPROXIMATIONS = ("mixture", "ensemble", "iwvi", "iaf")
WEIGHTS = ("uniform", "learned")
PRESETS = ("fig3",)
KIND = "toy"
VALIDATE_EVERY = 100
CURVE_POINTS = 50


@dataclass(frozen=True)
class Recipe:
    """How the experiments on a target were published, and what a plain call trains.

    quick_learning_rate: of a plain call, which has a fifth of the iterations to come as far.
    """

    iterations: int
    learning_rate: float
    quick_learning_rate: float
    K: int
    A: int
    approximations: tuple[str, ...]
    estimator: str


RECIPES = {
    "funnel": Recipe(50_000, 0.001, 0.005, 10, 20, ("mixture",), "s2a"),
    "ring": Recipe(5_000, 0.1, 0.1, 100, 30, APPROXIMATIONS, "a2a"),
    "bimodal": Recipe(5_000, 0.1, 0.1, 100, 30, APPROXIMATIONS, "a2a"),
}
# A plain call trains for this share of the published iterations.
DEFAULT_SHARE = 5


@dataclass(frozen=True)
class Member:
    """One approximation to train. S, estimator and weights are of a mixture; the others have none.

    Whether A, S and the estimator fit together is the trainer's problem to say.
    """

    approximation: str
    A: int
    S: int | None = None
    estimator: str | None = None
    weights: str = "uniform"

    def __post_init__(self) -> None:
        _one_of("approximation", self.approximation, APPROXIMATIONS)
        _one_of("weights", self.weights, WEIGHTS)
        _check_whole(A=self.A, **({} if self.S is None else {"S": self.S}))
        if self.A < 1:
            raise ConfigError(f"A={self.A}: give at least 1")
        if self.approximation != "mixture":
            if self.S is not None or self.estimator is not None or self.weights != "uniform":
                raise ConfigError(f"S, estimator and weights are choices of a mixture: {self.approximation} has none")
        elif self.estimator is None:
            raise ConfigError("estimator is missing: a mixture is trained with one")

    @property
    def label(self) -> str:
        """For people: "S2A A=20 S=1"."""
        if self.approximation != "mixture":
            letter = {"ensemble": "A", "iwvi": "L", "iaf": "T"}[self.approximation]
            name = "ensemble" if self.approximation == "ensemble" else self.approximation.upper()
            return f"{name} {letter}={self.A}"
        sizes = f"A={self.A}" if self.S is None else f"A={self.A} S={self.S}"
        learned = " learned weights" if self.weights == "learned" else ""
        return f"{(self.estimator or '').upper()} {sizes}{learned}"

    @property
    def full_label(self) -> str:
        """The same beside other approximations: "mixture, A2A A=30"."""
        return f"mixture, {self.label}" if self.approximation == "mixture" else self.label

    @property
    def importance_samples(self) -> int:
        """L."""
        return self.A if self.approximation == "iwvi" else 1

    @property
    def slug(self) -> str:
        """For files: "s2a-a20-s1"."""
        return self.label.lower().replace("=", "").replace(" ", "-")


@dataclass(frozen=True)
class Experiment:
    """Approximations of one target, trained one after the other with the same seed.

    K: particles per sampled component (for IWVI: groups of L). learning_rate stays constant.
    validate_every: iterations between two points of the curve. ConfigError for a choice out of range.
    """

    target: str
    members: tuple[Member, ...]
    iterations: int
    K: int
    learning_rate: float
    seed: int = 1
    validate_every: int = VALIDATE_EVERY
    sequential_energy: bool = False
    preset: str | None = None

    def __post_init__(self) -> None:
        _one_of("target", self.target, tuple(RECIPES))
        if self.preset is not None:
            _one_of("preset", self.preset, PRESETS)
        _check_whole(K=self.K, seed=self.seed, iterations=self.iterations, validate_every=self.validate_every)
        if isinstance(self.learning_rate, bool) or not isinstance(self.learning_rate, int | float):
            raise ConfigError(f"learning_rate={self.learning_rate!r}: give a number")
        if self.K < 1:
            raise ConfigError(f"K={self.K}: give at least 1 particle per component")
        if self.sequential_energy and self.target != "funnel":
            raise ConfigError("sequential_energy needs the funnel: the other targets have no data")
        for member in self.members:
            drawn = (member.S or member.A) * self.K
            check_memory(8.0 * (100 * member.A + 4 * drawn * member.A), f"{member.label}, K={self.K:,}")
        if len({member.slug for member in self.members}) != len(self.members):
            raise ConfigError("an approximation is named twice: name each once")

    def training(self) -> dict[str, Any]:
        """The choices that are the trainer's: a constant learning rate, no tempering."""
        return {
            "iterations": self.iterations,
            "learning_rate": self.learning_rate,
            "final_learning_rate_factor": 1.0,
            "tempering_iterations": 0,
            "validate_every": self.validate_every,
            "trace_every": self.validate_every,
            "seed": self.seed,
            "threads": 1,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        values = dataclasses.asdict(self)
        values["members"] = [dataclasses.asdict(member) for member in self.members]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """The inverse of `to_dict`. ConfigError if it is not one."""
        try:
            members = tuple(Member(**_whole(Member, member)) for member in values["members"])
            return cls(**{**_whole(cls, values), "members": members})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"this is not the configuration of a toy experiment ({error})") from error


def _check_whole(**numbers: Any) -> None:
    """ConfigError unless all are whole numbers: a damaged configuration may have anything."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{name}={value!r}: give a whole number")


def _whole(kind: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, if none of a dataclass is missing. KeyError, naming it, if one is: a default need not be what it was."""
    for field in dataclasses.fields(kind):
        values[field.name]
    return values


def plan(
    target: str = "funnel",
    preset: str | None = None,
    approximations: tuple[str, ...] = (),
    A: int | None = None,
    S: int | None = None,
    K: int | None = None,
    estimator: str | None = None,
    weights: str | None = None,
    iterations: int | None = None,
    full: bool = False,
    learning_rate: float | None = None,
    seed: int = 1,
    sequential_energy: bool = False,
) -> Experiment:
    """The experiment that these choices ask for; None takes the published value of the target.

    `full` is the published number of iterations at the published learning rate; otherwise it is a fifth of
    them, or `iterations`, at the quick one. ConfigError if choices do not fit together.
    """
    _one_of("target", target, tuple(RECIPES))
    recipe = RECIPES[target]
    if full and iterations is not None:
        raise ConfigError("full and iterations both say how long to train: give one of them")
    if iterations is None:
        iterations = recipe.iterations if full else recipe.iterations // DEFAULT_SHARE
    if learning_rate is None:
        learning_rate = recipe.learning_rate if full else recipe.quick_learning_rate
    if preset is None:
        names = approximations or recipe.approximations
        members = tuple(_member(name, recipe, A, S, estimator, weights) for name in names)
        if "mixture" not in names and not (S is None and estimator is None and weights is None):
            raise ConfigError("S, estimator and weights are choices of a mixture: name it, or leave them out")
    else:
        _one_of("preset", preset, PRESETS)
        if target != "funnel" or approximations or not (A is S is estimator is weights is None):
            raise ConfigError(f"preset {preset} fixes target, approximations, A, S, estimator and weights")
        members = FIG3
    return Experiment(
        target=target,
        members=members,
        iterations=iterations,
        K=recipe.K if K is None else K,
        learning_rate=learning_rate,
        seed=seed,
        validate_every=min(VALIDATE_EVERY, max(1, iterations // CURVE_POINTS)),
        sequential_energy=sequential_energy,
        preset=preset,
    )


def _member(
    name: str, recipe: Recipe, A: int | None, S: int | None, estimator: str | None, weights: str | None
) -> Member:
    """One member with the choices that concern it; S2A samples one component unless told otherwise."""
    A = recipe.A if A is None else A
    if name != "mixture":
        return Member(name, A)
    estimator = recipe.estimator if estimator is None else estimator.lower()
    if S is None and estimator == "s2a":
        S = 1
    return Member(name, A, S, estimator, weights or "uniform")


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what} {value!r} is unknown: give one of {', '.join(allowed)}")


FIG3 = (
    Member("mixture", 5, None, "a2a"),
    Member("mixture", 5, 2, "s2a"),
    Member("mixture", 5, 2, "s2s"),
    Member("mixture", 20, 1, "s2a"),
    Member("mixture", 20, 5, "s2s"),
)

"""Parameters of models as real numbers: what each kind is mapped to, its prior density there, and slopes.

Shapes: M parameter vectors; K proportions. Densities are of the real numbers: the Jacobian of the map is in them, and so
are all constants.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.errors import ConfigError

# Log-ratios, logits and log shapes beyond are taken to be at the limit: 4e-18.
LIMIT = 40.0


@dataclass(frozen=True)
class Simplex:
    """K proportions x that sum to 1 as K-1 log-ratios z_k = log(x_k / x_K), x ~ Dirichlet(concentrations).

    The Jacobian |dx/dz| is the product of all x, so that log p(z) = log B(concentrations)^-1 + sum of concentrations log x.
    """

    concentrations: tuple[float, ...]

    @property
    def size(self) -> int:
        """Real numbers."""
        return len(self.concentrations) - 1

    def values(self, z: np.ndarray) -> np.ndarray:
        """x [M, K] of z [M, K-1]."""
        bounded = np.concatenate([np.clip(z, -LIMIT, LIMIT), np.zeros((*z.shape[:-1], 1))], axis=-1)
        x = np.exp(bounded - bounded.max(axis=-1, keepdims=True))
        return x / x.sum(axis=-1, keepdims=True)

    def unconstrain(self, x: np.ndarray) -> np.ndarray:
        """z [M, K-1] of x [M, K], whatever x sums to."""
        return np.log(x[..., :-1]) - np.log(x[..., -1:])

    def pull_back(self, z: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes in z, given those in every x by itself, [M, K]."""
        x = self.values(z)
        centred = x * (slopes - (slopes * x).sum(axis=-1, keepdims=True))
        return centred[..., :-1]

    def log_prior(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density [M] and slopes [M, K-1]."""
        a = np.array(self.concentrations)
        padded = np.concatenate([z, np.zeros((*z.shape[:-1], 1))], axis=-1)
        log_x = padded - np.logaddexp.reduce(padded, axis=-1, keepdims=True)
        constant = math.lgamma(a.sum()) - sum(map(math.lgamma, self.concentrations))
        return constant + log_x @ a, (a - a.sum() * np.exp(log_x))[..., :-1]

    def log_jacobian(self, z: np.ndarray) -> np.ndarray:
        """log |dx/dz| [M], of all proportions but the last."""
        return np.asarray(np.log(self.values(z)).sum(axis=-1))


@dataclass(frozen=True)
class Positive:
    """A number above 0 as its logarithm z: Gamma(shape, rate); Exp(rate) has shape 1."""

    shape: float
    rate: float
    bounds: tuple[float, float]
    size = 1

    def values(self, z: np.ndarray) -> np.ndarray:
        """[M, 1]; within the bounds, whatever z."""
        return np.exp(np.clip(z, *np.log(self.bounds)))

    def unconstrain(self, x: np.ndarray) -> np.ndarray:
        """[M, 1]."""
        return np.log(x)

    def pull_back(self, z: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes in z, given those in x, [M, 1]."""
        low, high = np.log(self.bounds)
        return np.where((z > low) & (z < high), self.values(z) * slopes, 0.0)

    def log_prior(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density [M] and slopes [M, 1]."""
        scaled = self.rate * np.exp(np.minimum(z, LIMIT))
        constant = self.shape * math.log(self.rate) - math.lgamma(self.shape)
        return (constant + self.shape * z - scaled)[..., 0], self.shape - scaled

    def log_jacobian(self, z: np.ndarray) -> np.ndarray:
        """log |dx/dz| [M]."""
        return np.asarray(z[..., 0])


@dataclass(frozen=True)
class Share:
    """A number between 0 and 1 as its logit z: Beta(a, b)."""

    a: float
    b: float
    size = 1

    def values(self, z: np.ndarray) -> np.ndarray:
        """[M, 1]."""
        return 1.0 / (1.0 + np.exp(-np.clip(z, -LIMIT, 30.0)))

    def unconstrain(self, x: np.ndarray) -> np.ndarray:
        """[M, 1]."""
        return np.log(x) - np.log1p(-x)

    def pull_back(self, z: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes in z, given those in x, [M, 1]."""
        x = self.values(z)
        return x * (1.0 - x) * slopes

    def log_prior(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density [M] and slopes [M, 1]."""
        constant = math.lgamma(self.a + self.b) - math.lgamma(self.a) - math.lgamma(self.b)
        log_x, log_rest = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
        x = np.exp(log_x)
        return (constant + self.a * log_x + self.b * log_rest)[..., 0], self.a * (1.0 - x) - self.b * x

    def log_jacobian(self, z: np.ndarray) -> np.ndarray:
        """log |dx/dz| [M]."""
        return np.asarray(-(np.logaddexp(0.0, -z) + np.logaddexp(0.0, z))[..., 0])


Parameter = Simplex | Positive | Share

# Names of priors -> the densities that each may be, and how many numbers the density takes (None: one a proportion, or
# one for all).
DENSITIES: dict[str, dict[str, int | None]] = {
    "kappa": {"beta": 2},
    "rates": {"dirichlet": None},
    "frequencies": {"dirichlet": None},
    "alpha": {"exp": 1, "gamma": 2},
    "pinvar": {"beta": 2, "uniform": 2},
    "multipliers": {"dirichlet": None},
}
# MrBayes's.
DEFAULT_PRIORS = {
    "kappa": "beta:1,1", "rates": "dirichlet:1", "frequencies": "dirichlet:1", "alpha": "exp:1", "pinvar": "beta:1,1",
    "multipliers": "dirichlet:1",
}  # fmt: skip


def make_parameter(name: str, density: str, size: int, bounds: tuple[float, float]) -> Parameter:
    """The parameter of a name of DENSITIES with the density that a text says, as exp:1. size: of a simplex.

    ConfigError for a text that is no density, or not one that the parameter may have.
    """
    kind, numbers = _numbers(name, density)
    if name == "alpha":
        return Positive(1.0, numbers[0], bounds) if kind == "exp" else Positive(numbers[0], numbers[1], bounds)
    if name == "pinvar":
        return Share(*(numbers if kind == "beta" else (1.0, 1.0)))
    if len(numbers) == 1:
        numbers = numbers * size
    if len(numbers) != size:
        raise ConfigError(f"prior {name}={density}: {size} numbers are wanted, or one for all, not {len(numbers)}")
    return Simplex(numbers)


def _numbers(name: str, density: str) -> tuple[str, tuple[float, ...]]:
    """Kind and numbers of a density."""
    allowed = DENSITIES[name]
    kind, _, rest = density.partition(":")
    wanted = " or ".join(_example(each, count) for each, count in allowed.items())
    if kind not in allowed:
        raise ConfigError(f"prior {name}={density}: {name} takes {wanted}")
    try:
        numbers = tuple(float(word) for word in rest.split(","))
    except ValueError:
        numbers = ()
    if kind == "uniform":
        right = numbers == (0.0, 1.0)
    else:
        right = bool(numbers) and all(0 < number < math.inf for number in numbers)
    count = allowed[kind]
    if not right or (count is not None and len(numbers) != count):
        bounds = "" if kind == "uniform" else ", all numbers above 0"
        raise ConfigError(f"prior {name}={density} is not a density that {name} takes: {wanted}{bounds}")
    return kind, numbers


def _example(kind: str, count: int | None) -> str:
    if kind == "uniform":
        return "uniform:0,1"
    return f"{kind}:1,1,..." if count is None else f"{kind}:{','.join('1' * count)}"


def log_density_at(parameters: Sequence[Parameter], theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joint log density [M] of independent parameters that lie side by side in theta [M, D], and slopes [M, D]."""
    total, slopes = np.zeros(theta.shape[0]), np.empty_like(theta)
    for parameter, columns in zip(parameters, columns_of(parameters), strict=True):
        density, slopes[:, columns] = parameter.log_prior(theta[:, columns])
        total += density
    return total, slopes


def columns_of(parameters: Sequence[Parameter]) -> list[slice]:
    """Where each lies in theta."""
    ends = np.cumsum([0, *(parameter.size for parameter in parameters)]).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(ends)]

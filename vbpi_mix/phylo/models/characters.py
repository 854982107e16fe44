"""The model of all characters of an alignment: its parts, each with its own substitution model, and how they share.

theta is one vector of D real numbers: the free parameters of the parts, one after the other (those that are linked once),
then log-ratios of the shares of the parts' rate multipliers. Branch lengths are linked: a part's lengths are the tree's
times its multiplier, and the mean multiplier over all sites is one.

Shapes: T trees, M parameter vectors, G parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models import reversible_likelihood
from vbpi_mix.phylo.models.parameters import DEFAULT_PRIORS, Parameter, make_parameter
from vbpi_mix.phylo.models.part import PartModel
from vbpi_mix.phylo.models.part_groups import Alike, Kind
from vbpi_mix.phylo.models.rates import Rates, RateSlopes
from vbpi_mix.phylo.models.substitution import Likelihoods

# GTR+G4 takes about ten times as long as JC69, and a protein with gamma rates another 25 times.
STATES_OF_WORK = 6.0
# A part costs as much as so many patterns at least: its transitions and their slopes.
FEWEST_PATTERNS = 64


@dataclass(frozen=True, eq=False)
class CharacterPart:
    """Characters that evolve alike: their name (that of a partition), patterns and model."""

    name: str
    patterns: SitePatterns
    model: PartModel

    @property
    def sites(self) -> float:
        """How many there are."""
        return float(self.patterns.weights.sum())


@dataclass(frozen=True, eq=False)
class ParameterName:
    """Of a reported value: its name as MrBayes has it, and the part it is of, None if of all."""

    name: str
    part: str | None


class CharacterModel:
    """Parts whose trees and branch lengths are the same. linked: names of parameters that all parts with them share.

    multipliers: whether rates of parts differ and are learned (with several parts), and the prior of the parts' shares of all
    change, as MrBayes has it: a Dirichlet density such as "dirichlet:1"; None: all parts have one rate. ConfigError for a text
    that is no such density.
    shared_as: the number by which other processes know them, if they do (models/shared.py).
    """

    shared_as: int | None = None

    def __init__(
        self,
        parts: Sequence[CharacterPart],
        linked: Sequence[str] = (),
        multipliers: str | None = DEFAULT_PRIORS["multipliers"],
    ) -> None:
        self.parts = tuple(parts)
        self.linked = tuple(linked)
        # Of the parts' shares of all change; None where all have one rate.
        self.multiplier_prior = multipliers if len(self.parts) > 1 else None
        self._shares: Parameter | None = None
        if self.multiplier_prior is not None:
            self._shares = make_parameter("multipliers", self.multiplier_prior, len(self.parts), (0.0, 1.0))
        self.to("cpu")
        self._index, self.blocks = self._lay_out()
        self.size = sum(self.blocks)
        self._alike = self._group_parts()
        self._prior_groups = self._group_priors()

    def to(self, device: str) -> None:
        """Compute likelihoods there (device.DEVICES); parts of other than four states stay on the processor.

        ConfigError if there is no such device, or no part for it.
        """
        if device != "cpu" and all(part.model.spec.n_states != 4 for part in self.parts):
            raise ConfigError(f"--device {device}: it has kernels of four states, and no part has these; leave it out")
        self._packed = [
            reversible_likelihood.pack(part.patterns, part.model.spec.ascertainment, device=device) for part in self.parts
        ]
        self._kinds = self._group_kinds()

    def _lay_out(self) -> tuple[list[np.ndarray], tuple[int, ...]]:
        """Where each part's parameters are in theta, and the sizes of blocks that belong together."""
        shared: dict[tuple[object, ...], np.ndarray] = {}
        index, sizes, used = [], [], 0
        for part in self.parts:
            places, first = np.empty(part.model.size, dtype=np.int64), used
            for block in part.model.blocks:
                spec = part.model.spec
                classes = spec.classes if block.name == "rates" else None
                key = (block.name, spec.alphabet, spec.n_states, classes)
                if block.name in self.linked and key in shared:
                    places[block.where] = shared[key]
                    continue
                own = np.arange(used, used + block.parameter.size)
                places[block.where], used = own, used + block.parameter.size
                shared[key] = own
            index.append(places)
            if used > first:
                sizes.append(used - first)
        if self._shares is not None:
            sizes.append(self._shares.size)
        return index, tuple(sizes)

    def _group_parts(self) -> list[Alike]:
        """Parts of which one model makes the rates of all at once."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for g, part in enumerate(self.parts):
            # Frequencies that are counted are each part's own.
            own = g if part.model.spec.frequencies == "empirical" else None
            groups.setdefault((part.model.spec, tuple(part.model.priors.items()), own), []).append(g)
        return [
            Alike(np.array(numbers), np.stack([self._index[g] for g in numbers]), self.parts[numbers[0]].model)
            for numbers in groups.values()
        ]

    def _group_kinds(self) -> list[Kind]:
        """Parts with as many states and categories."""
        groups: dict[tuple[int, int], list[int]] = {}
        for g, part in enumerate(self.parts):
            groups.setdefault((part.model.spec.n_states, part.model.spec.categories), []).append(g)
        return [
            Kind(np.array(numbers), reversible_likelihood.join([self._packed[g] for g in numbers]))
            for numbers in groups.values()
        ]

    def _group_priors(self) -> list[tuple[Parameter, np.ndarray]]:
        """Each kind of parameter with its prior, and where in theta those of the kind are, [B, d]. What parts share is there
        once."""
        groups: dict[Parameter, list[np.ndarray]] = {}
        counted = np.zeros(self.size, dtype=bool)
        for part, places in zip(self.parts, self._index, strict=True):
            for block in part.model.blocks:
                where = places[block.where]
                if not counted[where].any():
                    counted[where] = True
                    groups.setdefault(block.parameter, []).append(where)
        if self._shares is not None:
            groups.setdefault(self._shares, []).append(np.arange(self.size)[self.multiplier_places])
        return [(parameter, np.stack(places)) for parameter, places in groups.items()]

    @cached_property
    def work(self) -> float:
        """Of one taxon, about, in patterns of JC69 (SubstitutionModel.work_of): matrix products in every category."""
        return sum(
            max(part.patterns.weights.size, FEWEST_PATTERNS) * spec.categories * spec.n_states**2 / STATES_OF_WORK
            for part, spec in ((part, part.model.spec) for part in self.parts)
        )

    @cached_property
    def _site_shares(self) -> np.ndarray:
        sites = np.array([part.sites for part in self.parts])
        return np.asarray(sites / sites.sum())

    def multipliers(self, theta: np.ndarray) -> np.ndarray:
        """[M, G], with a mean of one over sites."""
        return np.asarray(self.multiplier_shares(theta) / self._site_shares)

    def rates(self, theta: np.ndarray) -> list[Rates]:
        """Of each part, multipliers included."""
        multipliers = self.multipliers(theta)
        return [
            rates._replace(rates=rates.rates * multipliers[:, g : g + 1]) for g, rates in enumerate(self._unscaled(theta))
        ]

    def _unscaled(self, theta: np.ndarray) -> list[Rates]:
        """Of each part, at a multiplier of one; parts that are alike in one go."""
        made: dict[int, Rates] = {}
        for alike in self._alike:
            together = alike.model.rates(alike.gather(theta))
            for k, g in enumerate(alike.numbers.tolist()):
                own = slice(k * theta.shape[0], (k + 1) * theta.shape[0])
                made[g] = Rates(*(array[own] for array in together))
        return [made[g] for g in range(len(self.parts))]

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """[T], of trees int32 [T, n-2, 2] with lengths [T, E], each under its own theta [T, D], or all under theta [1, D]."""
        which = _numbers(children.shape[0], theta.shape[0])
        total, of_parts = np.zeros(children.shape[0]), self.rates(theta)
        for kind in self._kinds:
            rows = kind.rows(which, theta.shape[0])
            found = reversible_likelihood.log_likelihoods(children, lengths, kind.packed, kind.stack(of_parts), rows)
            total += found.reshape(total.size, -1).sum(axis=1)
        return total

    def evaluate(
        self, children: np.ndarray, lengths: np.ndarray, theta: np.ndarray, parameters: bool = True
    ) -> Likelihoods:
        """The same with derivatives in the lengths and, as "theta" [T, D], in theta [T, D]."""
        trees = children.shape[0]
        which, wanted = _numbers(trees, theta.shape[0]), parameters and self.size > 0
        values, slopes, of_theta = np.zeros(trees), np.zeros(lengths.shape), np.zeros((trees, self.size))
        multipliers, of_multipliers = self.multipliers(theta), np.zeros((trees, len(self.parts)))
        unscaled, back = self._unscaled(theta), {}
        for kind in self._kinds:
            own, rows = kind.stack(unscaled), kind.rows(which, theta.shape[0])
            scaled = own._replace(rates=own.rates * multipliers[:, kind.numbers].T.reshape(-1, 1))
            found = reversible_likelihood.evaluate(children, lengths, kind.packed, scaled, rows, wanted)
            values += found[0].reshape(trees, -1).sum(axis=1)
            slopes += found[1].reshape(trees, -1, lengths.shape[1]).sum(axis=1)
            if not wanted or found[2] is None:
                continue
            of_multipliers[:, kind.numbers] = (found[2].rates * own.rates[rows]).sum(axis=1).reshape(trees, -1)
            shared = multipliers[which][:, kind.numbers].reshape(-1, 1)
            pulled_rates = found[2]._replace(rates=found[2].rates * shared)
            for k, g in enumerate(kind.numbers.tolist()):
                back[g] = RateSlopes(*(array[k :: kind.numbers.size] for array in pulled_rates))
        if not wanted:
            return Likelihoods(values, slopes)
        for alike in self._alike:
            together = RateSlopes(*(np.concatenate(arrays) for arrays in zip(*(back[g] for g in alike.numbers), strict=True)))
            pulled = alike.model.pull_back(alike.gather(theta[which]), together)
            pulled = pulled.reshape(alike.places.shape[0], trees, alike.places.shape[1])
            # Places of one part are distinct: only those of different parts are shared.
            for places, of_part in zip(alike.places, pulled, strict=True):
                of_theta[:, places] += of_part
        if self._shares is not None:
            ratios = self.multiplier_places
            of_theta[:, ratios] += self._shares.pull_back(theta[which][:, ratios], of_multipliers / self._site_shares)
        return Likelihoods(values, slopes, {"theta": of_theta})

    def part_parameters(self, number: int) -> np.ndarray:
        """Where in theta the parameters [d] of a part are; its multiplier is not among them."""
        return self._index[number]

    def part_slopes(
        self, number: int, children: np.ndarray, lengths: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of one part alone, under parameters own [T, d] and a multiplier of one: slopes of its log-likelihood in the
        lengths [T, E], which are its own, and in its parameters [T, d].
        """
        part, trees = self.parts[number], children.shape[0]
        which = np.arange(trees)
        found = reversible_likelihood.evaluate(children, lengths, self._packed[number], part.model.rates(own), which)
        assert found[2] is not None
        return found[1], part.model.pull_back(own, found[2])

    @property
    def multiplier_places(self) -> slice:
        """Where in theta the log-ratios of the parts' shares are; empty where there are none."""
        return slice(self.size - (0 if self._shares is None else self._shares.size), self.size)

    def multiplier_shares(self, theta: np.ndarray) -> np.ndarray:
        """Of all change, by part, [M, G]."""
        if self._shares is None:
            return np.repeat(self._site_shares[None], theta.shape[0], axis=0)
        return self._shares.values(theta[:, self.multiplier_places])

    def log_prior(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density [M] in theta [M, D], and its slopes [M, D]. What parts share counts once."""
        value, slopes = np.zeros(theta.shape[0]), np.zeros(theta.shape)
        for parameter, places in self._prior_groups:
            found = parameter.log_prior(theta[:, places])
            value += found[0].sum(axis=1)
            slopes[:, places] += found[1]
        return value, slopes

    def log_jacobian(self, theta: np.ndarray) -> np.ndarray:
        """What `log_prior` has more than the log density of the parameters themselves, [M]."""
        value = np.zeros(theta.shape[0])
        for parameter, places in self._prior_groups:
            value += parameter.log_jacobian(theta[:, places]).sum(axis=1)
        return value

    def start(self) -> np.ndarray:
        """Where a search for theta begins, [D]."""
        theta = np.zeros(self.size)
        for part, places in zip(self.parts, self._index, strict=True):
            theta[places] = part.model.start()
        if self._shares is not None:
            theta[self.multiplier_places] = self._shares.unconstrain(self._site_shares)
        return theta

    @cached_property
    def names(self) -> tuple[ParameterName, ...]:
        """Of `values`; the part is None where there is only one, or all share it."""
        found = []
        for part in self.parts:
            shown = part.name if len(self.parts) > 1 else None
            found += [ParameterName(name, shown) for name in part.model.names]
        if self._shares is not None:
            found += [ParameterName(f"m{{{g + 1}}}", part.name) for g, part in enumerate(self.parts)]
        return tuple(found)

    def values(self, theta: np.ndarray) -> np.ndarray:
        """On the scale that is reported, float64 [M, len(names)]."""
        columns = [part.model.values(theta[:, places]) for part, places in zip(self.parts, self._index, strict=True)]
        if self._shares is not None:
            columns.append(self.multipliers(theta))
        return np.concatenate(columns, axis=1)


def _numbers(trees: int, vectors: int) -> np.ndarray:
    """Which parameter vector each tree has: its own, or the only one."""
    return np.arange(trees) if vectors == trees else np.zeros(trees, dtype=np.int64)

"""The parameters that a mixture trains, logits of networks and features of branch lengths, in one of two layouts.

One component after the other (`ByComponent`), every step normalises, differentiates and moves all logits of all components:
the fastest for a few. Side by side (`SideBySide`), it does so for the groups that its trees touch, eight components in one
vector: for many. There a parameter is a row with its own clock, and goes through Adam as if the steps that did not touch
its group had not happened, as the rows of features and flows do in both layouts (docs/flows.md).

Shapes: S components sampled and R evaluated of A, T = S K trees, E edges, C columns of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
import torch
from torch import Tensor

from vbpi_mix.gradients import RowGradient
from vbpi_mix.phylo.branches import interleaved as lengths
from vbpi_mix.phylo.branches.base import BaseDensity, BasePass, EdgeBatch
from vbpi_mix.phylo.kernels import particles as kernels
from vbpi_mix.phylo.sbn import interleaved as networks
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import EncodedTopologies, SubsplitSupport

# From so many components on it pays to have them side by side.
SIDE_BY_SIDE = 8
# Fewer particles times components than this are drawn on one thread: about 0.1 ms of work.
PARALLEL_PARTICLES = 32


@dataclass(frozen=True, eq=False)
class Family:
    """What both layouts are tables of: a support, a base density, and whether only splits have features."""

    support: SubsplitSupport
    base: BaseDensity
    split_only: bool


@dataclass(frozen=True, eq=False)
class Request:
    """T trees to draw, equally many of each of sampled int64 [S], one after the other. component int64 [T], which draws each;
    evaluated int64 [R], and own int64 [T], the place of the former among the latter; uniforms [T, n-1], and noise, as the base
    density makes it.
    """

    sampled: np.ndarray
    component: np.ndarray
    evaluated: np.ndarray
    own: np.ndarray
    uniforms: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True, eq=False)
class Drawn:
    """T trees with base draws of their log-lengths [T, E], and log densities of topologies and of lengths, each [T, R]; and
    `inner`, what the layout's gradient needs besides.
    """

    topologies: EncodedTopologies
    draws: np.ndarray
    of_topology: np.ndarray
    of_lengths: np.ndarray
    own: np.ndarray
    inner: Any

    @property
    def edge_splits(self) -> np.ndarray:
        """The split of each edge, int32 [T, E]."""
        return np.asarray(self.topologies.rows[:, :, 0])

    @property
    def log_q_score(self) -> np.ndarray:
        """float64 [T], log q(tau) under the component that drew it."""
        return self.of_topology[np.arange(self.own.size), self.own]


class Tables(Protocol):
    """A layout. logits [A, n_params] and features [A, n_features, C], without gradient, are the memory that is trained,
    under the same indices in both; learned, the leaves, that of logits and that of features."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def features(self) -> Tensor: ...

    @property
    def learned(self) -> tuple[Tensor, Tensor]: ...

    def draw(self, request: Request) -> Drawn:
        """Topologies, and base draws of their lengths."""
        ...

    def pull_back(
        self, drawn: Drawn, draws: np.ndarray, log_q: np.ndarray, score: np.ndarray
    ) -> tuple[Tensor | RowGradient, RowGradient]:
        """The gradients of both leaves, given those of the draws [T, E], of log_q [T, R] and of the scores [T]."""
        ...

    def groups(self, rates: np.ndarray) -> list[dict[str, Any]]:
        """For the optimiser: rates [n_features] multiply those of the rows of features."""
        ...


def layout(n_components: int, evaluates_all: bool) -> torch.dtype | None:
    """The type of tables side by side, where there are many components and every step evaluates all; else None. Single
    precision, since what limits such a step is how fast rows come from memory.
    """
    return torch.float32 if evaluates_all and n_components >= SIDE_BY_SIDE else None


def make_tables(family: Family, logits: np.ndarray, features: Tensor, side_by_side: torch.dtype | None) -> Tables:
    """Tables of logits [A, n_params] and features [A, n_features, C], a leaf; side by side in a type of their own, or None."""
    if side_by_side is None:
        return ByComponent(family, logits, features)
    return SideBySide(family, logits, features, side_by_side)


def _of_topology(drawn: Drawn, log_q: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The gradient of log q(tau) [T, R], with that of the score."""
    found = log_q.copy()
    found[np.arange(score.size), drawn.own] += score
    return found


class ByComponent:
    """One component after the other."""

    def __init__(self, family: Family, logits: np.ndarray, features: Tensor) -> None:
        self._family = family
        self.logits = torch.from_numpy(logits.copy()).requires_grad_()
        self.features = features

    @property
    def learned(self) -> tuple[Tensor, Tensor]:
        """Both are leaves."""
        return self.logits, self.features

    def draw(self, request: Request) -> Drawn:
        """As the protocol says."""
        support, trees = self._family.support, request.uniforms.shape[0]
        log_probabilities, probabilities = sbn.normalise(self.logits.detach().numpy(), support)
        of_networks = kernels.Networks(
            log_probabilities, probabilities, request.evaluated, support.groups, support.alone
        )
        encoded = EncodedTopologies.empty(trees, support.n_taxa)
        topologies = kernels.TopologyPass(
            component=request.component,
            uniforms=request.uniforms,
            children=encoded.children,
            splits=encoded.splits,
            tripartitions=encoded.tripartitions,
            entries=encoded.entries,
            parameters=encoded.parameters,
            rows=encoded.rows,
            log_q=np.empty((trees, request.evaluated.size)),
            rooting=np.empty((trees, request.evaluated.size, encoded.splits.shape[1])),
        )
        threads = numba.get_num_threads()
        arguments = support.arrays, of_networks, self._family.split_only, topologies
        if threads > 1 and trees * request.evaluated.size >= PARALLEL_PARTICLES:
            kernels.draw_topologies_in_parallel(min(threads, trees), *arguments)
        else:
            kernels.draw_topologies(0, trees, *arguments)
        batch = EdgeBatch(encoded.rows, request.evaluated, request.own, threads)
        base = self._family.base.sample(self.features.detach().numpy(), batch, request.noise)
        inner = of_networks, topologies, base
        return Drawn(encoded, base.draws, topologies.log_q, base.log_q, request.own, inner)

    def pull_back(
        self, drawn: Drawn, draws: np.ndarray, log_q: np.ndarray, score: np.ndarray
    ) -> tuple[Tensor | RowGradient, RowGradient]:
        """As the protocol says; all of the logits have a gradient."""
        of_networks, topologies, base = drawn.inner
        features = self._family.base.pull_back(base, draws, log_q)
        upstream = _of_topology(drawn, log_q, score)
        logits = torch.empty(self.logits.shape, dtype=torch.float64)
        several = log_q.shape[1] > 1 and log_q.size >= PARALLEL_PARTICLES
        run = kernels.gradients_in_parallel if several and numba.get_num_threads() > 1 else kernels.gradients
        run(of_networks, topologies, upstream, logits.numpy())
        return logits, features

    def groups(self, rates: np.ndarray) -> list[dict[str, Any]]:
        """Logits move all at once, features row by row."""
        return [
            {"name": "sbn", "params": [self.logits]},
            _feature_group(self.features, np.tile(rates, self.features.shape[0])),
        ]


class SideBySide:
    """Logits in a table [n_params, W] and, of gamma lengths, features in one [n_features, 2 * W]; features of another base
    stay one component after the other.

    Every step evaluates all components; if fewer are asked for, these are picked out.
    """

    def __init__(self, family: Family, logits: np.ndarray, features: Tensor, dtype: torch.dtype) -> None:
        self._family, self._components = family, logits.shape[0]
        self._logits = networks.interleave(logits[:, :, None], dtype)
        self.logits = networks.component_view(self._logits, self._components, 1)[:, :, 0]
        self._gamma = family.base.name == "gamma"
        self._features, self.features = features, features.detach()
        if self._gamma:
            self._features = networks.interleave(features.detach().numpy(), dtype)
            self.features = networks.component_view(self._features, self._components, features.shape[2])

    @property
    def learned(self) -> tuple[Tensor, Tensor]:
        """The tables."""
        return self._logits, self._features

    def draw(self, request: Request) -> Drawn:
        """As the protocol says."""
        support, threads = self._family.support, numba.get_num_threads()
        logits, features = self._logits.detach().numpy(), self._features.detach().numpy()
        encoded = networks.draw_topologies(logits, support, request.sampled, request.uniforms, threads)
        if self._family.split_only:
            encoded.rows[:, :, 1:] = -1
        step = networks.evaluate(logits, support, encoded, self._components, threads)
        everything = np.arange(self._components)
        batch = EdgeBatch(encoded.rows, everything, request.component, threads)
        sample = lengths.sample if self._gamma else self._family.base.sample
        base: BasePass = sample(features, batch, request.noise)
        of_topology, of_lengths, picked = step.log_q, base.log_q, None
        if not np.array_equal(request.evaluated, everything):
            picked = request.evaluated
            of_topology, of_lengths = of_topology[:, picked], of_lengths[:, picked]
        return Drawn(encoded, base.draws, of_topology, of_lengths, request.own, (step, base, picked))

    def pull_back(
        self, drawn: Drawn, draws: np.ndarray, log_q: np.ndarray, score: np.ndarray
    ) -> tuple[Tensor | RowGradient, RowGradient]:
        """As the protocol says; rows of both tables."""
        step, base, picked = drawn.inner
        upstream = _of_topology(drawn, log_q, score)
        if picked is not None:
            log_q, upstream = (self._spread(values, picked) for values in (log_q, upstream))
        pull_back = lengths.pull_back if self._gamma else self._family.base.pull_back
        return networks.pull_back(step, upstream), pull_back(base, draws, log_q)

    def _spread(self, values: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """[T, R] of some components as [T, A]."""
        found = np.zeros((values.shape[0], self._components))
        found[:, picked] = values
        return found

    def groups(self, rates: np.ndarray) -> list[dict[str, Any]]:
        """Both row by row."""
        of_rows = rates if self._gamma else np.tile(rates, self._components)
        of_logits = {"name": "sbn", "params": [self._logits], "by_row": True, "vectors": True}
        return [of_logits, {**_feature_group(self._features, of_rows), "vectors": self._gamma}]


def _feature_group(features: Tensor, rates: np.ndarray) -> dict[str, Any]:
    return {"name": "branches", "params": [features], "by_row": True, "row_multipliers": rates}

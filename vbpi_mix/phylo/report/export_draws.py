"""Draws of a fit as other programs take them: each tree in full, equally weighted, in random order.

Layout: N draws of U topologies, distinct and canonical; E edges, the edge above node v at v - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.report.parameters import TREE_LENGTH, reported_values
from vbpi_mix.phylo.report.summaries import PosteriorTrees
from vbpi_mix.phylo.report.weighted import WeightedTrees, Weighting
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies


@dataclass(frozen=True, eq=False)
class ExportDraws:
    """source: "weighted" or "fit". children int32 [U, n-2, 2]; splits int32 [U, E], by the support's numbers; topology
    int [N]; lengths float64 [N, E], expected substitutions per site; shares float64 [N], which sum to one; theta float64
    [N, D], the model's parameters on their unconstrained scale, None for a model without any.
    """

    source: str
    children: np.ndarray
    splits: np.ndarray
    topology: np.ndarray
    lengths: np.ndarray
    shares: np.ndarray
    theta: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shares.size

    @staticmethod
    def weighted(trees: WeightedTrees, by: Weighting) -> ExportDraws:
        """Those that end a fit."""
        return ExportDraws(
            "weighted", trees.children, trees.splits, trees.topology, trees.lengths, by.shares, trees.theta
        )

    @staticmethod
    def own(mixture: PhyloMixture, trees: PosteriorTrees) -> ExportDraws:
        """The fit's own, which weigh the same."""
        canonical, relabel = canonicalise(trees.children)
        lengths = np.empty_like(trees.lengths)
        np.put_along_axis(lengths, relabel[:, 1:] - 1, trees.lengths, axis=1)
        distinct, topology = unique_topologies(canonical)
        splits = mixture.support.encode(distinct).splits[:, 1:]
        shares = np.full(len(topology), 1.0 / len(topology))
        return ExportDraws("fit", distinct, splits, topology, lengths, shares, trees.theta)

    def resample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of `count` draws, each taken as often as its share says, give or take less than one; int [count].

        Systematic resampling (Carpenter, Clifford and Fearnhead 1999) along draws sorted by topology and tree length, so that
        a topology is met as often as its probability says, give or take one; then in random order, as programs that drop the
        first trees take them for the beginning of a chain.
        """
        rank = np.empty(len(self.children), dtype=np.int64)
        rank[np.lexsort(self.children.reshape(len(self.children), -1).T)] = np.arange(len(self.children))
        order = np.lexsort((self.lengths.sum(axis=1), rank[self.topology]))
        cumulative = np.cumsum(self.shares[order])
        points = (rng.random() + np.arange(count)) / count * cumulative[-1]
        # The last point must not pass the sum in its last bits.
        places = np.minimum(np.searchsorted(cumulative, points, side="right"), len(self) - 1)
        return rng.permutation(order[places])

    def take(self, rows: np.ndarray) -> ExportDraws:
        """These draws, equally weighted."""
        theta = None if self.theta is None else self.theta[rows]
        shares = np.full(rows.size, 1.0 / rows.size)
        return ExportDraws(
            self.source, self.children, self.splits, self.topology[rows], self.lengths[rows], shares, theta
        )

    def trees(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each draw: children int32 [n-2, 2] and lengths float64 [E]."""
        for k in range(len(self)):
            yield self.children[self.topology[k]], self.lengths[k]

    def lengths_of(self, split: int) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of the edges with that split, and the shares of their draws."""
        has = self.splits == split
        rows = np.flatnonzero(has.any(axis=1)[self.topology])
        return self.lengths[rows, has.argmax(axis=1)[self.topology[rows]]], self.shares[rows]


@dataclass(frozen=True, eq=False)
class Trace:
    """Of N draws, what a trace file has: column names and values float64 [N, k]."""

    names: tuple[str, ...]
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """[N]."""
        return np.asarray(self.values[:, self.names.index(name)])


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Draws as a posterior reads them."""

    topologies: _Topologies
    log_lengths: torch.Tensor
    theta: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class _Topologies:
    children: np.ndarray


def trace(draws: ExportDraws, posterior: Posterior) -> Trace:
    """LnL, LnPr, TL and every parameter of the model, by MrBayes's names.

    LnL: log p(Y | tree, parameters). LnPr: log density of the priors of topology, branch lengths and parameters, each on the
    scale that is reported.
    """
    log_lengths = np.log(draws.lengths)
    theta = None if draws.theta is None else torch.from_numpy(draws.theta[None])
    drawn = _Drawn(_Topologies(draws.children[draws.topology]), torch.from_numpy(log_lengths[None]), theta)
    with torch.no_grad():
        likelihood = posterior.log_likelihood(drawn).numpy().ravel()
        prior = posterior.log_prior(drawn).numpy().ravel()
    # Densities of log-lengths and unconstrained parameters are those of the things themselves times these Jacobians.
    prior = prior - log_lengths.sum(axis=1)
    characters = posterior.characters
    if characters is not None and draws.theta is not None:
        prior -= characters.log_jacobian(draws.theta)
    named, values = reported_values(draws.lengths, draws.theta, characters)
    parts = [] if characters is None else [part.name for part in characters.parts]
    names = [_column(each.name, each.part, parts) for each in named]
    assert names[0] == TREE_LENGTH.name
    return Trace(("LnL", "LnPr", *names), np.column_stack([likelihood, prior, values]))


def _column(name: str, part: str | None, parts: list[str]) -> str:
    """As MrBayes has it: alpha{2} of the second part, alpha where there is one or all share it."""
    return name if part is None or "{" in name else f"{name}{{{parts.index(part) + 1}}}"

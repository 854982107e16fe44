"""How far to trust a support: its share of a sample, and of held-out parts of its own sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.sampling.widen import widen
from vbpi_mix.phylo.sbn.coverage import coverage
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.credible import ROUNDING, credible_set
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import unique_topologies

ENOUGH = 0.95
FOLDS = 5
# Less than the weight of a tree, more than what summing the weights of a file gets wrong.
_BETWEEN_FILES = 1e-9
_MOST_TREES = 1_000_000
_MOST_PARTS, _ROUNDED_OFF = 10, 0.01


@dataclass(frozen=True)
class HeldOutCoverage:
    """Held-out coverage.

    share: the mean over folds of `by_fold`, where a fold is a part of the trees of every file. between_files:
    the same where a fold is one file or several, None if there is a single file. The first says whether there
    are trees enough, the second whether another file would bring new ones.
    """

    share: float
    by_fold: tuple[float, ...]
    between_files: float | None

    def describe(self) -> str:
        """The shares in words."""
        text = (
            f"held-out coverage {self.share:.4f} (supports built without 1/{len(self.by_fold)} of the trees)"
        )
        return text if self.between_files is None else f"{text}, {self.between_files:.4f} file by file"

    def warning(self) -> str | None:
        """What is wrong and what to do, in one line; None if the share is at least 0.95."""
        if self.share >= ENOUGH:
            return None
        return (
            "the tree sample is small for its diversity: a support built without "
            f"1/{len(self.by_fold)} of it holds only {self.share:.3f} of that part ({ENOUGH} is wanted), so "
            "a fit would lack likely trees; use more trees or more independent chains, keep all of their "
            "topologies (hpd 1), or add their neighbours (widen nni)"
        )


def held_out_coverage(
    sample: TreeSample | Sequence[TreeSample],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    hpd: float = 1.0,
    widen_topologies: int | None = None,
    prior: TopologyPrior | None = None,
) -> HeldOutCoverage:
    """Build supports from part of a sample and see how much of the rest they hold, each part left out once.

    The trees of every file are cut in order into `folds` stretches, which for a Markov chain are more independent
    of one another than trees picked at random. Where a file states weights, each of its topologies stands for
    many trees: these are dealt out at random by `seed`, their number being told by the smallest weight.
    Several files (or several samples) are also left out file by file, in `folds` groups if they are more.

    hpd: of each file of the part that builds, only the most frequent topologies that hold this share are
    used, as `read_tree_sample` does; give samples that were read with hpd=1. widen_topologies: the support is
    widened by NNI as `widen` does it, 0 for its default number; None for no widening. prior: trees that it does not
    allow count on neither side, and none is added.

    The supports that are judged are built from less than the whole, so the shares are on the low side.
    Where a file has a single tree, all files count as one. Raises TreeError if there is one tree in all, or
    folds is below 2.
    """
    if folds < 2:
        raise TreeError(f"folds={folds}: held-out coverage needs at least 2")
    samples = [sample] if isinstance(sample, TreeSample) else list(sample)
    children, files = _by_file(samples)
    if prior is not None:
        files = _allowed(files, prior.allows(children))
    rng = np.random.default_rng(seed)
    single = [_single_trees(*trees, rng) for trees in files]
    if min(topology.size for topology in single) < 2:
        single = [np.concatenate(single)]
    folds = min([folds, *(topology.size for topology in single)])
    if folds < 2:
        raise TreeError("the sample is a single tree; held-out coverage needs at least two")
    parts = np.stack([_runs_of_trees(topology, children.shape[0], folds) for topology in single])
    build = _Builder(children, hpd, widen_topologies, prior)
    by_fold = [build.coverage(parts.sum(axis=1) - part, part) for part in parts.swapaxes(0, 1)]
    between = None
    if len(single) > 1:
        weights, group = parts.sum(axis=1), np.arange(len(single)) % min(folds, len(single))
        by_group = [
            build.coverage(weights[group != k], weights[group == k]) for k in range(int(group.max()) + 1)
        ]
        between = float(np.mean(by_group))
    return HeldOutCoverage(float(np.mean(by_fold)), tuple(by_fold), between)


_Trees = tuple[np.ndarray, np.ndarray]


def _by_file(samples: Sequence[TreeSample]) -> tuple[np.ndarray, list[_Trees]]:
    """Distinct topologies [U, n-2, 2]; of each file, the topology int32 [N] and weight [N] of its trees."""
    if not samples:
        raise TreeError("no tree sample is given; held-out coverage needs one")
    children, index = unique_topologies(np.concatenate([each.children for each in samples]))
    numbers = np.split(index, np.cumsum([each.weights.size for each in samples])[:-1])
    files = []
    for each, number in zip(samples, numbers, strict=True):
        files += _split_by_file(number[each.tree_topology], each.tree_weights, len(each.sources))
    return children, files


def _allowed(files: list[_Trees], allowed: np.ndarray) -> list[_Trees]:
    """The trees of allowed topologies, bool [U], of files that have any."""
    kept = [(topology[allowed[topology]], weights[allowed[topology]]) for topology, weights in files]
    kept = [trees for trees in kept if trees[0].size]
    if not kept:
        raise TreeError("no tree of the sample has the groups of taxa asked for; held-out coverage needs at least two")
    return kept


def _split_by_file(topology: np.ndarray, weights: np.ndarray, n_files: int) -> list[_Trees]:
    """Trees in the order of their files, cut where one ends: every file of a sample has the same weight."""
    total = np.cumsum(weights)
    ends = np.searchsorted(total, total[-1] * (np.arange(1, n_files) / n_files - _BETWEEN_FILES)) + 1
    return list(zip(np.split(topology, ends), np.split(weights, ends), strict=True))


def _single_trees(topology: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The topology of each tree of a file; a weighted one comes as often as its weight holds the smallest, or a part of it."""
    if np.ptp(weights) > ROUNDING * weights.max():
        positive = weights > 0
        # Trees of warm chains may have next to no weight.
        one = max(weights[positive].min(), weights.sum() / _MOST_TREES)
        counts = _whole_numbers(np.maximum(1, weights[positive] / one))
        topology = rng.permutation(np.repeat(topology[positive], counts.astype(np.int64)))
    return topology


def _whole_numbers(ratios: np.ndarray) -> np.ndarray:
    """Whole numbers that are as these numbers, of at least 1, are to each other: of 1.5 and 1 they are 3 and 2.

    The smallest that are so but for a hundredth; where the numbers are real, so that small ones are not, the nearest ones.
    """
    for parts in range(1, min(_MOST_PARTS, int(_MOST_TREES / ratios.sum())) + 1):
        counts = np.rint(parts * ratios)
        if np.abs(counts - parts * ratios).sum() <= _ROUNDED_OFF * counts.sum():
            return counts
    return np.asarray(np.rint(ratios))


def _runs_of_trees(topology: np.ndarray, n_topologies: int, folds: int) -> np.ndarray:
    """How the weight of a file, 1 in all, lies on its topologies in each part; float64 [folds, U]."""
    fold = np.arange(topology.size) * folds // topology.size
    cells = fold * n_topologies + topology
    return np.bincount(cells, minlength=folds * n_topologies).reshape(folds, -1) / topology.size


@dataclass(frozen=True, eq=False)
class _Builder:
    """Supports of parts of a sample on topologies int32 [U, n-2, 2]."""

    children: np.ndarray
    hpd: float
    widen_topologies: int | None
    prior: TopologyPrior | None

    def coverage(self, rest: np.ndarray, left_out: np.ndarray) -> float:
        """The share of `left_out` float64 [..., U] in the support of the files `rest` float64 [F, U]."""
        held = left_out.reshape(-1, self.children.shape[0]).sum(axis=0)
        support = build_support(self._topologies(rest))
        return coverage(support, self.children[held > 0], held[held > 0])

    def _topologies(self, by_file: np.ndarray) -> np.ndarray:
        used = np.zeros(self.children.shape[0], dtype=bool)
        for weights in by_file:
            chosen = credible_set(weights, self.hpd)
            used[chosen[weights[chosen] > ROUNDING]] = True
        if self.widen_topologies is None:
            return self.children[used]
        new = widen(self.children[used], by_file.sum(axis=0)[used], self.widen_topologies or None, self.prior)
        return np.concatenate([self.children[used], new])

"""Tree samples: the distinct topologies of a set of tree files, and how probable each is.

A sample may come from several files (replicates); each file weighs the same, whatever number of trees
it holds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.credible import credible_set
from vbpi_mix.phylo.trees.files import TreeFile, read_tree_file
from vbpi_mix.phylo.trees.find import expand_paths, find_tree_samples
from vbpi_mix.phylo.trees.newick import Allowed
from vbpi_mix.phylo.trees.topology import unique_topologies

__all__ = ["TreeSample", "expand_paths", "find_tree_samples", "read_tree_sample"]

# Programs that estimate branch lengths without bounds write such.
_LEAST_LENGTH = -0.001


@dataclass(frozen=True, eq=False)
class TreeSample:
    """N trees on n taxa, of U distinct topologies.

    taxa: names; taxon k is row k of the alignment.
    children: int32 [U, n-2, 2], canonical, most probable first; equally probable ones in the order of the
    files. weights: float64 [U], summing to 1. tree_topology: int32 [N], the topology of each tree.
    tree_weights: float64 [N], summing to 1. lengths: float64 [N, E], branch lengths in expected substitutions
    per site, in the edge order of the canonical form; None unless every tree has them. sources: the files, as
    given. notes: a line each on what a user should know of how they were read. is_trace: whether a file is the trace of a Markov
    chain.
    """

    taxa: tuple[str, ...]
    children: np.ndarray
    weights: np.ndarray
    tree_topology: np.ndarray
    tree_weights: np.ndarray
    lengths: np.ndarray | None
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    is_trace: bool = False

    def only(self, topologies: np.ndarray) -> TreeSample:
        """The trees of some of the topologies, bool [U], of which one has weight; weights are scaled up to sum to 1."""
        trees = topologies[self.tree_topology]
        number = np.cumsum(topologies, dtype=np.int32) - np.int32(1)
        weights, tree_weights = self.weights[topologies], self.tree_weights[trees]
        return replace(
            self,
            children=self.children[topologies],
            weights=weights / weights.sum(),
            tree_topology=number[self.tree_topology[trees]],
            tree_weights=tree_weights / tree_weights.sum(),
            lengths=None if self.lengths is None else self.lengths[trees],
        )


def read_tree_sample(
    paths: Sequence[str | os.PathLike[str]],
    taxa: Sequence[str],
    burn_in: float | int = 0.0,
    hpd: float = 1.0,
    *,
    seed: int = 0,
    prune: bool = False,
    trace_burn_in: float = 0.0,
) -> TreeSample:
    """Read tree files into one sample.

    paths: Newick lists, NEXUS tree files of MrBayes (.t, .trprobs), BEAST or PAUP*, or tables of RevBayes, plain or
    gzip-compressed. taxa: names of the alignment, in its order. burn_in: trees to drop from the front of each
    file, as a fraction in [0, 1) or a whole number of trees. hpd: of each file, only its most frequent
    topologies are kept, the fewest whose weights add up to `hpd` of its total, 0 < hpd <= 1; of equally
    frequent ones those that come first. At 1, all are kept. seed: of the random numbers that resolve polytomies, each way with
    the same probability. prune: leave out taxa that the alignment lacks. trace_burn_in: fraction dropped, where burn_in is 0, of
    files that are plainly traces of a Markov chain.

    What was done to read the trees is in the sample's notes; branch lengths down to -0.001 are read as 0.
    Weights are normalised per file, after both, and then averaged over files.
    Raises TreeError if an option is out of range, burn_in is given for a file of weighted trees, a file is
    given twice, its weights are all zero, or `read_tree_file` refuses it.

    >>> import vbpi_mix
    >>> taxa = vbpi_mix.read_alignment("examples/eight.nex").taxa
    >>> vbpi_mix.read_tree_sample(["examples/eight.nwk"], taxa).weights.tolist()
    [1.0]
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not paths:
        raise TreeError("no tree file is given; a tree sample needs at least one")
    if not 0 < hpd <= 1:
        raise TreeError(f"hpd={hpd}: the share of a sample to keep must be above 0 and at most 1")
    _refuse_repeats(paths)
    files = []
    for number, path in enumerate(paths):
        allowed = Allowed(np.random.default_rng([seed, number]), prune, "--prune leaves them out of the trees", _LEAST_LENGTH)
        file = read_tree_file(path, taxa, allowed)
        dropped = trace_burn_in if file.is_trace and file.weights is None and not burn_in else burn_in
        if dropped != burn_in:
            note = f"{path}: a trace of a Markov chain, of which the first {dropped:.0%} is dropped; --burn-in says otherwise"
            file = replace(file, notes=(*file.notes, note))
        files.append(_trim(file, dropped, hpd))
    return _merge(files, tuple(taxa))


def _refuse_repeats(paths: Sequence[str | os.PathLike[str]]) -> None:
    seen = set()
    for path in paths:
        real = Path(path).resolve()
        if real in seen:
            raise TreeError(f"{path}: the file is given twice; its trees would count twice")
        seen.add(real)


def _trim(file: TreeFile, burn_in: float | int, hpd: float) -> TreeFile:
    """The file without its burn-in and without topologies beyond the share `hpd`; every tree has a weight."""
    trees = file.children.shape[0]
    kept = np.arange(_burn_in_count(file, burn_in), trees)
    weights = np.ones(kept.size) if file.weights is None else file.weights
    total = weights.sum()
    if not (total > 0 and math.isfinite(total)):
        raise TreeError(f"{file.source}: the weights of its trees add up to {total}, so none counts")
    if hpd < 1:
        inside = _most_frequent(file.children[kept], weights, hpd)
        kept, weights = kept[inside], weights[inside]
    lengths = None if file.lengths is None else file.lengths[kept]
    return replace(file, children=file.children[kept], lengths=lengths, weights=weights)


def _burn_in_count(file: TreeFile, burn_in: float | int) -> int:
    trees = file.children.shape[0]
    whole = isinstance(burn_in, Integral) and not isinstance(burn_in, bool)
    if not (whole and burn_in >= 0) and not (isinstance(burn_in, float) and 0 <= burn_in < 1):
        raise TreeError(f"burn_in={burn_in}: give a fraction in [0, 1) or a whole number of trees")
    if burn_in and file.weights is not None:
        raise TreeError(f"{file.source}: its trees have weights, so none is burn-in; give burn_in=0")
    # 0.29 of 100 trees is 29, though the product is just below.
    count = int(burn_in) if whole else math.floor(burn_in * trees + 1e-9)
    if count >= trees:
        raise TreeError(f"{file.source}: burn_in={burn_in} drops all of its {trees} trees; drop fewer")
    return count


def _most_frequent(children: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Which trees are of the fewest topologies that hold `share` of the weight: bool [N]."""
    _, index = unique_topologies(children)
    mass = np.bincount(index, weights)
    chosen = np.zeros(mass.size, dtype=bool)
    chosen[credible_set(mass, share)] = True
    return chosen[index]


def by_weight(
    children: np.ndarray, weights: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Topologies [U, n-2, 2] and their weights [U], the heaviest first, and the new numbers int32 [N] of trees with numbers
    index [N].
    """
    order = np.argsort(-weights, kind="stable")
    rank = np.empty(order.size, dtype=np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    return children[order], weights[order], rank[index]


def _merge(files: Sequence[TreeFile], taxa: tuple[str, ...]) -> TreeSample:
    """The union of files, each of the same total weight."""
    children, index = unique_topologies(np.concatenate([file.children for file in files]))
    raw = [file.weights for file in files if file.weights is not None]
    weights = np.zeros(children.shape[0])
    for part, of_file in zip(np.split(index, np.cumsum([w.size for w in raw])[:-1]), raw, strict=True):
        # Summed before they are divided, so that equal counts stay equal and keep their order.
        weights += np.bincount(part, of_file, children.shape[0]) / (of_file.sum() * len(files))
    tree_weights = np.concatenate([of_file / (of_file.sum() * len(files)) for of_file in raw])
    children, weights, tree_topology = by_weight(children, weights, index)
    with_lengths = [file.lengths for file in files if file.lengths is not None]
    return TreeSample(
        taxa=taxa,
        children=children,
        weights=weights,
        tree_topology=tree_topology,
        tree_weights=tree_weights,
        lengths=np.concatenate(with_lengths) if len(with_lengths) == len(files) else None,
        sources=tuple(file.source for file in files),
        notes=tuple(note for file in files for note in file.notes),
        is_trace=any(file.is_trace for file in files),
    )

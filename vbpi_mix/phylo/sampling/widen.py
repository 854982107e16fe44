"""Widening a tree sample by NNI neighbours of its most frequent topologies, for the support to hold them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
from vbpi_mix.phylo.trees.credible import credible_set
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies

# The most frequent topologies that make up this share of a sample are widened, but no more than so many.
WIDENED_MASS = 0.95
WIDENED_AT_MOST = 100
ADDED_WEIGHT = 1e-3


def nni_neighbours(children: np.ndarray) -> np.ndarray:
    """All topologies one nearest-neighbour interchange away, canonical int32 [T, 2(n-3), n-2, 2].

    children: int32 [T, n-2, 2]. Across the edge above an internal node v, the sibling of v changes places
    with each of the two children of v in turn. The 2(n-3) neighbours of a tree are distinct.
    """
    children = np.ascontiguousarray(children, dtype=np.int32)
    trees, internal, _ = children.shape
    n_taxa = internal + 2
    # Every internal node but the top has an edge above it: internal - 1 rows for each tree, tree by tree.
    tree, parent, side = np.nonzero(children >= n_taxa)
    edge = np.tile(np.arange(internal - 1), trees)
    lower = children[tree, parent, side] - n_taxa
    sibling = children[tree, parent, 1 - side]
    neighbours = np.repeat(children[:, None], 2 * (internal - 1), axis=1)
    for child in range(2):
        place = 2 * edge + child
        neighbours[tree, place, parent, 1 - side] = children[tree, lower, child]
        neighbours[tree, place, lower, child] = sibling
    # An interchange leaves the top where it is, and any other numbering will do for canonicalise.
    canonical, _ = canonicalise(neighbours.reshape(-1, internal, 2))
    return canonical.reshape(neighbours.shape)


def widen(
    children: np.ndarray, weights: np.ndarray, topologies: int | None = None, prior: TopologyPrior | None = None
) -> np.ndarray:
    """NNI neighbours of the most frequent topologies that are not there yet; int32 [new, n-2, 2], canonical.

    children: int32 [U, n-2, 2], distinct and canonical; weights: float64 [U]. topologies: how many to widen;
    by default the fewest that make up WIDENED_MASS, at most WIDENED_AT_MOST. prior: what it does not allow
    is left out. Raises TreeError if topologies is below 1.
    """
    if topologies is not None and topologies < 1:
        raise TreeError(f"{topologies} topologies to widen; give at least 1")
    if topologies is None:
        widened = credible_set(weights, WIDENED_MASS)[:WIDENED_AT_MOST]
    else:
        widened = np.argsort(-weights, kind="stable")[:topologies]
    neighbours = nni_neighbours(children[widened])
    everything, _ = unique_topologies(np.concatenate([children, neighbours.reshape(-1, *children.shape[1:])]))
    new = everything[children.shape[0] :]
    return new if prior is None else new[prior.allows(new)]


def widen_sample(
    sample: TreeSample,
    topologies: int | None = None,
    added_weight: float = ADDED_WEIGHT,
    prior: TopologyPrior | None = None,
) -> TreeSample:
    """The sample with the NNI neighbours of its most frequent topologies (see `widen`).

    What is new shares `added_weight` of the weight evenly, as trees behind those of the sample, but each no
    more than half of what the least frequent topology has; the rest is scaled down. Such trees have no branch
    lengths, so `lengths` is None unless nothing is new. A support built from the result holds every
    neighbour. Raises TreeError if `topologies` is below 1 or `added_weight` not between 0 and 1.
    """
    if not 0 < added_weight < 1:
        raise TreeError(
            f"added_weight={added_weight}: the weight of widened topologies must be between 0 and 1"
        )
    new = widen(sample.children, sample.weights, topologies, prior)
    if not new.shape[0]:
        return sample
    least = sample.weights[sample.weights > 0].min() / 2
    share = min(added_weight / new.shape[0], float(least) / (1 + new.shape[0] * float(least)))
    kept = 1 - share * new.shape[0]
    added = np.full(new.shape[0], share)
    known = sample.weights.size
    return replace(
        sample,
        children=np.concatenate([sample.children, new]),
        weights=np.concatenate([sample.weights * kept, added]),
        tree_topology=np.concatenate(
            [sample.tree_topology, np.arange(known, known + new.shape[0], dtype=np.int32)]
        ),
        tree_weights=np.concatenate([sample.tree_weights * kept, added]),
        lengths=None,
    )

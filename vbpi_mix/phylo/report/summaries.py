"""Trees drawn from a mixture, and the exact probabilities of their topologies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vbpi_mix.phylo.draws import ComponentSelection
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.report.batches import batches_of
from vbpi_mix.phylo.sbn.averages import average
from vbpi_mix.phylo.trees.topology import canonicalise, unique_topologies
from vbpi_mix.threads import timed_pieces


@dataclass(frozen=True, eq=False)
class PosteriorTrees:
    """N trees drawn from a mixture, of each component as many as its weight says.

    children int32 [N, n-2, 2] in the numbering of `splits` int32 [N, 2n-2], the split above each node; lengths
    float64 [N, E], expected substitutions per site. theta: float64 [N, D], the model's parameters on their unconstrained
    scale, None for a model without any.
    """

    children: np.ndarray
    splits: np.ndarray
    lengths: np.ndarray
    theta: np.ndarray | None = None


def draw_trees(
    mixture: PhyloMixture, draw: ComponentSelection, count: int, generator: torch.Generator
) -> PosteriorTrees:
    """At least `count` trees; `draw` must name every component (an A2A draw)."""
    children, splits, lengths = [], [], []
    theta: list[np.ndarray] = []
    with timed_pieces() as pieces:
        for draws, _ in batches_of(mixture, draw, count, generator):
            children.append(draws.topologies.children)
            splits.append(draws.topologies.splits)
            lengths.append(np.exp(draws.log_lengths.numpy().reshape(len(draws.topologies), -1)))
            if draws.theta is not None:
                theta.append(draws.theta.numpy().reshape(len(draws.topologies), -1))
            pieces.ended()
    joined = np.concatenate(theta) if theta else None
    return PosteriorTrees(np.concatenate(children), np.concatenate(splits), np.concatenate(lengths), joined)


def topology_probabilities(mixture: PhyloMixture, children: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct topologies of int32 [N, n-2, 2], canonical, and their exact probabilities, the largest first."""
    distinct, _ = unique_topologies(canonicalise(children)[0])
    log_q = mixture.log_topology_probability(mixture.support.encode(distinct))
    probabilities = average(np.exp(log_q), mixture.log_shares)
    order = np.argsort(-probabilities, kind="stable")
    return distinct[order], probabilities[order]

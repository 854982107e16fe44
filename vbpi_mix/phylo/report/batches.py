"""Draws from the whole mixture, a few thousand at once: of each component as many as its weight says.

Of uniform weights these are equally many of each, drawn together. Of others each count is its share of all, rounded up or
down at random and right on average (sampling in strata of proportional size): so that draws count alike whatever the
weights are, and an average over them is one over the mixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vbpi_mix.estimators import ComponentDraw
from vbpi_mix.phylo.draws import ComponentSelection, PhyloDraws
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.sbn.averages import in_proportion

AT_ONCE = 2_000


def batches_of(
    mixture: PhyloMixture, draw: ComponentSelection, count: int, generator: torch.Generator
) -> Iterator[tuple[PhyloDraws, torch.Tensor]]:
    """At least `count` draws without gradient, evaluated under all components, and the component of each, [T]. `draw` must
    name every component (an A2A draw).
    """
    for selection, particles in _selections(mixture, draw, count, generator):
        with torch.no_grad():
            draws = mixture.sample(selection, particles, generator)
        yield draws, selection.sampled.repeat_interleave(particles)


def _selections(
    mixture: PhyloMixture, draw: ComponentSelection, count: int, generator: torch.Generator
) -> Iterator[tuple[ComponentSelection, int]]:
    """What is drawn at once, and how many particles of each component that it names."""
    if mixture.log_shares is None:
        of_each, at_once = -(-count // mixture.n_components), max(1, AT_ONCE // mixture.n_components)
        for first in range(0, of_each, at_once):
            yield draw, min(at_once, of_each - first)
        return
    start = float(torch.rand((), generator=generator, dtype=torch.float64))
    components = torch.from_numpy(in_proportion(mixture.log_shares, count, start))
    for some in components.split(AT_ONCE):
        yield ComponentDraw(some, draw.evaluated, some), 1

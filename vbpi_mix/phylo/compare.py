"""A run or a tree sample against tree samples or another run, by name: what `vbpi-mix compare` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.phylo.assess.comparison import (
    Comparison,
    TopologyDistribution,
    WeightedComparison,
    check_taxa,
    of_mixture,
    of_sample,
    of_topologies,
)
from vbpi_mix.phylo.assess.comparison import compare as compare_distributions
from vbpi_mix.phylo.assess.weighted import compare_weighted
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.benchmarks import find_benchmark
from vbpi_mix.phylo.inputs import Progress
from vbpi_mix.phylo.run import Run, load
from vbpi_mix.phylo.trees.files import read_tree_taxa
from vbpi_mix.phylo.trees.sample import expand_paths, read_tree_sample
from vbpi_mix.training.reports import Note
from vbpi_mix.training.run_directory import is_run

Side = str | os.PathLike[str] | Run


@dataclass(frozen=True)
class _Options:
    """How sides are read. taxa_from: the file whose taxa stand in for those of an alignment, if one does."""

    burn_in: float | int
    draws: int
    seed: int
    taxa: tuple[str, ...]
    taxa_from: str | None
    prune: bool
    tell: Progress | None


def compare(
    first: Side,
    *samples: Side,
    alignment: str | os.PathLike[str] | None = None,
    burn_in: float | int = 0,
    draws: int = 100_000,
    seed: int = 0,
    prune: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare a run, or a tree sample, with tree samples: KL divergence, split frequencies, credible sets; also by the weighted
    draws of a run.

    first      a Run or its folder, or a file or pattern of trees
    samples    one Run or folder, or files and patterns of trees, averaged as one sample, each weighing the same
    alignment  where no side is a run: what numbers the taxa; by default the first tree file does
    burn_in    trees dropped from the front of each file: a fraction, or a number
    draws, seed   topologies drawn from a run, and the seed of that and of the resolution of polytomies
    prune      leave out of the trees the taxa that the run or the alignment lacks
    progress   called with notes on what was done to read the trees

    ConfigError if a folder is not a run, or is one of several samples; TreeError for trees that do not fit.

    >>> import vbpi_mix
    >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", support="fixed", iterations=20, threads=1)
    >>> found = vbpi_mix.compare(run, "examples/eight.nwk", draws=100)
    >>> round(found.divergence.kl, 6), round(found.asdsf, 6)
    (0.0, 0.0)
    """
    if not samples:
        raise ConfigError("compare needs a sample beside the run: name tree files, or another run")
    runs = [_run_of(first), _run_of(samples[0])]
    wrong = [each for each in samples[1:] if isinstance(each, Run) or Path(each).is_dir()]
    if wrong or (runs[1] is not None and len(samples) > 1):
        raise ConfigError(f"{(wrong or samples)[0]}: a folder can only be compared as the one sample; give it alone")
    either = runs[0] or runs[1]
    taxa = _taxa(either, alignment, first)
    options = _Options(burn_in, draws, seed, taxa, None if either or alignment else str(first), prune, progress)
    sides = _distribution(runs[0], [first], options), _distribution(runs[1], samples, options)
    check_taxa(*sides)
    return compare_distributions(*sides, _weighted(runs, sides))


def _weighted(
    runs: Sequence[Run | None], sides: tuple[TopologyDistribution, TopologyDistribution]
) -> WeightedComparison | None:
    """The weighted draws of the run, or of both; None if there is none."""
    passes = [run.importance for run in runs if run is not None and run.importance.usable]
    if not passes or len(passes) < sum(run is not None for run in runs):
        return None
    answer = passes[0].answer
    # One run is compared with the other side as it is, two with each other, both by weighted draws.
    other = sides[0 if runs[0] is None else 1]
    if len(passes) == 2:
        of_other = passes[1].answer
        other = of_topologies(
            of_other.children, of_other.topologies.probabilities, of_other.frequencies(), other.taxa, ("", "weighted draws")
        )
    found = compare_weighted(answer.frequencies(), answer.children, answer.topologies.probabilities, other)
    return replace(found, reliable=all(each.verdict.weighted for each in passes))


def _run_of(place: Side) -> Run | None:
    """The run at a folder; None if the path is not a folder, so that it must be a tree sample."""
    if isinstance(place, Run):
        return place
    if not Path(place).is_dir():
        return None
    if not is_run(place):
        raise ConfigError(f"{place} is a folder but not a run of vbpi-mix; name a run, or the tree files themselves")
    return load(place)


def _taxa(run: Run | None, alignment: str | os.PathLike[str] | None, first: Side) -> tuple[str, ...]:
    """The names that number the taxa: of the run, else of the alignment, else of the first tree file."""
    if run is not None:
        if alignment is not None:
            raise ConfigError("an alignment is for two samples; a run knows its own")
        return run.taxa
    if alignment is not None:
        return read_alignment(find_benchmark(str(alignment)) or alignment).taxa
    return read_tree_taxa(expand_paths([str(first)])[0])


def _distribution(run: Run | None, places: Sequence[Side], options: _Options) -> TopologyDistribution:
    if run is not None:
        name = str(run.path) if isinstance(places[0], Run) else str(places[0])
        return of_mixture(run.mixture, run.taxa, name, options.draws, options.seed)
    patterns = [str(place) for place in places]
    name = patterns[0] if len(patterns) == 1 else f"{patterns[0]} and {len(patterns) - 1} more"
    try:
        sample = read_tree_sample(
            expand_paths(patterns), options.taxa, burn_in=options.burn_in, seed=options.seed, prune=options.prune
        )
    except TreeError as error:
        if options.taxa_from is None or "not those of the alignment" not in str(error):
            raise
        text = str(error).replace("the alignment", options.taxa_from)
        raise TreeError(f"{text} (name the alignment if that is the one that is wrong)") from None
    if options.tell is not None:
        for note in sample.notes:
            options.tell(Note(note))
    return of_sample(sample, name)

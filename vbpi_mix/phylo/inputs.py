"""What a fit is given, read or made: the alignment with its parts, models and priors, and the tree sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vbpi_mix.errors import ConfigError
from vbpi_mix.followers import check_same_files
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
from vbpi_mix.phylo.data.benchmarks import find_benchmark
from vbpi_mix.phylo.data.partitions import read_partitions
from vbpi_mix.phylo.models.named import INDEX
from vbpi_mix.phylo.parts import DataPart, data_parts
from vbpi_mix.phylo.prior_choices import priors_of
from vbpi_mix.phylo.problem import FittedData, rough_parameters
from vbpi_mix.phylo.report.rooting import Rooting
from vbpi_mix.phylo.sampling.program_parts import ProgramPart, ProgramParts
from vbpi_mix.phylo.sampling.saved import SavedSampling
from vbpi_mix.phylo.sampling.sources import SOURCES, check_source, describe_source, obtain_tree_sample
from vbpi_mix.phylo.shared_posterior import shared_posterior
from vbpi_mix.phylo.trees.copies import join_copies_uniformly
from vbpi_mix.phylo.trees.files import count_trees
from vbpi_mix.phylo.trees.find import expand_paths, find_tree_families
from vbpi_mix.phylo.trees.sample import TreeSample, read_tree_sample
from vbpi_mix.training.reports import Note

Progress = Callable[[Any], None]
Given = str | os.PathLike[str] | Alignment
Trees = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | TreeSample | None

# Of traces of Markov chains that are found and not named, so that nobody has said which of their trees count.
TRACE_BURN_IN = 0.25


@dataclass(frozen=True, eq=False)
class Data:
    """What is fitted. source: the part of config.yaml that says where the trees came from: their files, or what made
    them and what was dropped from the front of each. fitted: the parts with their posterior."""

    alignment: Alignment
    sample: TreeSample
    source: dict[str, Any]
    fitted: FittedData
    burn_in: float = 0.0


def say_nothing(event: Any) -> None:
    """The progress of who has asked for none."""


def find_alignment(name: str | os.PathLike[str]) -> Path:
    """The file of that name, or else the benchmark data set of that name where there is one."""
    path = Path(name)
    if path.exists() or len(path.parts) > 1:
        return path
    return find_benchmark(str(name)) or path


def read_fitted(given: Given, config: FitConfig, tell: Progress) -> tuple[Alignment, FittedData]:
    """An alignment with its parts, models and priors, as the choices say."""
    alignment, parts = read_parts(given, config, tell)
    Rooting.of(config.outgroup, False, alignment.taxa)
    priors = priors_of(alignment.taxa, config.prior_lengths, config.constraint, config.fix_topology)
    if priors.describe():
        tell(Note(f"priors: {priors.describe()}"))
    posterior = shared_posterior(parts, config.model, priors)
    if config.device is not None:
        posterior.to(config.device)
    return alignment, FittedData(alignment.taxa, parts, posterior)


def read_parts(given: Given, config: FitConfig, tell: Progress) -> tuple[Alignment, tuple[DataPart, ...]]:
    """An alignment, and its parts with their models."""
    path = None if isinstance(given, Alignment) else find_alignment(given)
    if path is not None and path != Path(str(given)):
        tell(Note(f"no file {given} here: using the benchmark data set, {path}"))
    check_same_files(file for file in (path, config.partitions) if file is not None)
    alignment = given if isinstance(given, Alignment) else read_alignment(path or Path(), config.type)
    return alignment, _parts(alignment, config, tell)


def read_data(
    given: Given, trees: Trees, config: FitConfig, threads: int, tell: Progress, saved: SavedSampling | None = None
) -> Data:
    """The alignment, and its tree sample: given, found beside it, or made. saved: from where making it goes on."""
    alignment, fitted = read_fitted(given, config, tell)
    if isinstance(trees, TreeSample):
        # Whoever read it has its notes.
        sample = _ready(trees, alignment, fitted, config.seed, tell, known=len(trees.notes))
        return Data(alignment, sample, {"files": list(trees.sources)}, fitted)
    path = None if isinstance(given, Alignment) else find_alignment(given)
    fixed = fitted.posterior.topology_prior.fixed
    # Where the topology is fixed, no file is looked for that is not named.
    files = _named_files(trees, config.trees_from)
    is_found = not files and config.trees_from == "auto" and path is not None and not fixed
    if is_found:
        files = find_files_beside(Path(str(path)), tell)
    if files:
        check_same_files(files)
        return _read_sample(files, alignment, fitted, config, is_found, tell)
    where = f"no tree sample beside {path}" if path is not None else "no tree sample given"
    if not fixed:
        tell(Note(f"{where}: making one ({config.trees_from}), as none is named"))
    check_source(fitted.posterior, config.trees_from)
    theta = rough_parameters(fitted.posterior, fitted.parts, config.seed)
    sample, facts = obtain_tree_sample(
        alignment,
        config.trees_from,
        posterior=fitted.posterior.at(theta),
        parts=program_parts(alignment, fitted),
        seconds=config.trees_seconds,
        until="coverage",
        seed=config.seed,
        threads=threads,
        progress=tell,
        saved=saved,
    )
    tell(Note(f"tree sample made: {describe_source(facts)}"))
    if facts["source"] == "iqtree":
        sample = _ready(sample, alignment, fitted, config.seed, tell)
    return Data(alignment, sample, {"made": facts}, replace(fitted, theta=theta))


def _read_sample(
    files: Sequence[Path], alignment: Alignment, fitted: FittedData, config: FitConfig, is_found: bool, tell: Progress
) -> Data:
    """The data with the sample that files hold. is_found: whether they were found, and not named."""
    of_traces = TRACE_BURN_IN if is_found and config.burn_in is None else 0.0
    sample = read_tree_sample(
        files, alignment.taxa, burn_in=config.burn_in or 0.0, hpd=config.hpd, seed=config.seed, prune=config.prune,
        trace_burn_in=of_traces,
    )  # fmt: skip
    burn_in = config.burn_in or (of_traces if sample.is_trace else 0.0)
    return Data(alignment, _ready(sample, alignment, fitted, config.seed, tell), {"files": list(sample.sources)}, fitted, burn_in)


def _ready(
    sample: TreeSample, alignment: Alignment, fitted: FittedData, seed: int, tell: Progress, known: int = 0
) -> TreeSample:
    """A sample of other programs, with copies joined in every way, and constraints obeyed; its notes are told, but for the
    first `known`."""
    joined = join_copies_uniformly(sample, alignment.of_included().states, seed)
    for note in joined.notes[known:]:
        tell(Note(note))
    return _allowed(joined, fitted, tell)


def program_parts(alignment: Alignment, fitted: FittedData) -> ProgramParts | None:
    """The parts and their models, for other programs; None where all of the alignment is nucleotides under JC69."""
    from vbpi_mix.phylo.models.joint import HeldModel
    from vbpi_mix.phylo.models.part import make_part

    held = fitted.posterior.model
    if not isinstance(held, HeldModel):
        (only,) = fitted.parts
        if only.places is None or only.places.size == alignment.included.size:
            return None
        return ProgramParts((ProgramPart(only.places, make_part(only.model, only.patterns)),))
    characters = held.characters
    parts = zip(fitted.parts, characters.parts, strict=True)
    given = tuple(ProgramPart(data.places, part.model) for data, part in parts if data.places is not None)
    linked = tuple(name for name in characters.linked if name != "multipliers")
    return ProgramParts(given, linked, characters.multiplier_prior)


def _allowed(sample: TreeSample, fitted: FittedData, tell: Progress) -> TreeSample:
    """The trees that have the splits that all must have. TreeError if none has."""
    kept, dropped = fitted.posterior.topology_prior.restrict(sample)
    if dropped:
        tell(Note(f"{dropped:,} of {sample.tree_topology.size:,} trees dropped, which break a constraint", warning=True))
    return kept


def _parts(alignment: Alignment, config: FitConfig, tell: Progress) -> tuple[DataPart, ...]:
    """The parts of an alignment with their models, as the choices say."""
    partitions = None
    if config.partitions_partial and config.partitions is None:
        raise ConfigError("partitions-partial: there is no partition file that could leave sites out; name it by --partitions")
    if config.partitions is not None:
        partitions = read_partitions(Path(config.partitions), alignment, config.partitions_partial, INDEX)
    return data_parts(alignment, config.model.substitution, partitions, lambda text: tell(Note(text)))


def _named_files(trees: Trees, maker: str) -> list[Path]:
    """The tree files that are named, as trees or in place of what makes them."""
    assert not isinstance(trees, TreeSample)
    listed = [trees] if isinstance(trees, str | os.PathLike) else list(trees or [])
    return expand_paths([*(str(name) for name in listed), *([] if maker in SOURCES else [maker])])


def find_files_beside(alignment: Path, tell: Progress) -> list[Path]:
    """The tree sample beside an alignment; a single tree, such as a consensus, is none unless it is named."""
    for files in find_tree_families(alignment):
        shown = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        if len(files) > 1 or count_trees(files[0]) > 1:
            tell(Note(f"tree sample found beside the alignment: {shown}"))
            return files
        tell(Note(f"{shown} holds a single tree, which is no sample of trees, and is not used; name it by --trees to use it"))
    return []

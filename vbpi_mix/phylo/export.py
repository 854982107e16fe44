"""A run exported for other programs: a family of files, made from the run's folder alone, all of them or none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.files import check_free, check_writable, write_together
from vbpi_mix.phylo.answers import Answers
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.export_draws import ExportDraws, Trace, trace
from vbpi_mix.phylo.report.export_files import Exported, endings
from vbpi_mix.phylo.report.rooting import Rooting
from vbpi_mix.training.run_directory import RunDirectory

TREES = 1_000
# Draws are resampled from a stream of their own.
STREAM = 2


@dataclass(frozen=True)
class Export:
    """What was written: the files, how many trees are in the sample and from which answer ("weighted" or "fit"), and remarks
    on roots that are not where they were asked."""

    paths: tuple[Path, ...]
    trees: int
    source: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class ExportChoices:
    """trees: in the sample. form: one of export_files.ENDINGS. weighted: the weighted answer if the verdict allows."""

    trees: int = TREES
    form: str = "mrbayes"
    rooting: Rooting | None = None
    weighted: bool = True

    def __post_init__(self) -> None:
        """ConfigError for a number of trees below 1 and for a format that is not known."""
        check_trees(self.trees)
        endings(self.form)


def check_trees(count: int) -> None:
    """ConfigError below 1."""
    if count < 1:
        raise ConfigError(f"--trees {count}: a sample has at least 1 tree")


def places(run: Path, out: str | os.PathLike[str] | None, form: str) -> list[Path]:
    """The files of a format: in the folder `out`, else beside the run, named like the run."""
    full = run.absolute()
    folder = full.parent if out is None else Path(out)
    name = full.name.removesuffix(".vbpi") or full.name
    return [folder / f"{name}{ending}" for ending in endings(form)]


def check_places(paths: list[Path], force: bool) -> None:
    """ConfigError unless all can be written, and none is replaced without `force`."""
    check_writable(paths[0].parent)
    if paths[0].parent.exists():
        check_free(paths, force)


def check_trained(directory: RunDirectory) -> None:
    """RunDirectoryError for a run that has learned nothing yet."""
    if not directory.was_trained():
        raise RunDirectoryError(f"{directory.path} was never trained: it has no answer yet; run fit --resume on it first")


def export(answers: Answers, problem: PhyloProblem, seed: int, paths: list[Path], choices: ExportChoices) -> Export:
    """Write the files; their places were checked. seed: of the run. ConfigError if they cannot be written after all."""
    answer, draws = answers.with_draws(choices.trees, choices.weighted)
    sample, columns = draw_sample(draws, problem, seed, choices.trees)
    exported = Exported(problem.taxa, answer, draws, sample, columns, problem.posterior.characters, choices.rooting)
    texts, remarks = exported.texts(choices.form)
    contents = dict(zip((path.name for path in paths), texts.values(), strict=True))
    folder = paths[0].parent
    try:
        write_together(folder, contents)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); choose another place") from None
    return Export(tuple(paths), choices.trees, answer.source, remarks)


def draw_sample(draws: ExportDraws, problem: PhyloProblem, seed: int, count: int) -> tuple[ExportDraws, Trace]:
    """`count` equally weighted draws with their trace, the same for the same seed."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, STREAM]))
    sample = draws.take(draws.resample(count, rng))
    return sample, trace(sample, problem.posterior)

"""A run: a fit that is trained, resumed, evaluated and saved, and loaded again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from vbpi_mix.errors import CheckpointError, RunDirectoryError, SupportError
from vbpi_mix.evaluation import Evaluation, evaluate
from vbpi_mix.followers import check_same_files
from vbpi_mix.phylo.asked import UNFINISHED, check_entries_of_fit
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.fitted import Fitted
from vbpi_mix.phylo.problem import KIND, restore_problem
from vbpi_mix.phylo.results import EVALUATED, combined_forms, evaluation_entries, training_entries
from vbpi_mix.sizes import check_memory
from vbpi_mix.training.checkpoint import MISFITS, load_checkpoint
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.extension import extend, standing_of
from vbpi_mix.training.provenance import available_cores, typed_commands, use_threads
from vbpi_mix.training.reports import Note
from vbpi_mix.training.run_config import check_recorded
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.train import train_in

Progress = Callable[[Any], None]
# The command of a folder that holds several runs.
REPLICATES = "replicates"


class Run(Fitted):
    """A mixture trained on an alignment, and the folder that keeps it. `fit` and `load` make one.

    path      the folder
    config    what config.yaml holds; `model` and `training` are its parts as checked choices
    taxa, patterns, support, mixture, target   what was fitted to what

    >>> import vbpi_mix
    >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
    >>> run.summary["iterations"], len(run.taxa)
    (20, 8)
    """

    def evaluate(
        self,
        importance_samples: int = 1000,
        repeats: int = 100,
        *,
        seed: int = 1,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """The marginal log-likelihood by importance sampling; also written to `summary`.

        importance_samples: of each component, for each of `repeats` independent estimates. progress: told how many repeats
        are done, and of how many. ConfigError unless both numbers are at least 1.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> found = run.evaluate(importance_samples=50, repeats=2)
        >>> -4000 < found.pooled.mean < -3800
        True
        """
        use_threads(threads or available_cores(), torch_threads=1)
        kept = 8.0 * (4 * self.model.components * importance_samples + 4 * repeats)
        check_memory(kept, f"{importance_samples:,} importance samples of A={self.model.components} and {repeats:,} repeats")
        with self.directory:
            started = time.perf_counter()
            found = evaluate(
                self.mixture,
                self.target,
                importance_samples=importance_samples,
                repeats=repeats,
                generator=torch.Generator().manual_seed(seed),
                progress=progress,
            )
            entries = evaluation_entries(found, time.perf_counter() - started)
            self.directory.update_summary(combined_forms(entries, self.summary.get("marginal_log_likelihood", [])))
        return found

    def resume(
        self,
        *,
        iterations: int | None = None,
        seconds: float | None = None,
        threads: int | None = None,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Continue training from the last checkpoint, as if it had not stopped; returns this run.

        iterations, seconds: new budgets, counted from the beginning of the run. device: where likelihoods are computed, cpu or
        cuda; None: where they were since the run was made or loaded, which for a loaded one is the processor. ConfigError if
        budgets are less than it has had, or there is no such device.

        >>> import vbpi_mix
        >>> run = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1)
        >>> run.resume(iterations=30).summary["iterations"]
        30
        """
        with self.directory:
            training = self.extended(iterations, seconds, threads)
            if device is not None:
                self.problem.posterior.to(device)
            self.directory.update_summary({"commands": typed_commands(self.summary)})
            use_threads(training.threads or 1, torch_threads=1)
            self.config = {**self.config, "training": training.to_dict()}
            self.training = training
            self.train(progress, resume=True)
        return self

    def extended(
        self, iterations: int | None = None, seconds: float | None = None, threads: int | None = None
    ) -> TrainingConfig:
        """How `resume` would train with these budgets; ConfigError as there."""
        training = self.training if threads is None else replace(self.training, threads=threads)
        return extend(training.resolve(), standing_of(self.directory, KIND), iterations=iterations, seconds=seconds)

    def save(self, path: str | os.PathLike[str], force: bool = False) -> Run:
        """Copy the run's folder to `path`; returns the run there. RunDirectoryError as `fit`."""
        with RunDirectory.create(path, force) as copy:
            shutil.copytree(self.path, copy.path, dirs_exist_ok=True)
            copy.commit(self.config)
        return Run(copy, self.config, self.problem)

    def train(self, progress: Progress | None = None, resume: bool = False) -> None:
        """Train to the end of the run's budgets, then write the answer and the summary into its folder."""
        self._answers = self._unanswered()
        notice = None if progress is None else lambda text: progress(Note(text))
        with self.directory:
            result = train_in(
                self.directory, self.problem, self.training, self.config, resume=resume, evaluated=EVALUATED,
                progress=progress, notice=notice,
            )  # fmt: skip
            self.directory.update_summary(training_entries(result, self.model, self.training.seed, self.problem))
            self._answers.write()


def load(path: str | os.PathLike[str]) -> Run:
    """The run in a folder, with what it has learned.

    Raises RunDirectoryError if there is none or its configuration is no good, CheckpointError if its checkpoint is missing,
    damaged, or not of trees.

    >>> import tempfile, vbpi_mix
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = f"{folder}/eight.vbpi"
    ...     made = vbpi_mix.fit("examples/eight.nex", "examples/eight.nwk", iterations=20, threads=1, out=place)
    ...     run = vbpi_mix.load(place)
    ...     run.consensus() == made.consensus()
    True
    """
    return load_from(RunDirectory.open(path))


def load_from(directory: RunDirectory) -> Run:
    """The run of a folder that is open; errors as `load`."""
    path, config = directory.path, directory.read_config()
    if config.get("command") == REPLICATES:
        raise RunDirectoryError(f"{path} holds several fits: name one of them, such as {path / 'replicate-1'}")
    if UNFINISHED in config:
        raise RunDirectoryError(f"{path} had not begun to train: run fit --resume on it first")
    check_same_files([directory.checkpoint])
    checkpoint = load_checkpoint(directory.checkpoint, KIND)
    check_entries_of_fit(directory, config)
    model = ModelConfig.from_dict(config.get("model"), str(path), directory.version)
    check_recorded(directory, config, checkpoint.config)
    try:
        problem = restore_problem(checkpoint.problem, model)
    except SupportError as error:
        raise CheckpointError(f"{directory.checkpoint} is damaged: {error}; use another checkpoint") from error
    except MISFITS as error:
        raise CheckpointError(f"{directory.checkpoint} lacks {error}: it is not a whole run of trees") from error
    return Run(directory, config, problem)

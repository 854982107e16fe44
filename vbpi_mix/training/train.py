"""Train a problem in a run directory: resume or start, keep config.yaml and log.txt in step, write nothing on other ranks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from vbpi_mix.parallel import ranks
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.extension import has_checkpoint
from vbpi_mix.training.problem import Problem
from vbpi_mix.training.reports import TrainingReport, TrainingResult
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.trainer import Trainer

ProgressCallback = Callable[[TrainingReport], None]
NoticeCallback = Callable[[str], None]


def train_in(
    run: RunDirectory,
    problem: Problem,
    training: TrainingConfig,
    config: Mapping[str, Any],
    *,
    resume: bool = False,
    evaluated: Collection[str] = (),
    progress: ProgressCallback | None = None,
    notice: NoticeCallback | None = None,
) -> TrainingResult:
    """Train to the end or to an interruption, from the last checkpoint if `resume`; the run gets trace, checkpoint and log.

    config: of the whole run, for config.yaml and the checkpoint. evaluated: entries of summary.json that tell of the model as
    it was; they go when training continues. notice: told where a resumed run has nothing to train, or starts from the
    beginning. Under a process group the first rank alone writes and reports. CheckpointError, before anything is changed, if
    there is a checkpoint that does not load, or none although the run was trained; OSError where a file cannot be written.
    """
    first = ranks()[0] == 0
    trainer = Trainer(problem, training, run, progress if first else None, run_config=config)
    remark = _take_up(trainer, run) if resume else None
    if not first:
        return trainer.run()
    if remark is not None and notice is not None:
        notice(remark)
    trainer.begin()
    # Not before there is the checkpoint that it belongs to.
    run.write_config(config)
    run.keep()
    if resume and not trainer.ended:
        run.drop_from_summary(evaluated)
    run.log(f"{'resumed' if resume else 'started'} at iteration {trainer.iteration:,}")
    result = trainer.run()
    run.log(f"stopped: {result.stop_reason}, {result.iterations:,} iterations, {result.seconds:.1f} s")
    return result


def _take_up(trainer: Trainer, run: RunDirectory) -> str | None:
    """Bring a trainer to where the run stands; returns what a user may not expect."""
    if not has_checkpoint(run):
        return "no checkpoint yet: starting from the beginning"
    trainer.resume()
    if trainer.ended:
        return f"nothing left to train: the run is at its end, after {trainer.iteration:,} iterations"
    return None

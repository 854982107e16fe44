"""Train on cells: put a run together from its choices (`fit`), or resume one (`resume`).

    from vbpi_mix.cells.config import FitConfig
    from vbpi_mix.cells.fit import fit

    run = fit(FitConfig("simulated", A=4, epochs=50), "cells.vbpi")
    run.evaluate().clusters.ari

`progress` gets a TrainingReport about twice a second, `notice` a line of text where there is something to say. Both functions set
the number of torch's threads to that of the run, as others round sums differently.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from vbpi_mix.cells.batches import CellBatches
from vbpi_mix.cells.config import KIND, FitConfig, RunConfig
from vbpi_mix.cells.data import CellData
from vbpi_mix.cells.model import CellModel, ModelSpec, build_model
from vbpi_mix.cells.run import EVALUATED, CellRun, run_cells
from vbpi_mix.cells.sources import NAMES, load_cells, name_of
from vbpi_mix.estimators import Estimator
from vbpi_mix.image.config import Estimation
from vbpi_mix.training.batch_problem import BatchProblem
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.epochs import iterations_of
from vbpi_mix.training.extension import extend, standing_of
from vbpi_mix.training.provenance import environment, use_threads, versions
from vbpi_mix.training.reports import TrainingResult
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix.training.train import NoticeCallback, ProgressCallback, train_in
from vbpi_mix.training.validation import hash_seed

# The stream of the start, apart from those of training (the seed itself) and of validations (t >= 1).
START_STREAM = -1


def run_name(data: str) -> Path:
    """Where a run of these cells goes by default."""
    return Path(f"{name_of(data)}.vbpi")


def fit(
    config: FitConfig,
    out: str | Path | None = None,
    *,
    force: bool = False,
    progress: ProgressCallback | None = None,
    notice: NoticeCallback | None = None,
) -> CellRun:
    """Train a fresh model and write its run directory.

    out: by default the name of the cells with .vbpi. force: replace an earlier run there. RunDirectoryError if the place is
    taken, CellsError or DownloadError if the cells cannot be had, ConfigError if choices do not fit: all before anything is
    written.
    """
    place = run_name(config.data) if out is None else Path(out)
    RunDirectory.check_free(place, force)
    use_threads(config.threads)
    data = load_cells(config.data, config.genes, config.layer, config.labels)
    model = make_model(config.model(len(data.genes)), config.seed)
    problem = make_problem(model, data, config.estimation(), config.seed)
    training = config.training(problem.iterations_per_epoch)
    source = config.data if config.data in NAMES else str(Path(config.data).absolute())
    facts = {**data.facts(), "source": source, "genes": config.genes, "layer": config.layer}
    recorded = RunConfig(facts, model.spec, config.estimation(), training.to_dict())
    if notice is not None:
        for line in introduction(data, model):
            notice(line)
    with RunDirectory.create(place, force) as run:
        run.update_summary({"parameters": model.parameter_counts()})
        run.commit(recorded.to_dict())
        return _train(run, recorded, problem, model, training, progress=progress)


def resume(
    path: str | Path,
    *,
    data: str | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    patience: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
    notice: NoticeCallback | None = None,
) -> CellRun:
    """Train a run to its end, or to a later one: epochs and seconds are of the whole run.

    data: the file, if it has moved. CheckpointError, ConfigError or CellsError before anything is changed.
    """
    run = RunDirectory.open_unfinished(path)
    config = RunConfig.read(run)
    training = TrainingConfig.from_dict(config.training)
    cells = run_cells(config, data)
    standing = standing_of(run, KIND)
    training = dataclasses.replace(training, threads=training.threads if threads is None else threads).resolve()
    use_threads(training.threads or 1)
    model = make_model(config.model, training.seed)
    problem = make_problem(model, cells, config.estimation, training.seed)
    iterations = iterations_of(epochs, problem.iterations_per_epoch, standing)
    training = extend(training, standing, iterations=iterations, seconds=seconds, patience=patience)
    config = dataclasses.replace(config, training=training.to_dict())
    with run:
        return _train(run, config, problem, model, training, resume=True, progress=progress, notice=notice)


def make_model(spec: ModelSpec, seed: int) -> CellModel:
    """A fresh model."""
    return build_model(spec, torch.Generator().manual_seed(hash_seed(seed, START_STREAM)))


def make_problem(model: CellModel, data: CellData, estimation: Estimation, seed: int) -> BatchProblem:
    """What the trainer trains. ConfigError if there are fewer cells than a batch has."""
    training, validation = (torch.from_numpy(data.counts[rows]) for rows in (data.train, data.validation))
    batches = CellBatches(model, training, validation, batch_size=estimation.batch_size, seed=seed)
    return BatchProblem(
        KIND,
        batches,
        estimator=Estimator.parse(estimation.estimator),
        sampled=estimation.S,
        importance_samples=estimation.L,
        phi_per=estimation.phi_per,
    )


def introduction(data: CellData, model: CellModel) -> list[str]:
    """Data and parameter counts, for people."""
    sizes = f"{len(data.train):,} cells to train, {len(data.validation):,} to validate, {len(data.test):,} to test"
    place = f"; counts from {data.place}" if data.place else ""
    lines = [f"{data.name}: {sizes}; {len(data.genes):,} genes{place}"]
    if data.dropped:
        lines.append(f"{data.name}: {data.dropped:,} cells have no count in these genes and were dropped")
    lines.extend(filter(None, [data.labels_notice()]))
    counts = model.parameter_counts()
    return [*lines, f"{counts['total']:,} parameters: encoder {counts['encoder']:,}, decoder {counts['decoder']:,}"]


def _train(
    directory: RunDirectory,
    config: RunConfig,
    problem: BatchProblem,
    model: CellModel,
    training: TrainingConfig,
    **how: Any,
) -> CellRun:
    """Train, and write how it went; the run holds the model that its checkpoint holds."""
    result = train_in(directory, problem, training, config.to_dict(), evaluated=EVALUATED, **how)
    directory.update_summary(_summary(config, problem, model, training, result))
    kept = build_model(config.model)
    kept.load_state_dict(model.state_dict())
    return CellRun(directory, config, kept.eval(), result)


def _summary(
    config: RunConfig, problem: BatchProblem, model: CellModel, training: TrainingConfig, result: TrainingResult
) -> dict[str, Any]:
    """Entries of summary.json."""
    estimation = dataclasses.asdict(config.estimation)
    return {
        "command": KIND,
        "data": config.data["name"],
        "counts_from": config.data.get("counts_from"),  # which runs of earlier versions do not say
        "genes": config.model.genes,
        **{name: estimation[name] for name in ("A", "S", "L", "estimator", "phi_per")},
        "seed": training.seed,
        "iterations": result.iterations,
        "epochs": result.iterations / problem.iterations_per_epoch,
        "seconds": result.seconds,
        "seconds_per_iteration": result.seconds_per_iteration,
        "training_bound": result.bound,
        "best_validation_miselbo": result.best_metric,
        "stop_reason": result.stop_reason,
        "parameters": model.parameter_counts(),
        "component_counts": problem.component_counts.tolist(),
        "versions": versions(),
        "environment": environment(),
    }

"""Train on images: put a run together from its choices (`fit`), or resume one (`resume`).

    from vbpi_mix.image.config import FitConfig
    from vbpi_mix.image.fit import fit

    run = fit(FitConfig("digits", A=4, epochs=50), "digits.vbpi")
    run.evaluate(importance_samples=100).mean("pooled")

Both set the number of torch's threads to that of the run, as others round sums differently. `progress` gets a TrainingReport
about twice a second, `notice` a line of text where there is something to say. Under a process group all ranks train
together, and the first alone writes and reports.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from vbpi_mix.estimators import Estimator
from vbpi_mix.image.batches import ImageBatches
from vbpi_mix.image.config import KIND, Estimation, Execution, FitConfig, RunConfig
from vbpi_mix.image.datasets import ImageData, load_images
from vbpi_mix.image.model import ImageModel, build_model
from vbpi_mix.image.run import EVALUATED, ImageRun, check_device, run_images
from vbpi_mix.image.spec import ModelSpec
from vbpi_mix.parallel import ranks
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
# Images over which the encoder of a VampPrior varies by 1 at the start. With 50 that is less sure of other images.
STANDARDISED_ON = 500


def fit(
    config: FitConfig,
    out: str | Path | None = None,
    *,
    force: bool = False,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
    notice: NoticeCallback | None = None,
) -> ImageRun:
    """Train a fresh model and write its run directory.

    out: by default the data set's name with .vbpi. force: replace an earlier run there. folder: of the data files.
    RunDirectoryError if the place is taken, DatasetError or DownloadError if the images cannot be had, ConfigError if choices
    do not fit: all before anything is written.
    """
    place = Path(f"{config.data}.vbpi" if out is None else out)
    first = ranks()[0] == 0
    check_device(config.device)
    if first:
        RunDirectory.check_free(place, force)
    use_threads(config.threads_used())
    data = load_images(config.data, folder)
    model = make_model(config.spec(), config.seed, config.execution(), data)
    problem = make_problem(model, data, config.estimation(), config.seed)
    training = config.training(problem.iterations_per_epoch)
    facts = {**data.facts(), "folder": None if folder is None else str(folder.absolute())}
    recorded = RunConfig(facts, model.spec, config.estimation(), config.execution(), training.to_dict())
    if not first:
        return _train(RunDirectory(place, place.absolute()), recorded, problem, model, training)
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
    epochs: int | None = None,
    seconds: float | None = None,
    patience: int | None = None,
    threads: int | None = None,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
    notice: NoticeCallback | None = None,
) -> ImageRun:
    """Train a run to its end, or to a later one: epochs and seconds are of the whole run.

    folder: of the data files, if they have moved. CheckpointError, ConfigError or DatasetError before anything is changed.
    """
    run = RunDirectory.open_unfinished(path)
    config = RunConfig.read(run)
    training = TrainingConfig.from_dict(config.training)
    data = run_images(config, folder)
    check_device(config.execution.device)
    standing = standing_of(run, KIND)
    training = dataclasses.replace(training, threads=training.threads if threads is None else threads).resolve()
    use_threads(training.threads or 1)
    model = make_model(config.model, training.seed, config.execution)
    problem = make_problem(model, data, config.estimation, training.seed)
    iterations = iterations_of(epochs, problem.iterations_per_epoch, standing)
    training = extend(training, standing, iterations=iterations, seconds=seconds, patience=patience)
    config = dataclasses.replace(config, training=training.to_dict())
    how: dict[str, Any] = {"resume": True, "progress": progress, "notice": notice}
    if ranks()[0] != 0:
        return _train(run, config, problem, model, training, **how)
    with run:
        return _train(run, config, problem, model, training, **how)


def make_model(spec: ModelSpec, seed: int, execution: Execution, data: ImageData | None = None) -> ImageModel:
    """A fresh model on its device; one with a VampPrior is started on training images of `data`, if it is given."""
    generator = torch.Generator().manual_seed(hash_seed(seed, START_STREAM))
    model = build_model(spec, generator)
    if data is not None and model.pseudo_inputs is not None:
        chosen = torch.randint(len(data.train), (spec.pseudo_inputs,), generator=generator)
        model.pseudo_inputs.start_at(data.train[chosen] / data.levels)
        if spec.levels == 1:  # the lower latent of two is not lost with the upper one
            images = data.train[torch.randperm(len(data.train), generator=generator)[:STANDARDISED_ON]]
            model.standardise_encoder(images / data.levels)  # on the CPU: processes must begin with equal parameters
    model.to(execution.device)
    model.accelerate(compiled=execution.compile, bfloat16=execution.precision == "bf16")
    return model


def make_problem(model: ImageModel, data: ImageData, estimation: Estimation, seed: int) -> BatchProblem:
    """What the trainer trains. ConfigError if the batches are larger than the data."""
    batches = ImageBatches(
        model,
        data.training_input(),
        data.held_out_input(data.validation),
        batch_size=estimation.batch_size,
        seed=seed,
    )
    return BatchProblem(
        KIND,
        batches,
        estimator=Estimator.parse(estimation.estimator),
        sampled=estimation.S,
        importance_samples=estimation.L,
        phi_per=estimation.phi_per,
        gradient=estimation.gradient,
    )


def introduction(data: ImageData, model: ImageModel) -> list[str]:
    """Data and parameter counts, for people."""
    counts = model.parameter_counts()
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if name != "total")
    sizes = f"{len(data.train):,} to train, {len(data.validation):,} to validate, {len(data.test):,} to test"
    lines = [f"{data.name}: {sizes}"]
    if data.subset:
        lines.append(f"{data.name}: fewer images than published; results are not comparable with published ones")
    return [*lines, f"{counts['total']:,} parameters: {parts}"]


def _train(
    directory: RunDirectory,
    config: RunConfig,
    problem: BatchProblem,
    model: ImageModel,
    training: TrainingConfig,
    **how: Any,
) -> ImageRun:
    """Train, and write how it went; the run holds the model that its checkpoint holds, as `image.run.load` reads it."""
    result = train_in(directory, problem, training, config.to_dict(), evaluated=EVALUATED, **how)
    if ranks()[0] == 0:
        directory.update_summary(_summary(config, problem, model, training, result))
    kept = build_model(config.model)
    kept.load_state_dict(model.state_dict())
    return ImageRun(directory, config, kept.eval(), problem.component_counts, result)


def _summary(
    config: RunConfig, problem: BatchProblem, model: ImageModel, training: TrainingConfig, result: TrainingResult
) -> dict[str, Any]:
    """Entries of summary.json."""
    estimation = dataclasses.asdict(config.estimation)
    return {
        "command": KIND,
        "data": config.data["name"],
        **{name: estimation[name] for name in ("A", "S", "L", "estimator", "phi_per", "gradient")},
        "seed": training.seed,
        "iterations": result.iterations,
        "epochs": result.iterations / problem.iterations_per_epoch,
        "seconds": result.seconds,
        "seconds_per_iteration": result.seconds_per_iteration,
        "training_bound": result.bound,
        "best_validation_miselbo": result.best_metric,
        "likelihood": model.spec.likelihood_label,
        "stop_reason": result.stop_reason,
        "parameters": model.parameter_counts(),
        "component_counts": problem.component_counts.tolist(),
        "execution": dataclasses.asdict(config.execution),
        "versions": versions(),
        "environment": environment(),
    }

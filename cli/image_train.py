"""`vbpi-mix image DATASET`: train a mixture in the latent space of an image model, or go on with a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.errors import ConfigError

if TYPE_CHECKING:
    from vbpi_mix.image.datasets import ImageData
    from vbpi_mix.image.model import ImageModel
    from vbpi_mix.image.spec import ModelSpec
    from vbpi_mix.training.batch_problem import BatchProblem
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.extension import Standing
    from vbpi_mix.training.run_directory import RunDirectory

# name: (line of the help, epochs of a plain run). Published: 2,000 epochs of MNIST.
DATA_SETS = {
    "digits": ("8 x 8 handwritten digits, which come with scikit-learn: minutes on a CPU.", 500),
    "mnist": ("28 x 28 handwritten digits.", 100),
    "fashion_mnist": ("28 x 28 pictures of clothes.", 100),
    "cifar10": ("32 x 32 photographs in colour.", 100),
}
# So small that more threads make a step slower; and with one the same seed gives the same run on every machine.
SMALL = ("digits",)
PUBLISHED_WARM_UP = 100
MAY_CHANGE_ON_RESUME = ("resume", "data", "epochs", "seconds", "patience", "threads", "quiet")

_TRAIN_EPILOG = """\b
Examples:
  vbpi-mix image {name} --A 20 --S 2 --estimator s2a
  vbpi-mix image {name} --A 4 --estimator a2a --epochs 50 --patience 10
  vbpi-mix image {name} --resume {name}.vbpi
"""


_OPTIONS = [
    click.option("--A", "A", default=4, show_default=True, help="Components of the mixture."),
    click.option("--S", "S", type=int, help="Components sampled for each image.  [default: 2; all under a2a]"),
    click.option("--estimator", type=click.Choice(["a2a", "s2a", "s2s"], case_sensitive=False), default="s2a",
                 show_default=True, help="How the bound of the mixture is estimated."),
    click.option("--phi-per", type=click.Choice(["point", "batch"]), help="Draw components for each image, or one subset "
                 "for the batch as published.  [default: point; batch with --paper-compat]"),
    click.option("--encoder", type=click.Choice(["shared", "separate"]), default="shared", show_default=True,
                 help="One encoder with component codes (MISVAE), or one for each component (SEMVAE; colour images then "
                 "have gated convolutions in place of the ResNet)."),
    click.option("--res-enc/--no-res-enc", "residual", default=True, show_default=True,
                 help="Two hidden layers between features and Gaussians, or one linear map."),
    click.option("--norm", type=click.Choice(["layer", "none", "batch"]),
                 help="Normalisation in the decoder.  [default: layer; batch with --paper-compat]"),
    click.option("--latent", type=int, help="Dimensions of the latent space.  [default: 8 digits, 40 grey, 128 colour]"),
    click.option("--pixel-layers", type=int, help="Masked layers of the decoder: with few, the latent has to tell what an "
                 "image shows.  [default: 1 digits, 8 grey, 4 colour]"),
    click.option("--L", "L", default=1, show_default=True, help="Importance samples inside the logarithm, in training."),
    click.option("--batch-size", default=100, show_default=True),
    click.option("--learning-rate", default=5e-4, show_default=True),
    click.option("--schedule", type=click.Choice(["constant", "cosine"]), default="constant", show_default=True,
                 help="Learning rate: constant as published, or to a hundredth along a cosine."),
    click.option("--warmup", type=int,
                 help="Epochs over which the KL term comes in.  [default: a tenth of the epochs or of the time, at most 100]"),
    click.option("--epochs", type=int, help="Stop after these in all."),
    click.option("--seconds", type=float, help="Time budget of the training in all."),
    click.option("--patience", type=int, help="Stop after so many epochs without a better validation bound."),
    click.option("--seed", default=1, show_default=True),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
    click.option("--threads", type=int, help="Threads on the CPU.  [default: 1 for digits, else all cores]"),
    click.option("--precision", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True,
                 help="bf16: networks in bfloat16; densities stay in float32."),
    click.option("--compile", "compiled", is_flag=True, help="torch.compile: slower start, faster steps on a GPU."),
    click.option("--paper-compat", is_flag=True,
                 help="The published protocol: batch statistics even in evaluation. Its NLL is not a valid likelihood."),
    click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the data files."),
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
                 help="Run directory.  [default: the data set's name with .vbpi]"),
    click.option("--force", is_flag=True, help="Replace an earlier run there."),
    click.option("--resume", type=click.Path(path_type=Path), metavar="DIR",
                 help="Go on with a run; --epochs, --seconds and --patience extend it."),
    click.option("--quiet", is_flag=True, help="Print only the result."),
]  # fmt: skip


def train_command(name: str) -> click.Command:
    """The command that trains on a data set."""

    def train(**options: Any) -> None:
        _train(name, options)

    line, epochs = DATA_SETS[name]
    train.__doc__ = f"""Train on {name}: {line}

    Writes a run directory. Without --epochs or --seconds it trains for {epochs} epochs.
    """
    decorated: Callable[..., Any] = train
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return click.command(name, epilog=_TRAIN_EPILOG.format(name=name), short_help=f"Train on {line}")(decorated)


def _train(name: str, options: dict[str, Any]) -> None:
    """Train anew, or go on with a run."""
    import torch

    from vbpi_mix_cli.console import check_only_resume
    from vbpi_mix_cli.torchrun import default_threads

    if options["resume"] is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
    for option, smallest in (("epochs", 1), ("warmup", 0), ("threads", 1), ("L", 1), ("batch_size", 1), ("A", 1)):
        if options[option] is not None and options[option] < smallest:
            raise ConfigError(f"--{option.replace('_', '-')} {options[option]}: give at least {smallest}")
    if options["resume"] is not None:
        _resume(name, options)
    else:
        options["threads"] = options["threads"] or (1 if name in SMALL else default_threads())
        torch.set_num_threads(options["threads"])
        _start(name, options)


def _start(name: str, options: dict[str, Any]) -> None:
    from vbpi_mix.image.datasets import load_images
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix.training.trainer import Trainer
    from vbpi_mix_cli.image_runs import check_device, make_model, make_problem
    from vbpi_mix_cli.torchrun import on_first_rank, process_group

    out = options["out"] or Path(f"{name}.vbpi")
    spec, estimation = _spec(name, options), _estimation(options)
    device = check_device(options["device"])
    _check_components(estimation)
    with process_group(device) as first:
        on_first_rank(lambda: RunDirectory.check_free(out, options["force"]))
        data = load_images(name, options["data"])
        options["quiet"] = options["quiet"] or not first
        model = make_model(
            spec, options["seed"], device, compiled=options["compiled"], bfloat16=options["precision"] == "bf16"
        )
        problem = make_problem(model, data, estimation, options["seed"])
        training = _training(name, options, problem.iterations_per_epoch)
        folder = None if options["data"] is None else str(options["data"].absolute())
        config = {
            "command": "image",
            "data": {**data.facts(), "folder": folder},
            "model": spec.to_dict(),
            "estimation": estimation,
            "execution": {"device": device, "precision": options["precision"], "compile": options["compiled"]},
            "training": training.to_dict(),
        }
        if not first:
            Trainer(problem, training).run()
            return
        if not options["quiet"]:
            _introduce(data, model)
        with RunDirectory.create(out, options["force"]) as run:
            run.update_summary({"parameters": model.parameter_counts()})
            run.commit(config)
            _run(model, problem, training, run, config, options["quiet"])


def _spec(name: str, options: dict[str, Any]) -> ModelSpec:
    """The model asked for. ConfigError if its parts do not fit."""
    from vbpi_mix.image.spec import preset

    given = {key: options[key] for key in ("latent", "norm", "pixel_layers") if options[key] is not None}
    return preset(
        name,
        options["A"],
        encoder=options["encoder"],
        residual=options["residual"],
        paper_compat=options["paper_compat"],
        **given,
    )


def _estimation(options: dict[str, Any]) -> dict[str, Any]:
    """Estimator, A, S, L and how components and batches are drawn, defaults filled in."""
    A, estimator = options["A"], options["estimator"].lower()
    S = options["S"] if options["S"] is not None else A if estimator == "a2a" else min(2, A)
    phi_per = options["phi_per"] or ("batch" if options["paper_compat"] else "point")
    values = {"estimator": estimator, "A": A, "S": S, "L": options["L"], "phi_per": phi_per}
    return {**values, "batch_size": options["batch_size"]}


def _check_components(estimation: dict[str, Any]) -> None:
    """ConfigError unless A, S and estimator fit, before any file is read."""
    import torch

    from vbpi_mix.estimators import Estimator, draw_components

    draw_components(Estimator.parse(estimation["estimator"]), estimation["A"], estimation["S"], torch.Generator())


def _training(name: str, options: dict[str, Any], per_epoch: int) -> TrainingConfig:
    """Epochs as iterations; the published constant learning rate and KL warm-up, a validation after each epoch."""
    from vbpi_mix.training.config import TrainingConfig

    epochs, seconds = options["epochs"], options["seconds"]
    if epochs is None and seconds is None:
        epochs = DATA_SETS[name][1]
    warm_up, warm_up_seconds = options["warmup"], None
    if warm_up is None and epochs is None:
        warm_up, warm_up_seconds = PUBLISHED_WARM_UP, seconds / 10.0
    elif warm_up is None:
        warm_up = min(PUBLISHED_WARM_UP, epochs // 10)
    return TrainingConfig(
        iterations=None if epochs is None else epochs * per_epoch,
        seconds=seconds,
        learning_rate=options["learning_rate"],
        final_learning_rate_factor=1.0 if options["schedule"] == "constant" else 0.01,
        tempering_iterations=warm_up * per_epoch,
        tempering_seconds=warm_up_seconds,
        initial_beta=0.0,
        validate_every=per_epoch,
        patience=options["patience"],
        keep_best=True,
        seed=options["seed"],
        threads=options["threads"],
    ).resolve()


def _resume(name: str, options: dict[str, Any]) -> None:
    """Go on with a run, for longer if that is asked for."""
    from dataclasses import replace

    import torch

    from vbpi_mix.image.spec import ModelSpec
    from vbpi_mix.training.config import TrainingConfig
    from vbpi_mix.training.extension import extend, has_checkpoint, standing_of
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix.training.trainer import Trainer
    from vbpi_mix_cli.image_runs import (
        KIND,
        check_device,
        make_model,
        make_problem,
        read_config,
        run_images,
    )
    from vbpi_mix_cli.torchrun import process_group

    run = RunDirectory.open(options["resume"])
    config = read_config(run)
    if config["data"]["name"] != name:
        raise ConfigError(
            f"{run.path} is a run of {config['data']['name']}: resume it with vbpi-mix image {config['data']['name']}"
        )
    training = TrainingConfig.from_dict(config["training"])
    execution, spec = config["execution"], ModelSpec.from_dict(config["model"])
    data = run_images(config, options["data"])
    device, bfloat16 = check_device(execution["device"]), execution["precision"] == "bf16"
    standing = standing_of(run, KIND)
    if options["threads"] is not None:
        training = replace(training, threads=options["threads"])
    training = training.resolve()
    torch.set_num_threads(training.threads or 1)  # those of the run: others round sums differently
    with process_group(device) as first:
        model = make_model(spec, training.seed, device, compiled=execution["compile"], bfloat16=bfloat16)
        problem = make_problem(model, data, config["estimation"], training.seed)
        training = extend(
            training,
            standing,
            iterations=_iterations(options["epochs"], problem.iterations_per_epoch, standing),
            seconds=options["seconds"],
            patience=options["patience"],
        )
        config["training"] = training.to_dict()
        if not first:
            trainer = Trainer(problem, training, run)
            if has_checkpoint(run):
                trainer.resume()
            trainer.run()
            return
        _run(model, problem, training, run, config, options["quiet"], resume=True)


def _iterations(epochs: int | None, per_epoch: int, standing: Standing) -> int | None:
    """Epochs as iterations. ConfigError, in epochs, if the run has had more than these."""
    if epochs is not None and epochs * per_epoch < standing.iterations:
        had = standing.iterations / per_epoch
        raise ConfigError(f"--epochs {epochs} in all, but the run has had {had:.4g}: give more")
    return None if epochs is None else epochs * per_epoch


def _introduce(data: ImageData, model: ImageModel) -> None:
    """Data and parameter counts, on standard error."""
    counts = model.parameter_counts()
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if name != "total")
    sizes = f"{len(data.train):,} to train, {len(data.validation):,} to validate, {len(data.test):,} to test"
    click.echo(f"{data.name}: {sizes}", err=True)
    if data.subset:
        click.echo(
            f"{data.name}: fewer images than published; results are not comparable with published ones", err=True
        )
    click.echo(f"{counts['total']:,} parameters: {parts}", err=True)


def _run(
    model: ImageModel,
    problem: BatchProblem,
    training: TrainingConfig,
    run: RunDirectory,
    config: dict[str, Any],
    quiet: bool,
    resume: bool = False,
) -> None:
    """Train to the end or to an interruption, and write and print how it went."""
    from vbpi_mix.training.provenance import environment, versions
    from vbpi_mix_cli.console import shown_path, train
    from vbpi_mix_cli.image_eval import EVALUATED
    from vbpi_mix_cli.image_runs import likelihood_note

    note, estimation = likelihood_note(model), config["estimation"]
    result = train(problem, training, run, config, quiet, resume, EVALUATED, note)
    epochs = result.iterations / problem.iterations_per_epoch
    run.update_summary(
        {
            "command": "image",
            "data": config["data"]["name"],
            **{name: estimation[name] for name in ("A", "S", "L", "estimator", "phi_per")},
            "seed": training.seed,
            "iterations": result.iterations,
            "epochs": epochs,
            "seconds": result.seconds,
            "seconds_per_iteration": result.seconds_per_iteration,
            "training_bound": result.bound,
            "best_validation_miselbo": result.best_metric,
            "likelihood": model.spec.likelihood_label,
            "stop_reason": result.stop_reason,
            "parameters": model.parameter_counts(),
            "component_counts": problem.component_counts.tolist(),
            "execution": config["execution"],
            "versions": versions(),
            "environment": environment(),
        }
    )
    best = "none" if result.best_metric is None else f"{result.best_metric:.2f}"
    click.echo(
        f"{run.destination.name}: {result.stop_reason} after {epochs:.4g} epochs and {result.seconds:.0f} s, "
        f"best validation MISELBO {best}{f' ({note})' if note else ''}"
    )
    if not quiet:
        place = shown_path(run.destination)
        click.echo(f"wrote {place}/: checkpoint.pt, summary.json, trace.csv", err=True)
        click.echo(f"next: vbpi-mix image eval {place}", err=True)

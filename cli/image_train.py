"""`vbpi-mix image DATASET`: train a mixture in the latent space of an image model, or resume a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.errors import ConfigError
from vbpi_mix.image.config import EPOCHS, KIND, SMALL, FitConfig, RunConfig
from vbpi_mix_cli.image_options import FIELDS, data, option, quiet

if TYPE_CHECKING:
    from vbpi_mix.image.run import ImageRun
    from vbpi_mix.training.train import NoticeCallback, ProgressCallback

# The line of the help.
DATA_SETS = {
    "digits": "8 x 8 handwritten digits, which come with scikit-learn: minutes on a CPU.",
    "mnist": "28 x 28 handwritten digits.",
    "fashion_mnist": "28 x 28 pictures of clothes.",
    "cifar10": "32 x 32 photographs in colour.",
}
MAY_CHANGE_ON_RESUME = ("resume", "data", "epochs", "seconds", "patience", "threads", "quiet")

_TRAIN_EPILOG = """\b
Examples:
  vbpi-mix image {name} --A 20 --S 2 --estimator s2a
  vbpi-mix image {name} --A 4 --estimator a2a --epochs 50 --patience 10
  vbpi-mix image {name} --model composite --A 4 --encoder separate
  vbpi-mix image {name} --model iwae --L 20 --gradient dreg
  vbpi-mix image {name} --resume {name}.vbpi
"""

_OPTIONS = [
    option("model", "What the model is made of: two latent levels, a flow, a VampPrior, or all of them (composite); iwae is one "
           "encoder with --L samples inside the logarithm."),
    option("A", "Components of the mixture.  [default: 4; 1 of iwae]"),
    option("S", "Components sampled for each image.  [default: 2; all under a2a]"),
    option("estimator", "How the bound of the mixture is estimated.", any_case=True),
    option("phi_per", "Draw components for each image, or one subset for the batch as published.  [default: point; batch with "
           "--paper-compat]"),
    option("encoder", "One encoder with component codes (MISVAE), or one for each component (SEMVAE; colour images then have "
           "gated convolutions in place of the ResNet)."),
    option("residual", "Two hidden layers between features and Gaussians, or one linear map.", flag="--res-enc/--no-res-enc"),
    option("norm", "Normalisation in the decoder.  [default: layer; batch with --paper-compat]"),
    option("latent", "Dimensions of the latent space.  [default: 8 digits, 40 grey, 128 colour]"),
    option("pixel_layers", "Masked layers of the decoder: with few, the latent has to tell what an image shows.  [default: 1 "
           "digits, 8 grey, 4 colour]"),
    option("features", "What the encoder sees the image by: gated convolutions, a ResNet-20 or dense layers.  [default: gated; "
           "of cifar10 resnet20]"),
    option("decoder", "Pixel by pixel given the pixels before, or dense layers.  [default: autoregressive]"),
    option("prior", "Of the latent, of two levels the upper: standard normal, a learned Gaussian, or the encoder at "
           "pseudo-inputs.  [default: vamp of vamp and composite, else normal]"),
    option("L", "Importance samples inside the logarithm, in training.  [default: 1; 20 of iwae]"),
    option("gradient", "Sticking the landing (stl, L = 1) and doubly reparameterised gradients (dreg) vary less; no "
           "flow can have them."),
    option("batch_size"),
    option("learning_rate"),
    option("schedule", "Learning rate: constant as published, or to a hundredth along a cosine."),
    option("hold", "Epochs before the warm-up without the KL term.  [default: 0; where the prior is learned or there are two "
           "levels 700 iterations, at most a fifth of the epochs, or a tenth of the time]"),
    option("warmup", "Epochs over which the KL term comes in.  [default: a tenth of the epochs or of the time, at most 100]"),
    option("epochs", "Stop after this many in all."),
    option("seconds", "Time budget of the training in all."),
    option("patience", "Stop after this many epochs without a better validation bound."),
    option("seed"),
    option("device"),
    option("threads", "Threads on the CPU.  [default: 1 for digits, else all cores]"),
    option("precision", "bf16: networks in bfloat16; densities stay in float32."),
    option("compile", "torch.compile: slower start, faster steps on a GPU."),
    option("paper_compat", "The published protocol: batch statistics even in evaluation. Its NLL is not a valid likelihood."),
    data,
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
                 help="Run directory.  [default: the data set's name with .vbpi]"),
    click.option("--force", is_flag=True, help="Replace an earlier run there."),
    click.option("--resume", type=click.Path(path_type=Path), metavar="DIR",
                 help="Resume a run; --epochs, --seconds and --patience extend it."),
    quiet,
]  # fmt: skip


def train_command(name: str) -> click.Command:
    """The command that trains on a data set."""

    def train(**options: Any) -> None:
        _train(name, options)

    line = DATA_SETS[name]
    train.__doc__ = f"""Train on {name}: {line}

    Writes a run directory. Without --epochs or --seconds it trains for {EPOCHS[name]} epochs.
    """
    decorated: Callable[..., Any] = train
    for decorate in reversed(_OPTIONS):
        decorated = decorate(decorated)
    return click.command(name, epilog=_TRAIN_EPILOG.format(name=name), short_help=f"Train on {line}")(decorated)


def _train(name: str, options: dict[str, Any]) -> None:
    """Train anew, or resume a run."""
    from vbpi_mix_cli.console import check_only_resume
    from vbpi_mix_cli.torchrun import default_threads

    if options["resume"] is not None:
        check_only_resume(MAY_CHANGE_ON_RESUME)
    if options["resume"] is not None:
        _resume(name, options)
        return
    if options["threads"] is None and name not in SMALL:
        options["threads"] = default_threads()
    config = FitConfig(name, **{field: options[field] for field in FIELDS if field != "data"})
    out, force = options["out"] or Path(f"{name}.vbpi"), options["force"]

    def start(progress: ProgressCallback, notice: NoticeCallback | None) -> ImageRun:
        from vbpi_mix.image.fit import fit
        from vbpi_mix.training.run_directory import RunDirectory
        from vbpi_mix_cli.torchrun import on_first_rank

        on_first_rank(lambda: RunDirectory.check_free(out, force))
        return fit(config, out, force=force, folder=options["data"], progress=progress, notice=notice)

    _show(start, config.device, config.spec().likelihood_note, options["quiet"])


def _resume(name: str, options: dict[str, Any]) -> None:
    """Resume a run of this data set, for longer if that is asked for."""
    from vbpi_mix.training.run_directory import RunDirectory

    config = RunConfig.read(RunDirectory.open(options["resume"]))
    if config.data["name"] != name:
        other = config.data["name"]
        raise ConfigError(f"{options['resume']} is a run of {other}: resume it with vbpi-mix image {other}")

    def go_on(progress: ProgressCallback, notice: NoticeCallback | None) -> ImageRun:
        from vbpi_mix.image.fit import resume

        budgets = {budget: options[budget] for budget in ("epochs", "seconds", "patience", "threads")}
        return resume(options["resume"], folder=options["data"], progress=progress, notice=notice, **budgets)

    _show(go_on, config.execution.device, config.model.likelihood_note, options["quiet"])


def _show(train: Callable[..., ImageRun], device: str, note: str, quiet: bool) -> None:
    """Train under the process group that torchrun asks for, and print how it went."""
    from vbpi_mix.image.run import check_device
    from vbpi_mix_cli.console import show_trained
    from vbpi_mix_cli.progress import Progress
    from vbpi_mix_cli.torchrun import process_group

    with process_group(check_device(device)) as first:
        quiet = quiet or not first
        with Progress(quiet, note=note) as progress:
            run = train(progress, None if quiet else lambda line: click.echo(line, err=True))
    if not first:
        return
    assert run.result is not None
    show_trained(run.directory.destination, run.result, run.epochs, f"{KIND} eval", note, quiet)

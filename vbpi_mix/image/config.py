"""What a training on images is asked to do (`FitConfig`), and what its run records (`RunConfig`): plain values, no torch.

Symbols: A components, S of them sampled for each image, L importance samples. Every default and check of the commands, of
config.yaml and of `image.fit.fit` is here, in ModelSpec and in TrainingConfig.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.image.spec import (
    FAMILIES,
    DecoderKind,
    EncoderKind,
    Family,
    FeatureKind,
    ModelSpec,
    NormKind,
    PriorKind,
    preset,
)
from vbpi_mix.sizes import check_memory
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.provenance import available_cores
from vbpi_mix.training.run_config import check_config, check_entries, entries_of
from vbpi_mix.training.run_directory import RunDirectory

KIND = "image"
EstimatorName = Literal["a2a", "s2a", "s2s"]
PhiPer = Literal["point", "batch"]
GradientName = Literal["pathwise", "stl", "dreg"]
ScheduleName = Literal["constant", "cosine"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bf16"]

# Epochs of a plain run. Published: 2,000 of MNIST.
EPOCHS = {"digits": 500, "mnist": 100, "fashion_mnist": 100, "cifar10": 100}
# So small that more threads make a step slower; and with one the same seed gives the same run on every machine.
SMALL = ("digits",)
PUBLISHED_WARM_UP = 100
# Iterations without the KL term, where the prior has no scale of its own. Published: 500 of MNIST, its first epoch.
HELD_ITERATIONS = 700
COSINE_END = 0.01
AT_LEAST = {"epochs": 1, "hold": 0, "warmup": 0, "threads": 1, "L": 1, "batch_size": 1, "A": 1}


@dataclass(frozen=True)
class Estimation:
    """How the bound is estimated. ConfigError if a value is out of range, or A, S and estimator do not fit.

    phi_per: components are drawn for each image (point), or one subset for the batch as published. gradient: see
    estimators.reparameterised.
    """

    estimator: EstimatorName
    A: int
    S: int
    L: int = 1
    phi_per: PhiPer = "point"
    batch_size: int = 100
    gradient: GradientName = "pathwise"

    def __post_init__(self) -> None:
        # These bring torch, which no help text should wait for.
        from vbpi_mix.training.batch_problem import check_components, check_gradient

        check_components(self.estimator, self.A, self.S)
        check_entries(self)
        check_gradient(self.gradient, self.L)


@dataclass(frozen=True)
class Execution:
    """Where and how the networks are computed. bf16: networks in bfloat16, densities in float32."""

    device: Device = "cpu"
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        check_entries(self)


@dataclass(frozen=True)
class FitConfig:
    """The choices of one training. None is what the data set, or the other choices, ask for. ConfigError for what is unknown.

    data           digits, mnist, fashion_mnist or cifar10
    model          what the model is made of (`spec.FAMILIES`); iwae is one plain encoder with L samples inside the logarithm
    A, L           None: 4 and 1; of iwae 1 and 20
    prior          of the latent; of two levels the upper. None: what the model asks for
    S              None: 2, or all A under a2a
    phi_per        None: point; batch with paper_compat
    encoder, residual, norm, latent, pixel_layers, features, decoder, paper_compat
                   see ModelSpec; None: of the data set (`spec.preset`)
    hold           epochs before that without the KL term. None: 0; of a model whose prior has no scale of its own
                   (`ModelSpec.prior_follows`) those of HELD_ITERATIONS, at most a fifth, or a tenth of the time
    warmup         epochs over which the KL term comes in. None: a tenth of the epochs or of the time, at most 100, but after
                   a hold of its own no less than one and a half times as many
    epochs, seconds, patience    where to stop, whichever is first. Neither epochs nor seconds: EPOCHS
    schedule       of the learning rate: constant as published, or to a hundredth along a cosine
    threads        on the CPU. None: 1 for digits, else all cores
    """

    data: str
    model: Family = "vanilla"
    A: int | None = None
    S: int | None = None
    estimator: EstimatorName = "s2a"
    phi_per: PhiPer | None = None
    encoder: EncoderKind = "shared"
    residual: bool = True
    norm: NormKind | None = None
    latent: int | None = None
    pixel_layers: int | None = None
    features: FeatureKind | None = None
    decoder: DecoderKind | None = None
    prior: PriorKind | None = None
    L: int | None = None
    gradient: GradientName = "pathwise"
    batch_size: int = 100
    learning_rate: float = 5e-4
    schedule: ScheduleName = "constant"
    hold: int | None = None
    warmup: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    patience: int | None = None
    seed: int = 1
    device: Device = "cpu"
    threads: int | None = None
    precision: Precision = "float32"
    compile: bool = False
    paper_compat: bool = False

    def __post_init__(self) -> None:
        for name, smallest in AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ConfigError(f"{name} {value}: give at least {smallest}")
        if self.schedule not in entries_of(FitConfig)["schedule"]:
            raise ConfigError(f"schedule must be constant or cosine, not {self.schedule!r}")
        if self.model not in FAMILIES:
            raise ConfigError(f"model must be one of {', '.join(FAMILIES)}, not {self.model!r}")
        spec = self.spec()
        self._check_size(spec)
        self.estimation()
        self.execution()
        if self.gradient != "pathwise" and spec.flow != "none":
            raise ConfigError(f"gradient {self.gradient} is for models without a flow, not {self.model}: give pathwise")

    def _check_size(self, spec: ModelSpec) -> None:
        """ConfigError, with an estimate, for what no machine holds: of each latent that is drawn the decoder keeps its layers."""
        A, S, L = self._sizes()
        drawn = self.batch_size * S * L
        layers = drawn * spec.shape.pixels * spec.pixel_channels * (spec.pixel_layers + 1)
        asked = f"A={A:,}, S={S:,}, L={L:,}, batch size {self.batch_size:,}, latent {spec.latent:,}"
        densities = drawn * A * (1 if spec.levels == 1 else spec.width)
        check_memory(4.0 * (layers + densities + 4 * A * spec.latent), asked)

    def _sizes(self) -> tuple[int, int, int]:
        """A, the components that are drawn for each image, and L."""
        plain_A, plain_L = (1, 20) if self.model == "iwae" else (4, 1)
        A = plain_A if self.A is None else self.A
        S = self.S if self.S is not None else A if self.estimator == "a2a" else min(2, A)
        return A, S, plain_L if self.L is None else self.L

    def spec(self) -> ModelSpec:
        """The model asked for."""
        choices = {name: getattr(self, name) for name in ("latent", "norm", "pixel_layers", "features", "decoder", "prior")}
        given = {name: value for name, value in choices.items() if value is not None}
        fixed = {name: getattr(self, name) for name in ("encoder", "residual", "paper_compat")}
        return preset(self.data, self._sizes()[0], **{**fixed, **FAMILIES[self.model], **given})

    def estimation(self) -> Estimation:
        """Estimator and sizes, defaults filled in."""
        phi_per = self.phi_per or ("batch" if self.paper_compat else "point")
        return Estimation(self.estimator, *self._sizes(), phi_per, self.batch_size, self.gradient)

    def execution(self) -> Execution:
        """Device and precision."""
        return Execution(self.device, self.precision, self.compile)

    def training(self, iterations_per_epoch: int) -> TrainingConfig:
        """Epochs as iterations; the learning rate and KL warm-up as published, a validation after each epoch."""
        epochs = self.epochs
        if epochs is None and self.seconds is None:
            epochs = EPOCHS[self.data]
        hold, warmup, warmup_seconds = self._phases(epochs, iterations_per_epoch)
        below = hold / max(1, warmup)  # so that beta is 0 at the end of the hold
        return TrainingConfig(
            iterations=None if epochs is None else epochs * iterations_per_epoch,
            seconds=self.seconds,
            learning_rate=self.learning_rate,
            final_learning_rate_factor=1.0 if self.schedule == "constant" else COSINE_END,
            tempering_iterations=(hold + warmup) * iterations_per_epoch,
            tempering_seconds=None if warmup_seconds is None else (1.0 + below) * warmup_seconds,
            initial_beta=-below if hold else 0.0,
            validate_every=iterations_per_epoch,
            patience=self.patience,
            keep_best=True,
            seed=self.seed,
            threads=self.threads_used(),
        ).resolve()

    def _phases(self, epochs: int | None, iterations_per_epoch: int) -> tuple[int, int, float | None]:
        """Epochs without the KL term, epochs over which it then comes in, and seconds over which it does at the latest."""
        follows, by_clock = self.spec().prior_follows, self.warmup is None and epochs is None
        warmup = PUBLISHED_WARM_UP if epochs is None else min(PUBLISHED_WARM_UP, epochs // 10)
        hold = self.hold
        if hold is None:
            hold = math.ceil(HELD_ITERATIONS / iterations_per_epoch)
            hold = warmup if by_clock else hold if epochs is None else min(hold, epochs // 5)
            hold = hold if follows else 0
        if follows:
            warmup = max(warmup, 3 * hold // 2)
        seconds = None
        if by_clock and self.seconds is not None:
            seconds = self.seconds / 10.0 * (warmup / PUBLISHED_WARM_UP)
        return hold, warmup if self.warmup is None else self.warmup, seconds

    def threads_used(self) -> int:
        """Threads on the CPU."""
        return self.threads or (1 if self.data in SMALL else available_cores())


# What config.yaml must hold to make the model again and to resume.
PARTS: dict[str, dict[str, Any]] = {
    "data": {"name": str, "sha256": str},
    "model": {},
    "estimation": {name: kind for name, kind in entries_of(Estimation).items() if name != "gradient"},  # later than the rest
    "execution": entries_of(Execution),
    "training": {},
}


@dataclass(frozen=True)
class RunConfig:
    """What the config.yaml of an image run says.

    data: ImageData.facts, and the folder that was named. training: a TrainingConfig as plain values, which only resuming reads.
    """

    data: Mapping[str, Any]
    model: ModelSpec
    estimation: Estimation
    execution: Execution
    training: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for config.yaml and checkpoints."""
        return {
            "command": KIND,
            "data": dict(self.data),
            "model": self.model.to_dict(),
            "estimation": dataclasses.asdict(self.estimation),
            "execution": dataclasses.asdict(self.execution),
            "training": dict(self.training),
        }

    @classmethod
    def read(cls, directory: RunDirectory) -> RunConfig:
        """That of a run. RunDirectoryError if the run is of something else or damaged, ConfigError if parts do not fit."""
        config = directory.read_config()
        if config.get("command") != KIND:
            raise RunDirectoryError(f"{directory.path} is not a run of vbpi-mix image")
        check_config(directory, config, PARTS)
        return cls(
            config["data"],
            ModelSpec.from_dict(config["model"]),
            Estimation(**_known(Estimation, config["estimation"])),
            Execution(**_known(Execution, config["execution"])),
            config["training"],
        )


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that a dataclass has: others, of another version, are passed over."""
    return {name: values[name] for name in entries_of(kind) if name in values}

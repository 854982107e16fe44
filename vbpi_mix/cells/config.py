"""What a training on cells is asked to do (`FitConfig`), and what its run records (`RunConfig`): plain values, no torch.

Symbols: A components, S of them sampled for each cell, L importance samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.image.config import Estimation
from vbpi_mix.options import check_options, option
from vbpi_mix.sizes import check_memory
from vbpi_mix.training.config import TrainingConfig
from vbpi_mix.training.run_config import check_config, entries_of
from vbpi_mix.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from vbpi_mix.cells.model import ModelSpec

KIND = "cells"
# Epochs of a plain run: of the simulated cells, and of a file.
SIMULATED, EPOCHS_SIMULATED, EPOCHS = "simulated", 100, 400
COSINE_END = 0.01


@dataclass(frozen=True)
class FitConfig:
    """The choices of one training. ConfigError, one line, if a value is out of range or two do not fit.

    data    simulated, cortex, or the path of an .h5ad file
    S       None: 2, or all A under a2a
    epochs, seconds, patience    where to stop, whichever is first. Neither epochs nor seconds: EPOCHS, or
            EPOCHS_SIMULATED
    """

    data: str
    A: int = option(4, least=1, letter="A", help="Components of the mixture: one encoder each.")
    S: int | None = option(
        None, int, least=1, letter="S", help="Components sampled for each cell.", unset="2; all under a2a"
    )
    estimator: str = option("a2a", choices=("a2a", "s2a", "s2s"), help="How the bound of the mixture is estimated.")
    genes: int = option(1200, least=1, help="Genes that are modelled: those of the largest variance.")
    layer: str | None = option(
        None, str, help="Layer of the .h5ad file that has the counts.", unset="counts, then raw.X, then X"
    )
    labels: str | None = option(
        None, str, help="Column with the types of the cells, for evaluation only.", unset="cell_type or a like name"
    )
    latent: int = option(10, least=1, help="Dimensions of the latent space.")
    hidden: int = option(128, least=1, help="Hidden units of each encoder and of the decoder.")
    dropout: float = option(0.1, least=0.0, most=0.99, help="Share of hidden units that encoders lose in training.")
    L: int = option(1, least=1, letter="L", help="Importance samples inside the logarithm, in training.")
    batch_size: int = option(128, least=2, help="Cells of a batch.")
    learning_rate: float = option(1e-3, above=0, help="Adam's.")
    schedule: str = option(
        "constant", choices=("constant", "cosine"), help="Learning rate: constant, or to a hundredth along a cosine."
    )
    warmup: int = option(0, least=0, help="Epochs over which the KL term comes in.")
    epochs: int | None = option(
        None, int, least=1, help="Stop after this many in all.", unset=f"{EPOCHS}; {SIMULATED} {EPOCHS_SIMULATED}"
    )
    seconds: float | None = option(None, float, above=0, help="Time budget of the training in all.")
    patience: int | None = option(None, int, least=1, help="Stop after this many epochs without a better validation bound.")
    seed: int = option(1, least=0, most=2**63 - 1, help="Seed of all random numbers.")
    threads: int = option(1, least=1, help="Threads on the CPU.", unset="1")

    def __post_init__(self) -> None:
        check_options(self)
        self.estimation()
        drawn = self.batch_size * self._sampled() * self.L
        asked = f"A={self.A:,}, S={self._sampled():,}, L={self.L:,}, batch size {self.batch_size:,}, {self.genes:,} genes"
        weights = (self.A + 2) * self.hidden * self.genes
        check_memory(4.0 * (8 * drawn * self.genes + 4 * weights), asked)

    def _sampled(self) -> int:
        return self.S if self.S is not None else self.A if self.estimator == "a2a" else min(2, self.A)

    def model(self, n_genes: int) -> ModelSpec:
        """The model of data that have so many genes."""
        from vbpi_mix.cells.model import ModelSpec  # brings torch, which no help text should wait for

        return ModelSpec(self.A, n_genes, self.latent, self.hidden, self.dropout)

    def estimation(self) -> Estimation:
        """Estimator and sizes, defaults filled in; components are drawn for each cell."""
        return Estimation(
            estimator=self.estimator,  # type: ignore[arg-type]
            A=self.A, S=self._sampled(), L=self.L, phi_per="point", batch_size=self.batch_size,
        )  # fmt: skip

    def training(self, iterations_per_epoch: int) -> TrainingConfig:
        """Epochs as iterations, a validation after each; the best model is kept."""
        epochs = self.epochs
        if epochs is None and self.seconds is None:
            epochs = EPOCHS_SIMULATED if self.data == SIMULATED else EPOCHS
        return TrainingConfig(
            iterations=None if epochs is None else epochs * iterations_per_epoch,
            seconds=self.seconds,
            learning_rate=self.learning_rate,
            final_learning_rate_factor=1.0 if self.schedule == "constant" else COSINE_END,
            tempering_iterations=self.warmup * iterations_per_epoch,
            initial_beta=0.0 if self.warmup else 1.0,
            validate_every=iterations_per_epoch,
            patience=self.patience,
            keep_best=True,
            seed=self.seed,
            threads=self.threads,
        ).resolve()


# What config.yaml must hold to make the model again and to resume.
PARTS: dict[str, dict[str, Any]] = {
    "data": {"name": str, "source": str, "sha256": str, "genes": int},
    "model": {},
    "estimation": entries_of(Estimation),
    "training": {},
}


@dataclass(frozen=True)
class RunConfig:
    """What the config.yaml of a run of cells says.

    data      CellData.facts; and as `load_cells` takes them: source (what to read), genes, layer
    training  a TrainingConfig as plain values, which only resuming reads
    """

    data: Mapping[str, Any]
    model: ModelSpec
    estimation: Estimation
    training: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for config.yaml and checkpoints."""
        return {
            "command": KIND,
            "data": dict(self.data),
            "model": self.model.to_dict(),
            "estimation": dataclasses.asdict(self.estimation),
            "training": dict(self.training),
        }

    @classmethod
    def read(cls, directory: RunDirectory) -> RunConfig:
        """That of a run. RunDirectoryError if the run is of something else or damaged, ConfigError if parts do not fit."""
        from vbpi_mix.cells.model import ModelSpec

        config = directory.read_config()
        if config.get("command") != KIND:
            raise RunDirectoryError(f"{directory.path} is not a run of vbpi-mix cells")
        check_config(directory, config, PARTS)
        try:
            model = ModelSpec(**config["model"])
        except TypeError as error:
            raise ConfigError(f"{directory.path}: its config.yaml does not describe a model of cells: {error}") from error
        known = {name: config["estimation"][name] for name in entries_of(Estimation)}
        return cls(config["data"], model, Estimation(**known), config["training"])

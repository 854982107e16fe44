"""Image runs side by side: likelihood, step time and parameters against the number of components A."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vbpi_mix.errors import ConfigError, RunDirectoryError
from vbpi_mix.image.config import RunConfig
from vbpi_mix.image.figures import Point, Quantity, draw_comparison, share_single
from vbpi_mix.training.run_directory import RunDirectory

QUANTITIES = (
    Quantity("published", "NLL, published form (nats)"),
    Quantity("pooled", "NLL, pooled form (nats)"),
    Quantity("milliseconds", "milliseconds per step"),
    Quantity("parameters", "parameters"),
)


@dataclass(frozen=True)
class Row:
    """What is compared of a run; None where it was not measured.

    published, pooled  negative log-likelihoods, nats    chosen  which test images they are of
    milliseconds       of a training step                note    that the likelihood is not valid, or nothing
    model              what it has beyond the plain one, or nothing
    trained_L, L       importance samples inside the logarithm: in training, and of the evaluation
    training           what else sets the training apart, or nothing
    """

    run: str
    data: str
    A: int
    S: int
    estimator: str
    model: str
    trained_L: int
    training: str
    published: float | None
    pooled: float | None
    images: int | None
    chosen: tuple[int | None, int | None]
    L: int | None
    milliseconds: float | None
    parameters: int
    note: str

    @property
    def series(self) -> str:
        """What the run's line is called."""
        parts = [self.estimator.upper()]
        if self.estimator != "a2a":
            parts.append(f"S = {self.S}")
        return ", ".join([*parts, *filter(None, self.kind)])

    @property
    def kind(self) -> tuple[str, ...]:
        """What runs must share to be of one kind, whatever their A, S and estimator; an entry for each thing, or nothing."""
        return self.model, f"trained with L = {self.trained_L}" if self.trained_L > 1 else "", self.training, self.note

    def values(self) -> dict[str, float | None]:
        """Of each of the QUANTITIES."""
        return {quantity.key: getattr(self, quantity.key) for quantity in QUANTITIES}


def compare_runs(paths: Iterable[str | Path]) -> list[Row]:
    """A row for each run. ConfigError for several data sets, RunDirectoryError if one is not a run or is unfinished."""
    rows = [read_row(Path(path)) for path in paths]
    if len({row.data for row in rows}) > 1:
        raise ConfigError(
            f"runs of several data sets: {', '.join(sorted({row.data for row in rows}))}; compare one at a time"
        )
    return rows


def read_row(path: Path) -> Row:
    """One run. RunDirectoryError if it is not a run or has not finished training."""
    run = RunDirectory.open(path)
    config, summary = RunConfig.read(run), run.read_summary()
    if "seconds_per_iteration" not in summary:
        raise RunDirectoryError(f"{path} has not finished training: resume it first")
    estimates = {entry["form"]: entry["nll"] for entry in summary.get("negative_log_likelihood", [])}
    sizes: dict[str, Any] = next(iter(summary.get("negative_log_likelihood", [])), {})
    seconds, images = summary["seconds_per_iteration"], sizes.get("images")
    drawn = images != config.data.get("test")  # by their seed, unless all are taken
    return Row(
        run=path.name,
        data=config.data["name"],
        A=config.estimation.A,
        S=config.estimation.S,
        estimator=config.estimation.estimator,
        model=config.model.differences_label(config.data["name"]),
        trained_L=config.estimation.L,
        training=_training_label(config),
        published=estimates.get("published"),
        pooled=estimates.get("pooled"),
        images=images,
        chosen=(images, sizes.get("seed") if drawn else None),
        L=sizes.get("importance_samples"),
        milliseconds=None if seconds is None else 1e3 * seconds,
        parameters=summary["parameters"]["total"],
        note="" if summary["likelihood"] == "valid" else summary["likelihood"],
    )


def _training_label(config: RunConfig) -> str:
    """How the gradient was estimated and components were drawn, where not as usual, or nothing."""
    gradient, found = config.estimation.gradient, []
    if gradient != "pathwise":
        found.append(f"{gradient} gradient")
    if config.estimation.phi_per == "batch" and not config.model.paper_compat:  # whose note says that it is as published
        found.append("components per batch")
    return ", ".join(found)


def doubts(rows: Sequence[Row]) -> list[str]:
    """What keeps the likelihoods of these runs, as far as they were evaluated, from being compared."""
    found, evaluated = [], [row for row in rows if row.images is not None]
    if len({row.chosen for row in evaluated}) > 1:
        found.append("these runs were evaluated on different test images: evaluate them alike to compare")
    if len({row.L for row in evaluated}) > 1:
        if len({row.A * (row.L or 0) for row in evaluated}) == 1:
            found.append("these runs differ in L at the same A L: their pooled forms can be compared, their published forms not")
        else:
            found.append("these runs differ in L: evaluate them with the same --importance-samples, or the same A L, to compare")
    return found


def draw_rows(rows: Sequence[Row]) -> bytes:
    """A panel for each quantity against A, a line for each series: PNG."""
    points: list[Point] = []
    for kind in dict.fromkeys(row.kind for row in rows):
        series = sorted((row for row in rows if row.kind == kind), key=lambda row: row.series)
        points.extend(share_single([Point(row.series, row.A, row.values()) for row in series]))
    return draw_comparison(points, QUANTITIES, rows[0].data)

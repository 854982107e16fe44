"""The Mixture Cookbook's tables in small, on the digits and on some of MNIST: rows of docs/development/results.md.

    python benchmarks/image_cookbook.py families latents iwae gradients --runs runs --table image-cookbook.csv
    python benchmarks/image_cookbook.py --table image-cookbook.csv                 # only the tables of what is there

    families   test NLL of vanilla, hierarchical, iaf, vamp and composite, A = 1, 2, 4                      (Table 1)
    latents    accuracy of a linear classifier and diversity: mixtures, independently trained ensembles,
               latents of one model, A = 1 to 5                                                         (Tables 4, 5)
    mnist      the same on a subset of MNIST, dense networks (needs its files: --data)
    iwae       a mixture against one larger encoder with as many samples and about as many parameters         (Table 7)
    gradients  variance of stl and dreg, as a share of that of the pathwise gradient

Every model is trained once, in a folder of its own under --runs, and evaluated with the same number of decoder samples of an
image, A L. Rows that the table has are skipped; it is written after every row, whole or not at all. An ensemble of A, number r,
is the models of one component with seeds r to r + A - 1.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gzip
import io
import json
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vbpi_mix.errors import CheckpointError, RunDirectoryError
from vbpi_mix.estimators import (
    Estimator,
    doubly_reparameterised_objective,
    draw_components,
    log_importance_weights,
    pathwise_objective,
)
from vbpi_mix.files import write_bytes, write_text
from vbpi_mix.image.config import FitConfig
from vbpi_mix.image.fit import fit
from vbpi_mix.image.latents import Classification
from vbpi_mix.image.mixture import ImageMixture
from vbpi_mix.image.model import build_model
from vbpi_mix.image.run import ImageRun, classify_runs, load
from vbpi_mix.image.spec import ModelSpec
from vbpi_mix.image.target import ImageTarget

FAMILIES = ("vanilla", "iaf", "vamp", "hierarchical", "composite")
SEEDS = (1, 2, 3)
# Of an image, all components together: A L.
DECODER_SAMPLES = 240
EPOCHS = {"digits": 50, "mnist": 40}
LEARNING_RATE = 0.002
MNIST_TRAIN, MNIST_TEST = 2_400, 500
COLUMNS = (
    "part", "model", "A", "seed", "L", "nll", "nll_se", "published", "miselbo", "kl", "diversity", "accuracy", "accuracy_se",
    "parameters", "share", "seconds",
)  # fmt: skip
Row = dict[str, str]


class WideFitConfig(FitConfig):
    """One encoder, with convolutions so wide that the model has about as many parameters as the mixture of `matches`."""

    matches = 1

    def spec(self) -> ModelSpec:
        plain = super().spec()
        wanted = parameters(dataclasses.replace(plain, components=self.matches))

        def widened(times: float) -> ModelSpec:
            *inner, last = plain.feature_layers
            layers = (*((round(channels * times), kernel, stride) for channels, kernel, stride in inner), last)
            return dataclasses.replace(plain, feature_layers=layers)

        return min((widened(1 + step / 32) for step in range(128)), key=lambda spec: abs(parameters(spec) - wanted))


def parameters(spec: ModelSpec) -> int:
    return build_model(spec).parameter_counts()["total"]


def wide(A: int) -> type[FitConfig]:
    return type("Wide", (WideFitConfig,), {"matches": A})


class Runs:
    """Trained models, each made when it is first asked for."""

    def __init__(self, place: Path, data: Path | None, epochs: int | None) -> None:
        self._place, self._data, self._epochs = place, data, epochs

    def get(self, name: str, seed: int, kind: type[FitConfig] = FitConfig, data: str = "digits", **choices: Any) -> ImageRun:
        place = self._place / f"{name}-{seed}.vbpi"
        try:
            return load(place)
        except (RunDirectoryError, CheckpointError):
            epochs = self._epochs or EPOCHS[data]
            config = kind(
                data, seed=seed, epochs=epochs, threads=1, learning_rate=LEARNING_RATE, schedule="cosine", **choices
            )
            run = fit(config, place, folder=self._subset(data), force=True)
            if run.result is not None and run.result.stop_reason == "interrupted":
                (place / "checkpoint.pt").unlink()  # so that it is trained anew
                sys.exit(f"{place} was interrupted: run the same command again")
            return run

    def plain(self, A: int, seed: int, data: str = "digits") -> ImageRun:
        """The mixture of A components, all of them drawn."""
        dense: dict[str, Any] = {} if data == "digits" else {"features": "dense", "decoder": "dense"}
        return self.get(f"{data}-vanilla-{A}", seed, data=data, A=A, estimator="a2a", **dense)

    def _subset(self, data: str) -> Path | None:
        """The first images of the files in --data, with their labels."""
        if data == "digits":
            return None
        if self._data is None:
            sys.exit("mnist needs --data, the folder of its files")
        place = self._place / "mnist"
        place.mkdir(parents=True, exist_ok=True)
        for name, count in (("train", MNIST_TRAIN), ("t10k", MNIST_TEST)):
            for file, head, size in ((f"{name}-images-idx3-ubyte", 16, 784), (f"{name}-labels-idx1-ubyte", 8, 1)):
                content = gzip.decompress((self._data / f"{file}.gz").read_bytes())
                kept = content[:4] + struct.pack(">i", count) + content[8 : head + size * count]
                write_bytes(place / f"{file}.gz", gzip.compress(kept, mtime=0))
        return place


def likelihood(run: ImageRun) -> Row:
    """What an evaluation with DECODER_SAMPLES of each image says."""
    A = run.model.spec.components
    run.evaluate(importance_samples=DECODER_SAMPLES // A)
    summary = json.loads((run.directory.path / "summary.json").read_text())
    forms = {entry["form"]: entry for entry in summary["negative_log_likelihood"]}
    trace = list(csv.DictReader((run.directory.path / "trace.csv").read_text().splitlines()))
    return {
        "L": str(DECODER_SAMPLES // A),
        "nll": f"{forms['pooled']['nll']:.4f}",
        "nll_se": f"{forms['pooled']['standard_error']:.4f}",
        "published": f"{forms['published']['nll']:.4f}",
        "miselbo": f"{summary['miselbo']:.4f}",
        "diversity": f"{summary['jensen_shannon_diversity']:.4f}",
        "kl": f"{float([row['kl'] for row in trace if row['kl']][-1]):.3f}",
        "parameters": str(summary["parameters"]["total"]),
        "seconds": f"{summary['seconds']:.1f}",
    }


def told(found: Classification) -> Row:
    return {
        "accuracy": f"{found.accuracy:.4f}", "accuracy_se": f"{found.accuracy_error:.4f}", "diversity": f"{found.diversity:.4f}",
    }  # fmt: skip


Cell = tuple[str, int, Callable[[], Row]]


def families(runs: Runs, seed: int) -> Iterator[Cell]:
    for A in (1, 2, 4):
        for model in FAMILIES:

            def row(A: int = A, model: Any = model) -> Row:
                run = runs.plain(A, seed) if model == "vanilla" else runs.get(
                    f"digits-{model}-{A}", seed, A=A, estimator="a2a", model=model
                )  # fmt: skip
                found = run.classify(repeats=1)
                return likelihood(run) | {"accuracy": f"{found.accuracy:.4f}", "accuracy_se": f"{found.accuracy_error:.4f}"}

            yield model, A, row


def latents(runs: Runs, seed: int, data: str = "digits") -> Iterator[Cell]:
    for A in range(1, 6):
        yield "mixture", A, partial(drawn_or_not, runs, A, seed, data)
        yield "one model, latents drawn", A, partial(drawn_or_not, runs, 1, seed, data, 2 * A)
        if A > 1:
            yield "ensemble", A, partial(ensemble, runs, A, seed, data)


def drawn_or_not(runs: Runs, A: int, seed: int, data: str, draws: int | None = None) -> Row:
    return told(runs.plain(A, seed, data).classify(repeats=2, draws=draws))


def ensemble(runs: Runs, A: int, seed: int, data: str) -> Row:
    return told(classify_runs([runs.plain(1, seed + k, data) for k in range(A)], repeats=2))


def mnist(runs: Runs, seed: int) -> Iterator[Cell]:
    yield from latents(runs, seed, "mnist")


def iwae(runs: Runs, seed: int) -> Iterator[Cell]:
    for A in (2, 3):
        yield "mixture", A, partial(against_iwae, runs, seed, f"separate-{A}", FitConfig, A=A, estimator="a2a")
        yield "big IWAE", A, partial(against_iwae, runs, seed, f"wide-{A}", wide(A), A=1, L=A, model="iwae")


def against_iwae(runs: Runs, seed: int, name: str, kind: type[FitConfig], **choices: Any) -> Row:
    return likelihood(runs.get(name, seed, kind, encoder="separate", **choices))


def gradients(runs: Runs, seed: int) -> Iterator[Cell]:
    for A in (1, 4):
        for kind, L in (("stl", 1), ("dreg", 8)):
            yield kind, A, partial(share_of_variance, runs, A, seed, kind, L)


def share_of_variance(runs: Runs, A: int, seed: int, kind: str, L: int) -> Row:
    run = runs.plain(A, seed)
    return {"L": str(L), "share": f"{variance(run, kind, L) / variance(run, 'pathwise', L):.4f}"}


def variance(run: ImageRun, gradient: str, L: int, repeats: int = 60) -> float:
    """Sum over the encoder's parameters of the variance of their gradient on 20 test images, all components drawn."""
    data, model = run.images(), run.model
    images = data.held_out_input(data.test[:20])
    mixture, target = ImageMixture(model, images), ImageTarget(model, images)
    found = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(repeat)
        draw = draw_components(Estimator.A2A, model.spec.components, None, generator)
        draws = mixture.sample(draw, L, generator)
        if gradient == "dreg":
            objective = doubly_reparameterised_objective(target, draws, 1.0)
        else:
            draws = draws.constant(draws.z) if gradient == "stl" else draws
            log_w = log_importance_weights(target.log_likelihood(draws), target.log_prior(draws), draws.log_q)
            objective = pathwise_objective(log_w, L)
        of = torch.autograd.grad(objective.surrogate, list(model.encoder.parameters()))
        found.append(torch.cat([part.flatten() for part in of]))
    return float(torch.stack(found).var(0).sum())


PARTS: dict[str, Callable[[Runs, int], Iterator[Cell]]] = {
    "families": families, "latents": latents, "mnist": mnist, "iwae": iwae, "gradients": gradients,
}  # fmt: skip


def read_table(path: Path) -> list[Row]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def write_table(path: Path, rows: list[Row]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def spread(rows: list[Row], column: str, digits: int = 3, times: float = 1.0) -> str:
    """Mean and standard deviation over seeds; nothing where there is none."""
    values = [times * float(row[column]) for row in rows if row[column]]
    if not values:
        return ""
    sd = f" ({statistics.stdev(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{sd}"


def render(rows: list[Row]) -> str:
    """A table in Markdown of each part: means over seeds, standard deviations in brackets."""
    lines = []
    for part in PARTS:
        own = [row for row in rows if row["part"] == part]
        cells = list(dict.fromkeys((row["model"], row["A"]) for row in own))
        if cells:
            heads = ("model", "A", "seeds", "L", "NLL, pooled", "KL", "diversity", "accuracy, %", "parameters", "variance")
            lines += ["", part, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for model, A in cells:
            of = [row for row in own if (row["model"], row["A"]) == (model, A)]
            columns = [spread(of, "nll"), spread(of, "kl", 2), spread(of, "diversity"), spread(of, "accuracy", 1, 100.0)]
            count = f"{int(of[0]['parameters']):,}" if of[0]["parameters"] else ""
            columns = [model, A, str(len(of)), of[0]["L"], *columns, count, spread(of, "share")]
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the rows that are missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, help="of every training, in place of those of its data set")
    parser.add_argument("--runs", type=Path, default=Path("cookbook-runs"))
    parser.add_argument("--data", type=Path, help="folder of the MNIST files")
    parser.add_argument("--table", type=Path, default=Path("image-cookbook.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, runs = read_table(options.table), Runs(options.runs, options.data, options.epochs)
    options.runs.mkdir(parents=True, exist_ok=True)
    done = {(row["part"], row["model"], row["A"], row["seed"]) for row in rows}
    for seed in options.seeds:
        for part in options.parts:
            for model, A, make in PARTS[part](runs, seed):
                key = {"part": part, "model": model, "A": str(A), "seed": str(seed)}
                if tuple(key.values()) in done:
                    continue
                start = time.perf_counter()
                rows.append(dict.fromkeys(COLUMNS, "") | key | make())
                write_table(options.table, rows)
                took = time.perf_counter() - start
                print(f"{part}, {model}, A = {A}, seed {seed}: {took:.0f} s", file=sys.stderr, flush=True)
    print(render(rows))


if __name__ == "__main__":
    main()

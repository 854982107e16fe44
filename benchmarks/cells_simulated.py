"""Mixtures against ensembles of independently trained models on the simulated cells, A = 1 to 5: rows of docs/cells.md.

    python benchmarks/cells_simulated.py --seed 1 --out rows.csv

An ensemble of A is A models of one component, whose seeds are 100 seed + 1, 2, ..., each with a decoder of its own. Every row has
the same number of decoder samples for each test cell, DECODER_SAMPLES.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import click

from vbpi_mix.cells.config import FitConfig
from vbpi_mix.cells.fit import fit
from vbpi_mix.cells.run import CellRun, Evaluation, evaluate

DECODER_SAMPLES = 600
COLUMNS = ("kind", "A", "seed", "nll", "nll_se", "svm", "ari", "nmi", "parameters", "seconds", "epochs")


def row(kind: str, A: int, seed: int, runs: list[CellRun], found: Evaluation) -> dict[str, object]:
    assert found.accuracy is not None
    assert found.clusters is not None
    results = [run.result for run in runs if run.result is not None]
    return {
        "kind": kind,
        "A": A,
        "seed": seed,
        "nll": f"{-found.held_out.mean('pooled'):.4f}",
        "nll_se": f"{found.held_out.standard_error('pooled'):.4f}",
        "svm": f"{found.accuracy.mean:.4f}",
        "ari": f"{found.clusters.ari:.4f}",
        "nmi": f"{found.clusters.nmi:.4f}",
        "parameters": sum(run.model.parameter_counts()["total"] for run in runs),
        "seconds": f"{sum(result.seconds for result in results):.1f}",
        "epochs": f"{runs[0].epochs:.4g}",
    }


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=(1,))
@click.option("--largest", default=5, show_default=True)
@click.option("--epochs", default=100, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(seeds: tuple[int, ...], largest: int, epochs: int, out: Path) -> None:
    rows: list[dict[str, object]] = []

    def add(kind: str, A: int, seed: int, runs: list[CellRun]) -> None:
        found = evaluate(runs, runs[0].cells(), importance_samples=DECODER_SAMPLES // A)
        rows.append(row(kind, A, seed, runs, found))
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        click.echo(", ".join(f"{name} {value}" for name, value in rows[-1].items()))

    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            members: list[CellRun] = []
            for A in range(1, largest + 1):
                place = Path(folder) / f"{seed}-{A}"
                add("mixture", A, seed, [fit(FitConfig("simulated", A=A, seed=seed, epochs=epochs), place)])
                member = FitConfig("simulated", A=1, seed=100 * seed + A, epochs=epochs)
                members.append(fit(member, Path(folder) / f"{seed}-member-{A}"))
                if A > 1:
                    add("ensemble", A, seed, members)


if __name__ == "__main__":
    main()

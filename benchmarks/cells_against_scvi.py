"""scvi-tools' own scVI on the split of `vbpi-mix cells simulated`: a row for docs/cells.md. scvi-tools has to be installed.

    pip install scvi-tools
    python benchmarks/cells_against_scvi.py --seed 1 --out scvi.csv

One layer of 128 units, 10 latent dimensions, dropout 0.1, ZINB with a dispersion for each gene, the observed library, learning
rate 10^-3, no KL warm-up: the choices of `vbpi-mix cells`, and as many epochs and cells in a batch. The likelihood of a test cell
by importance sampling with as many samples; the scores are those of `cells evaluate`. What differs: scVI's decoder has a batch
normalisation too, and its last state is kept, not the best one by validation cells.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import anndata
import click
import numpy as np
import scvi
import torch

from vbpi_mix.cells.data import CellData
from vbpi_mix.cells.scores import classify, cluster
from vbpi_mix.cells.sources import load_cells

DECODER_SAMPLES = 600
COLUMNS = ("kind", "A", "seed", "nll", "nll_se", "svm", "ari", "nmi", "parameters", "seconds", "epochs")


def cells_of(cells: CellData, rows: np.ndarray) -> anndata.AnnData:
    return anndata.AnnData(cells.counts[rows])


def fit(cells: CellData, seed: int, epochs: int) -> tuple[scvi.model.SCVI, float]:
    """scVI trained on the training cells, and the seconds that it took."""
    scvi.settings.seed = seed
    train = cells_of(cells, cells.train)
    scvi.model.SCVI.setup_anndata(train)
    model = scvi.model.SCVI(
        train, n_layers=1, n_hidden=128, n_latent=10, dropout_rate=0.1, gene_likelihood="zinb", use_observed_lib_size=True
    )
    plan = {"lr": 1e-3, "n_epochs_kl_warmup": None, "n_steps_kl_warmup": 1}
    how = {"accelerator": "cpu", "plan_kwargs": plan, "enable_progress_bar": False, "logger": False}
    start = time.perf_counter()
    model.train(max_epochs=epochs, train_size=1.0, batch_size=128, **how)
    return model, time.perf_counter() - start


def held_out(model: scvi.model.SCVI, test: anndata.AnnData) -> np.ndarray:
    """Log-likelihood of each test cell given its library, by importance sampling: [N]."""
    found = model.get_marginal_ll(test, n_mc_samples=DECODER_SAMPLES, n_mc_samples_per_pass=60, return_mean=False)
    return np.asarray(found.cpu() if isinstance(found, torch.Tensor) else found).ravel()


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, default=(1,))
@click.option("--epochs", default=80, show_default=True)
@click.option("--data", default="simulated", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(seeds: tuple[int, ...], epochs: int, data: str, out: Path) -> None:
    torch.set_num_threads(1)
    cells, rows = load_cells(data, 1200), []
    test, labels = cells_of(cells, cells.test), cells.test_labels()
    for seed in seeds:
        model, seconds = fit(cells, seed, epochs)
        mean, variance = model.get_latent_representation(test, return_dist=True)
        features = np.hstack([np.asarray(mean), np.asarray(variance)])
        accuracy, clusters, log_p = classify(features, labels, seed), cluster(features, labels, seed), held_out(model, test)
        rows.append({
            "kind": f"scvi-tools {scvi.__version__}", "A": 1, "seed": seed, "nll": f"{-log_p.mean():.4f}",
            "nll_se": f"{log_p.std(ddof=1) / len(log_p) ** 0.5:.4f}", "svm": f"{accuracy.mean:.4f}", "ari": f"{clusters.ari:.4f}",
            "nmi": f"{clusters.nmi:.4f}", "parameters": sum(p.numel() for p in model.module.parameters()),
            "seconds": f"{seconds:.1f}", "epochs": epochs,
        })  # fmt: skip
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        click.echo(", ".join(f"{name} {value}" for name, value in rows[-1].items()))


if __name__ == "__main__":
    main()

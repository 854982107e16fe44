"""How good a fit is against wall seconds: KL and ASDSF to the golden runs and the single-sample ELBO, as it trains.

    VBPI_MIX_DATA=... python benchmarks/quality.py run --data DS1 --schedule default --flow realnvp --iterations 10000 --csv q.csv
    python benchmarks/quality.py mrbayes --data DS1 --csv mrbayes.csv
    python benchmarks/quality.py draw --csv q1.csv q2.csv mrbayes.csv --figure quality

Seconds count from the start of the program, with reading the trees and the warm start in them and without what measuring
takes. A = 4, S = 2, S2A, two files of UFBoot trees; one thread unless told otherwise. MrBayes (two runs of four chains on one
core, a quarter cut) is stopped after some seconds and judged by the same split frequencies.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import data_folder

if TYPE_CHECKING:
    from vbpi_mix.phylo.data.alignment import Alignment
    from vbpi_mix.phylo.trees.sample import TreeSample

# Importing is nothing but work for the processor, so that the time it took is known here.
BEGIN = time.perf_counter() - time.process_time()
COLUMNS = ("data", "schedule", "flow", "threads", "seed", "seconds", "iteration", "elbo", "elbo_se", "kl", "asdsf")
MRBAYES = "mrbayes"
START_BY_SCHEDULE = {"default": "warm", "paper": "flat"}


def run(options: argparse.Namespace) -> None:
    """Train once, and write a row at every measurement."""
    from vbpi_mix.evaluation import evaluate
    from vbpi_mix.phylo.config import FitConfig
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.problem import build_problem
    from vbpi_mix.phylo.sbn import networks as sbn
    from vbpi_mix.phylo.sbn.splits import average_standard_deviation, sbn_split_frequencies, unite
    from vbpi_mix.phylo.trees.sample import read_tree_sample
    from vbpi_mix.training.provenance import use_threads
    from vbpi_mix.training.trainer import Trainer

    use_threads(options.threads, torch_threads=1)
    source = data_folder() / options.data
    alignment = read_alignment(source / f"{options.data}.fasta")
    sample = read_tree_sample([source / "ufboot" / f"rep_{k}.ufboot.gz" for k in (1, 10)], alignment.taxa)
    config = FitConfig.of(
        components=4, sampled=2, flow=options.flow, schedule=options.schedule, init=START_BY_SCHEDULE[options.schedule],
        iterations=options.iterations, seed=options.seed, threads=options.threads,
    ).resolve()  # fmt: skip
    problem, _ = build_problem(alignment, sample, config.model, config.seed)
    measuring = time.perf_counter()
    golden, golden_splits = golden_of(options.data, alignment)
    encoded = problem.support.encode(golden.children)
    lost = time.perf_counter() - measuring
    table: list[dict[str, object]] = []

    def measure(iteration: int, generator: torch.Generator) -> dict[str, float]:
        nonlocal lost
        now = time.perf_counter()
        logits = problem.trees.logits.detach().numpy()
        log_q = sbn.log_probability(logits, problem.support, encoded)
        log_q = np.logaddexp.reduce(log_q, axis=1) - np.log(log_q.shape[1])
        held = np.isfinite(log_q)
        kl = float((golden.weights[held] * (np.log(golden.weights[held]) - log_q[held])).sum())
        asdsf = average_standard_deviation(unite(golden_splits, sbn_split_frequencies(problem.support, logits)))
        found = evaluate(problem.trees, problem.target, importance_samples=100, repeats=10, generator=generator)
        values = (
            options.data, options.schedule, options.flow, options.threads, options.seed, round(now - BEGIN - lost, 2),
            iteration, round(found.elbo, 3), round(found.elbo_standard_error, 3), round(kl, 4), round(asdsf, 5),
        )  # fmt: skip
        table.append(dict(zip(COLUMNS, values, strict=True)))
        write_rows(options.csv, table)
        print(*values, flush=True)
        lost += time.perf_counter() - now
        return {"elbo": found.elbo}

    measure(0, torch.Generator().manual_seed(1))
    measured: Any = problem
    measured.metric_names, measured.validate = ("elbo",), measure
    Trainer(measured, replace(config.training(), validate_every=options.every)).run()


def run_chains(options: argparse.Namespace) -> None:
    """MrBayes for each time limit and seed: a row each, with what depends on a fit left empty."""
    from vbpi_mix.phylo.data.alignment import read_alignment
    from vbpi_mix.phylo.sampling.programs import run_mrbayes
    from vbpi_mix.phylo.sbn.splits import average_standard_deviation, split_frequencies, unite

    alignment = read_alignment(data_folder() / options.data / f"{options.data}.fasta")
    _, golden_splits = golden_of(options.data, alignment)
    table: list[dict[str, object]] = []
    for seed in options.seeds:
        for seconds in options.seconds:
            found = run_mrbayes(alignment, runs=2, generations=None, asdsf=None, seed=seed, seconds=seconds)
            own = split_frequencies(found.sample.children, found.sample.weights)
            asdsf = average_standard_deviation(unite(golden_splits, own))
            row: dict[str, object] = {
                "data": options.data, "schedule": MRBAYES, "threads": 1, "seed": seed, "seconds": seconds,
                "iteration": found.facts.get("generations", ""), "asdsf": round(asdsf, 5),
            }  # fmt: skip
            table.append(row)
            write_rows(options.csv, table)
            print(*row.values(), flush=True)


def golden_of(data: str, alignment: Alignment) -> tuple[TreeSample, Any]:
    """The golden runs of a data set, and their split frequencies."""
    from vbpi_mix.phylo.sbn.splits import split_frequencies
    from vbpi_mix.phylo.trees.sample import read_tree_sample

    golden = read_tree_sample(sorted((data_folder() / data).glob("golden/*.gz")), alignment.taxa)
    return golden, split_frequencies(golden.children, golden.weights)


def run_of(row: dict[str, str]) -> tuple[str, ...]:
    """What the rows of one line of a figure have in common."""
    return row["schedule"], row["flow"], row["threads"], row["seed"]


def write_rows(path: Path, table: list[dict[str, object]]) -> None:
    """All rows measured so far."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def draw(options: argparse.Namespace) -> None:
    """A row of panels for each data set, a line for each schedule, MrBayes as points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for path in options.csv for row in csv.DictReader(path.read_text().splitlines())]
    names = list(dict.fromkeys(row["data"] for row in rows))
    panels = (("kl", "KL(golden || fit)"), ("asdsf", "ASDSF to golden"), ("elbo", "single-sample ELBO"))
    figure, axes = plt.subplots(len(names), 3, figsize=(12, 3.3 * len(names)), squeeze=False)
    for line, name in zip(axes, names, strict=True):
        here = [row for row in rows if row["data"] == name]
        fits = [row for row in here if row["schedule"] != MRBAYES]
        for axis, (column, label) in zip(line, panels, strict=True):
            for key in dict.fromkeys(map(run_of, fits)):
                own = [row for row in fits if run_of(row) == key]
                axis.plot(
                    [float(row["seconds"]) for row in own], [float(row[column]) for row in own], ".-", markersize=4,
                    label=f"{key[0]} schedule, flow {key[1]}",
                )  # fmt: skip
            if column == "asdsf":
                own = [row for row in here if row["schedule"] == MRBAYES]
                axis.plot(
                    [float(row["seconds"]) for row in own], [float(row[column]) for row in own], "kx", label="MrBayes"
                )
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("seconds")
            axis.set_title(f"{name}: {label}", fontsize=10)
            axis.grid(alpha=0.3)
            if column == "elbo":
                best = max(float(row["elbo"]) for row in fits)
                axis.set_ylim(best - 15, best + 1)
            else:
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
                axis.yaxis.set_minor_formatter("{x:g}")
        handles, labels = line[1].get_legend_handles_labels()
        line[2].legend(handles, labels, fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(options.figure.with_suffix(".png"), dpi=110)


def main() -> None:
    """Run a fit, run MrBayes, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run")
    one.add_argument("--data", default="DS1")
    one.add_argument("--schedule", default="default", choices=list(START_BY_SCHEDULE))
    one.add_argument("--flow", default="none")
    one.add_argument("--iterations", type=int, default=10_000)
    one.add_argument("--every", type=int, default=500)
    one.add_argument("--threads", type=int, default=1)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--csv", type=Path, required=True)
    one.set_defaults(action=run)
    chains = commands.add_parser("mrbayes")
    chains.add_argument("--data", default="DS1")
    chains.add_argument("--seconds", type=float, nargs="+", default=[5, 10, 20, 40, 80])
    chains.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chains.add_argument("--csv", type=Path, required=True)
    chains.set_defaults(action=run_chains)
    two = commands.add_parser("draw")
    two.add_argument("--csv", type=Path, nargs="+", required=True)
    two.add_argument("--figure", type=Path, required=True, metavar="PREFIX")
    two.set_defaults(action=draw)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()

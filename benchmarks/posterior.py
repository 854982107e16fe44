"""The posterior of every benchmark data set, from the alignment alone and with default settings, as a table.

    export VBPI_MIX_DATA=...
    python benchmarks/posterior.py run --csv posterior.csv [--data DS1 DS2] [--models s2a a1 a2a] [--seeds 1 2 3]
    python benchmarks/posterior.py table --csv posterior.csv

A row is a fit in a process of its own (its processor seconds are all counted), judged by the long runs of
`common.REFERENCES`; KL and mass outside of the support by golden runs, on DS7 by the run of 10^7 generations. Rows that the
table has already are skipped, and several tables can be made beside each other. `table` marks what misses the figure wanted.

KL from a sample of N independent trees on d topologies is about (d - 1) / (2 N) even for the true posterior (2 N KL being
nearly chi-square with d - 1 degrees of freedom; Wilks 1938). It is shown beside the KL to the run of 10^7 generations, of
9002 trees, which are not independent: at least as much of that KL is noise of the run. Where most topologies were drawn once
or not at all the approximation is rough; the KL of as many trees drawn from the fit itself to the fit is shown as well. The
golden runs are far longer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA_SETS, alignment_file, answers_of, append_row, data_folder, read_rows, reference_splits
from fresh_fit import fit_apart, warm_up

MODELS: dict[str, dict[str, Any]] = {
    "s2a": {"components": 4, "sampled": 2, "estimator": "s2a"},
    "a1": {"components": 1, "sampled": 1, "estimator": "a2a"},
    "a2a": {"components": 4, "sampled": 4, "estimator": "a2a"},
}
SEEDS = (1, 2, 3)
IMPORTANCE_SAMPLES, REPEATS = 1000, 20
COLUMNS = (
    "data", "model", "seed", "choices", "cpu_seconds", "wall_seconds", "iterations", "support", "kl", "kl_noise",
    "kl_noise_drawn", "mass_outside", "asdsf", "asdsf_weighted", "elbo", "published", "published_sd", "pooled", "pooled_sd",
    "answer", "pareto_k", "effective_sample_size", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A figure to reach. column: of the table. limits: by data set. reached: whether a value does."""

    column: str
    title: str
    limits: dict[str, float]
    digits: int
    reached: Callable[[float, float], bool]
    models: tuple[str, ...] = tuple(MODELS)


def _at_most(value: float, limit: float) -> bool:
    return value <= limit


def _at_least(value: float, limit: float) -> bool:
    return value >= limit


def _of(*values: float | None) -> dict[str, float]:
    return {name: value for name, value in zip(DATA_SETS, values, strict=True) if value is not None}


def evidence_of(data: str) -> float:
    """The consensus of published marginal log-likelihoods: their median, over methods."""
    from vbpi_mix.phylo.data.benchmarks import benchmark

    return statistics.median(each.mean for each in benchmark(data).marginal_log_likelihood)


# How near to the consensus is near, and half of what its two decimals leave open.
TOLERANCE = {name: (0.15 if name in ("DS5", "DS6", "DS8") else 0.05) + 0.005 for name in DATA_SETS}
WANTED = (
    Wanted("kl", "KL", _of(0.0097, 0.003, 0.0064, 0.0219, None, None, 0.0123, None), 4, _at_most),
    Wanted("asdsf_weighted", "ASDSF weighted", _of(0.0015, 0.001, 0.0015, 0.002, 0.006, 0.006, 0.003, 0.01), 4, _at_most),
    Wanted(
        "published_sd", "sd, published form", _of(0.04, 0.02, 0.02, 0.07, 0.16, 0.10, 0.13, 0.05), 3, _at_most, ("s2a", "a2a"),
    ),
    Wanted("mass_outside", "outside", _of(5e-4, 5e-4, 5e-4, 5e-4, None, None, 5e-4, None), 5, _at_most),
    Wanted("elbo", "ELBO", _of(-7109.6, -26368.7, -33736.0, -13331.2, -8217.0, -6727.0, -37333.8, -8653.0), 2, _at_least),
)  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Make the rows that are missing, one after another."""
    extra = json.loads(options.choices)
    written = " ".join(f"{name}={value}" for name, value in extra.items())
    done = {(row["data"], row["model"], row["seed"], row["choices"]) for row in read_rows(options.csv)}
    wanted = [(data, model, seed) for seed in options.seeds for data in options.data for model in options.models]
    wanted = [(d, m, s) for d, m, s in wanted if (d, m, str(s), written) not in done]
    for model in dict.fromkeys(model for _, model, _ in wanted):
        warm_up({**MODELS[model], **extra})
    for data, model, seed in wanted:
        row = measure(data, {**MODELS[model], "seed": seed, **extra})
        append_row(options.csv, COLUMNS, {"data": data, "model": model, "seed": seed, "choices": written, **row})


def measure(data: str, choices: dict[str, Any]) -> dict[str, object]:
    """A fit, and all that is to be known of it."""
    import vbpi_mix

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.vbpi"
        cost = fit_apart(alignment_file(data), out, choices=choices)
        run = vbpi_mix.load(out)
        # Before it is evaluated, which may say something else of the weights.
        summary, answers = run.summary, answers_of(run, reference_splits(data, run.taxa))
        found = run.evaluate(importance_samples=IMPORTANCE_SAMPLES, repeats=REPEATS, threads=1)
        row: dict[str, object] = {
            "cpu_seconds": round(cost.cpu, 1), "wall_seconds": round(cost.wall, 1), "iterations": summary["iterations"],
            "support": summary["support_elements"], **topologies_of(run, data),
            "elbo": f"{found.elbo:.4f}",
            "published": f"{found.published.mean:.4f}", "published_sd": f"{found.published.sd:.4f}",
            "pooled": f"{found.pooled.mean:.4f}", "pooled_sd": f"{found.pooled.sd:.4f}",
            **answers,
        }  # fmt: skip
    return row


def topologies_of(run: Any, data: str) -> dict[str, object]:
    """KL and mass outside of the support, where a data set has a sample of topologies that are few enough to say."""
    import vbpi_mix

    samples = sorted((data_folder() / data).glob("golden/*.trprobs.gz"))
    noise: dict[str, object] = {}
    if data == "DS7":
        samples = [data_folder() / data / "mb_10M" / f"{data}.trprobs.gz"]
        counts = counts_of(samples[0])
        noise = {
            "kl_noise": f"{(len(counts) - 1) / (2 * sum(counts)):.6f}",
            "kl_noise_drawn": f"{kl_of_draws(run, sum(counts)):.6f}",
        }
    if not samples:
        return {}
    found = vbpi_mix.compare(run, *samples, draws=100).divergence
    return {"kl": f"{found.kl:.6f}", "mass_outside": f"{found.mass_outside:.3g}", **noise}


def counts_of(sample: Path) -> list[int]:
    """How often each topology of a file was drawn, where it says so as `N = ...`."""
    with gzip.open(sample, "rt") as file:
        return [int(found.group(1)) for line in file if (found := re.search(r"\bN = (\d+)\]", line))]


def kl_of_draws(run: Any, draws: int, repeats: int = 10) -> float:
    """Mean KL(shares of topologies among draws of a fit || the fit)."""
    from vbpi_mix.phylo.assess.comparison import of_mixture

    sides = [of_mixture(run.mixture, run.taxa, "fit", draws, seed) for seed in range(repeats)]
    return statistics.mean(float(side.weights @ (np.log(side.weights) - side.log_p)) for side in sides)


def table(options: argparse.Namespace) -> None:
    """Markdown: of each data set and model a median over seeds, then how many seeds reach what is wanted."""
    rows = read_rows(*options.csv)
    titles = [*(f"{each.title}, wanted" for each in WANTED), "pooled log p(Y), published"]
    print("| | model | seeds | CPU s | " + " | ".join(titles) + " | ASDSF, own | ESS | k | verdicts |")
    print("|---|---|---|---|" + "---|" * len(titles) + "---|---|---|---|")
    missed = 0
    for data in DATA_SETS:
        for model in MODELS:
            here = [row for row in rows if (row["data"], row["model"]) == (data, model)]
            if not here:
                continue
            cells = [*(cell_of(each, here) for each in WANTED), evidence_cell(data, here)]
            missed += sum("**" in cell for cell in cells)
            verdicts = ", ".join(sorted({row["verdict"] for row in here}))
            print(
                f"| {data} | {model} | {len(here)} | {median(here, 'cpu_seconds'):.0f} | " + " | ".join(cells)
                + f" | {median(here, 'asdsf'):.4f} | {median(here, 'effective_sample_size'):.0f} | "
                f"{median(here, 'pareto_k'):.2f} | {verdicts} |"
            )  # fmt: skip
    print(f"\nMedians over seeds; bold: some seed misses what is wanted, and how many. Cells with a miss: {missed}.")


def cell_of(wanted: Wanted, rows: Sequence[dict[str, str]]) -> str:
    """Median, the figure wanted, and how many seeds miss it, in bold if any does."""
    values = [float(row[wanted.column]) for row in rows if row[wanted.column]]
    if not values:
        return ""
    text = f"{statistics.median(values):.{wanted.digits}f}"
    if wanted.column == "kl" and rows[0]["kl_noise"]:
        text += f" (noise of the run at least {median(rows, 'kl_noise'):.4f}, of draws {median(rows, 'kl_noise_drawn'):.4f})"
    limit = wanted.limits.get(rows[0]["data"])
    if limit is None or rows[0]["model"] not in wanted.models:
        return text
    return marked(f"{text}, {limit:.8g}", [wanted.reached(value, limit) for value in values])


def evidence_cell(data: str, rows: Sequence[dict[str, str]]) -> str:
    """Median of the pooled estimates, the published value, and how many seeds are too far from it."""
    values, published = [float(row["pooled"]) for row in rows], evidence_of(data)
    text = f"{statistics.median(values):.2f}, {published:.2f}"
    return marked(text, [abs(value - published) <= TOLERANCE[data] for value in values])


def marked(text: str, reached: Sequence[bool]) -> str:
    """In bold, with the number of misses, if there are any. What is not a number reaches nothing."""
    misses = len(reached) - sum(reached)
    return f"**{text}; {misses} of {len(reached)} miss**" if misses else text


def median(rows: Sequence[dict[str, str]], column: str) -> float:
    """Over the rows that have it."""
    return statistics.median([float(row[column]) for row in rows if row[column]] or [math.nan])


def main() -> None:
    """Make rows, or print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("run")
    make.add_argument("--data", nargs="+", default=list(DATA_SETS), choices=DATA_SETS)
    make.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    make.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    make.add_argument("--choices", default="{}", help="of the fit besides, in JSON; for trials")
    make.add_argument("--csv", type=Path, required=True)
    make.set_defaults(action=run)
    show = commands.add_parser("table")
    show.add_argument("--csv", type=Path, nargs="+", required=True)
    show.set_defaults(action=table)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()

"""Time of one training iteration against the number of components A, for the three estimators at S = 1 and S = 2.

    VBPI_MIX_DATA=... python benchmarks/components.py --data DS1 DS7 --flow realnvp --csv components.csv --figure components

What is measured is the whole iteration with K = 10: its CPU time with one thread, its wall time with more. All A of a curve
are timed in turn, and the ratios to the first are those of one run. A2A evaluates A K likelihoods, S2A and S2S evaluate S K;
what else S2A does for A components (densities, gradients, Adam) is batched.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

from common import medians_in_turn, patterns_of, support_of
from step import make_step

from vbpi_mix.phylo.branches.flows import FLOWS
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.training.provenance import use_threads

COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# A2A with more takes seconds.
MOST_LIKELIHOODS = 640
CURVES = (("a2a", 0), ("s2a", 1), ("s2a", 2), ("s2s", 1), ("s2s", 2))
NAMES = tuple(f"{estimator}-{sampled or 'A'}" for estimator, sampled in CURVES)
COLUMNS = ("data", "flow", "threads", "estimator", "S", "A", "likelihoods", "milliseconds")


def measure(data: str, flow: str, threads: int, repeats: int, wanted: list[str]) -> list[dict[str, object]]:
    """One row for each A of the curves wanted, by their names."""
    patterns, _ = patterns_of(data)
    support, logits = support_of(data)
    rows: list[dict[str, object]] = []
    clock = time.process_time if threads == 1 else time.perf_counter
    for estimator, sampled in (CURVES[NAMES.index(name)] for name in wanted):
        numbers = [a for a in COMPONENTS if sampled <= a and 10 * (sampled or a) <= MOST_LIKELIHOODS]
        steps = [make_step(Posterior(patterns), support, logits, (a, sampled or a, estimator), flow) for a in numbers]
        for a, seconds in zip(numbers, medians_in_turn(steps, clock, max(2, repeats // 4)), strict=True):
            values = (data, flow, threads, estimator, sampled or "A", a, 10 * (sampled or a), round(1e3 * seconds, 3))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def render(rows: list[dict[str, object]]) -> str:
    """Markdown: milliseconds, and how many times those of the curve's first A."""
    lines = ["| data | estimator | S | " + " | ".join(f"A = {a}" for a in COMPONENTS) + " |"]
    lines.append("|---" * (3 + len(COMPONENTS)) + "|")
    for data in dict.fromkeys(row["data"] for row in rows):
        for estimator, sampled in CURVES:
            own = [r for r in rows if (r["data"], r["estimator"], str(r["S"])) == (data, estimator, str(sampled or "A"))]
            if not own:
                continue
            times = {int(str(r["A"])): float(str(r["milliseconds"])) for r in own}
            first = times[min(times)]
            cells = [f"{times[a]:.2f} ({times[a] / first:.1f})" if a in times else "" for a in COMPONENTS]
            lines.append(f"| {data} | {estimator} | {sampled or 'A'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict[str, object]], prefix: Path) -> None:
    """A panel for each data set, logarithmic both ways."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(str(row["data"]) for row in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3.6), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for (estimator, sampled), style in zip(CURVES, ("k-o", "C0-s", "C0--s", "C1-^", "C1--^"), strict=True):
            own = [r for r in rows if (r["data"], r["estimator"], str(r["S"])) == (name, estimator, str(sampled or "A"))]
            label = "A2A (S = A)" if estimator == "a2a" else f"{estimator.upper()}, S = {sampled}"
            axis.loglog(
                [int(str(r["A"])) for r in own], [float(str(r["milliseconds"])) for r in own], style, label=label, markersize=4
            )  # fmt: skip
        axis.set_title(name)
        axis.set_xlabel("components A")
        axis.set_xticks(COMPONENTS, [str(a) for a in COMPONENTS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("milliseconds per iteration")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(prefix.with_suffix(".png"), dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure, print the table, write CSV and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["DS1", "DS7"])
    parser.add_argument("--flow", default="none", choices=FLOWS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--curves", nargs="+", default=list(NAMES), choices=NAMES, help="estimator and S")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--csv", type=Path, default=None, help="write the rows here, or draw from them if the file exists")
    parser.add_argument("--figure", type=Path, default=None, metavar="PREFIX")
    options = parser.parse_args()
    if options.csv is not None and options.csv.exists():
        rows: list[dict[str, object]] = [dict(row) for row in csv.DictReader(options.csv.read_text().splitlines())]
    else:
        threads = use_threads(options.threads, torch_threads=1)
        rows = [row for data in options.data for row in measure(data, options.flow, threads, options.repeats, options.curves)]
        if options.csv is not None:
            with options.csv.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    print(render(rows))
    if options.figure is not None:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()

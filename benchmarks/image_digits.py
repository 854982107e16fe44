"""Do more components help when the likelihood is valid? A ladder of small runs on the digits: run, resume, render.

    python benchmarks/image_digits.py --table image_digits.csv --figure image_digits.png
    python benchmarks/image_digits.py --cells a4-s2a-s1 --seeds 1          # one cell
    python benchmarks/image_digits.py --render                             # only what is there

Each cell is trained and evaluated in a folder of its own, with the same number of training steps. Cells that the table has
already are skipped, and a cell's row is written as soon as it is done, with the table whole or not at all. Every evaluation
takes the same number of decoder samples of an image, A L. The last thing printed is the table in Markdown: means and
standard deviations over seeds.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from vbpi_mix.files import write_bytes, write_text
from vbpi_mix.image.config import FitConfig
from vbpi_mix.image.fit import fit

# name: (A, S, estimator)
CELLS = {
    "a1": (1, 1, "a2a"),
    **{
        f"a{A}-{estimator}" + ("" if estimator == "a2a" else f"-s{S}"): (A, S, estimator)
        for A in (4, 16)
        for estimator, S in (("s2a", 1), ("s2a", 2), ("s2s", 1), ("s2s", 2), ("a2a", A))
    },
}
SEEDS = (1, 2, 3)
# Of an image, all components together: A L. Divisible by every A.
DECODER_SAMPLES = 320
EPOCHS = 90
LEARNING_RATE = 0.002
COLUMNS = (
    "cell", "A", "S", "estimator", "seed", "epochs", "importance_samples", "published", "published_se", "pooled", "pooled_se",
    "miselbo", "diversity", "validation_miselbo", "ms_per_step", "parameters", "train_seconds", "cell_seconds",
)  # fmt: skip


def run_cell(name: str, seed: int, epochs: int, threads: int) -> dict[str, str]:
    """Train and evaluate one cell: a row of the table."""
    A, S, estimator = CELLS[name]
    L = DECODER_SAMPLES // A
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run.vbpi"
        config = FitConfig(
            "digits", A=A, S=S, estimator=estimator, learning_rate=LEARNING_RATE, schedule="cosine", epochs=epochs, seed=seed,
            threads=threads,
        )  # fmt: skip
        fit(config, place).evaluate(importance_samples=L)
        summary = json.loads((place / "summary.json").read_text())
    forms = {entry["form"]: entry for entry in summary["negative_log_likelihood"]}
    row = {
        "cell": name, "A": A, "S": S, "estimator": estimator, "seed": seed, "epochs": round(summary["epochs"]),
        "importance_samples": L, "parameters": summary["parameters"]["total"],
        "published": f"{forms['published']['nll']:.4f}", "published_se": f"{forms['published']['standard_error']:.4f}",
        "pooled": f"{forms['pooled']['nll']:.4f}", "pooled_se": f"{forms['pooled']['standard_error']:.4f}",
        "miselbo": f"{summary['miselbo']:.4f}", "diversity": f"{summary['jensen_shannon_diversity']:.4f}",
        "validation_miselbo": f"{summary['best_validation_miselbo']:.4f}",
        "ms_per_step": f"{1e3 * summary['seconds_per_iteration']:.2f}", "train_seconds": f"{summary['seconds']:.1f}",
        "cell_seconds": f"{time.perf_counter() - start:.1f}",
    }  # fmt: skip
    return {column: str(row[column]) for column in COLUMNS}


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows that are there."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """All rows, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def render(rows: list[dict[str, str]]) -> str:
    """Means over seeds, standard deviations in brackets."""
    lines = [
        "| A | estimator | S | seeds | L | NLL, published form | NLL, pooled form | diversity | log A | ms per step | "
        "parameters |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (A, S, estimator) in CELLS.items():
        own = [row for row in rows if row["cell"] == name]
        if own:
            published, pooled, diversity = (spread(own, column) for column in ("published", "pooled", "diversity"))
            step = statistics.median(float(row["ms_per_step"]) for row in own)
            lines.append(
                f"| {A} | {estimator} | {S} | {len(own)} | {own[0]['importance_samples']} | {published} | {pooled} | "
                f"{diversity} | {math.log(A):.3f} | {step:.1f} | {int(own[0]['parameters']):,} |"
            )
    return "\n".join(lines)


def spread(rows: list[dict[str, str]], column: str) -> str:
    """Mean and standard deviation over seeds."""
    values = [float(row[column]) for row in rows]
    sd = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{sd}"


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """NLL of both forms and step time against A; bars span the seeds. A = 1 is on every line: there all agree."""
    from vbpi_mix.image.figures import Point, Quantity, draw_comparison, share_single

    keys = ("pooled", "published", "ms_per_step")
    points = [
        Point(series_name(row["estimator"], row["S"]), int(row["A"]), {key: float(row[key]) for key in keys})
        for row in sorted(rows, key=lambda row: (row["estimator"], int(row["S"])))
    ]
    quantities = [
        Quantity("pooled", "test NLL, pooled form (nats)"),
        Quantity("published", "test NLL, published form (nats)"),
        Quantity("ms_per_step", "milliseconds per step", logarithmic=True),
    ]
    write_bytes(path, draw_comparison(share_single(points), quantities, "digits, valid likelihood"))


def series_name(estimator: str, S: str) -> str:
    """A2A is one line whatever its S, which is A."""
    return "A2A" if estimator == "a2a" else f"{estimator.upper()}, S = {S}"


def main() -> None:
    """Run what is missing, then print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, default=Path("image_digits.csv"))
    parser.add_argument("--figure", type=Path, default=Path("image_digits.png"))
    parser.add_argument("--render", action="store_true", help="run nothing")
    options = parser.parse_args()
    rows = read_table(options.table)
    others = {row["epochs"] for row in rows} - {str(options.epochs)}
    if others and not options.render:
        sys.exit(
            f"{options.table} holds cells of {', '.join(sorted(others))} epochs: give that with --epochs, or another --table"
        )
    done = {(row["cell"], row["seed"]) for row in rows}
    for seed in () if options.render else options.seeds:
        for name in options.cells:
            if (name, str(seed)) not in done:
                rows.append(run_cell(name, seed, options.epochs, options.threads))
                write_table(options.table, rows)
                last = rows[-1]
                print(
                    f"{name} seed {seed}: pooled {last['pooled']}, {last['cell_seconds']} s",
                    file=sys.stderr,
                    flush=True,
                )
    if not rows:
        sys.exit(f"{options.table} holds no cells yet: run without --render")
    draw(rows, options.figure)
    print(render(rows))


if __name__ == "__main__":
    main()

"""Fits of the benchmark data sets end to end, as a table: run any subset, resume, render.

    VBPI_MIX_DATA=... python benchmarks/fits.py --data DS1 DS2 --models a1 s2a --trees-from ufboot --flow realnvp --table fits.csv

Each row is `vbpi-mix fit`, `vbpi-mix eval` and, where golden runs exist, `vbpi-mix compare`, in a folder of their own. Rows
that the table has already are skipped. The last thing printed is the table in Markdown, beside the published values.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import tempfile
from pathlib import Path

from common import data_folder, vbpi_mix

MODELS = {
    "a1": ("--A", "1", "--estimator", "a2a"),
    "a2a": ("--A", "4", "--estimator", "a2a"),
    "s2a": ("--A", "4", "--S", "2", "--estimator", "s2a"),
    "s2s": ("--A", "4", "--S", "2", "--estimator", "s2s"),
}
# VBPI-NF mixtures, mean and sd over 100 repeats (docs/data.md says from where): A = 1; A = 4 A2A; S = 2 of 4 S2A; S2S.
PUBLISHED = {
    "DS1": ((-7108.42, 0.15), (-7108.40, 0.05), (-7108.40, 0.06), (-7108.41, 0.06)),
    "DS2": ((-26367.72, 0.06), (-26367.71, 0.02), (-26367.70, 0.03), (-26367.71, 0.03)),
    "DS3": ((-33735.10, 0.07), (-33735.09, 0.02), (-33735.10, 0.03), (-33735.09, 0.04)),
    "DS4": ((-13330.00, 0.23), (-13329.93, 0.07), (-13329.97, 0.09), (-13329.96, 0.11)),
    "DS5": ((-8214.70, 0.47), (-8214.57, 0.16), (-8214.69, 0.21), (-8214.72, 0.20)),
    "DS6": ((-6724.50, 0.45), (-6724.31, 0.19), (-6724.41, 0.22), (-6724.44, 0.24)),
    "DS7": ((-37332.01, 0.27), (-37331.92, 0.13), (-37331.98, 0.14), (-37331.98, 0.13)),
    "DS8": ((-8650.68, 0.46), (-8650.66, 0.24), (-8650.85, 0.25), (-8650.68, 0.23)),
}  # fmt: skip
KEY = ("data", "model", "trees", "flow", "budget", "seed")
COLUMNS = (
    "data", "model", "trees", "flow", "budget", "seed", "threads", "support", "iterations", "fit_seconds",
    "published_form", "published_form_sd", "pooled", "pooled_sd", "training_bound", "elbo",
    "elbo_standard_error", "ess", "kl", "mass_outside_support", "asdsf", "max_split_difference",
)  # fmt: skip


def fit(data: str, model: str, options: argparse.Namespace) -> dict[str, object]:
    """One row."""
    source = data_folder() / data
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.trees_from == "ufboot":
            files = sorted(source.glob("ufboot/*.gz"))[:2]
            trees = [x for path in files for x in ("--trees", str(path))]
        else:
            trees = ["--trees-from", options.trees_from]
        limit = ["--seconds", str(options.seconds)] if options.seconds else []
        limit += ["--iterations", str(options.iterations)] if options.iterations else []
        vbpi_mix(
            "fit", str(source / f"{data}.fasta"), *trees, *MODELS[model], *limit, "--flow", options.flow,
            "--seed", str(options.seed), "--threads", str(options.threads), "--out", "run.vbpi", "--quiet", folder=folder,
        )  # fmt: skip
        vbpi_mix("eval", "run.vbpi", "--quiet", "--threads", str(options.threads), folder=folder)
        summary = json.loads((folder / "run.vbpi" / "summary.json").read_text())
        estimates = {e["form"]: e for e in summary["marginal_log_likelihood"]}
        row: dict[str, object] = {
            "data": data, "model": model, "trees": options.trees_from, "flow": options.flow,
            "budget": budget_of(options), "seed": options.seed, "threads": options.threads,
            "support": summary["support_elements"], "iterations": summary["iterations"],
            "fit_seconds": round(summary["seconds"], 1), "published_form": round(estimates["published"]["mean"], 3),
            "published_form_sd": round(estimates["published"]["sd"], 3), "pooled": round(estimates["pooled"]["mean"], 3),
            "pooled_sd": round(estimates["pooled"]["sd"], 3), "training_bound": round(summary["training_bound"], 3),
            "elbo": round(summary["elbo"], 3), "elbo_standard_error": round(summary["elbo_standard_error"], 3),
            "ess": round(summary["evaluation"]["effective_sample_size"], 1),
        }  # fmt: skip
        if (source / "golden").is_dir():
            golden = [str(p) for p in sorted(source.glob("golden/*.gz"))]
            vbpi_mix("compare", "run.vbpi", *golden, "--json", "compare.json", folder=folder)
            found = json.loads((folder / "compare.json").read_text())
            row |= {k: found[k] for k in ("kl", "mass_outside_support", "asdsf", "max_split_difference")}
    return row


def budget_of(options: argparse.Namespace) -> str:
    """What ended training: iterations, seconds, or nothing given, which is until converged."""
    given = {"iterations": options.iterations, "s": options.seconds}
    return " ".join(f"{value:g} {unit}" for unit, value in given.items() if value)


def render(rows: list[dict[str, str]]) -> str:
    """The table in Markdown; inside: within two of our standard deviations of the published mean."""
    lines = [
        "| data | model | trees, flow | support | iterations | fit s | published form (sd) | pooled (sd) | ELBO (se) | "
        "published value (sd) | difference in sd | KL | outside | ASDSF |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        value, value_sd = PUBLISHED[row["data"]][list(MODELS).index(row["model"])]
        mean, sd = float(row["published_form"]), float(row["published_form_sd"])
        kl, outside, asdsf = (f"{float(row[k]):.4f}" if row.get(k) else "" for k in ("kl", "mass_outside_support", "asdsf"))
        away = abs(mean - value) / sd if sd > 0 else math.inf
        pooled = f"{float(row['pooled']):.2f} ({float(row['pooled_sd']):.2f})"
        elbo = f"{float(row['elbo']):.2f} ({float(row['elbo_standard_error']):.2f})" if row["elbo"] else ""
        lines.append(
            f"| {row['data']} | {row['model']} | {row['trees']}, {row['flow']} | {int(row['support']):,} | "
            f"{int(row['iterations']):,} | {float(row['fit_seconds']):.0f} | {mean:.2f} ({sd:.2f}) | {pooled} | {elbo} | "
            f"{value:.2f} ({value_sd:.2f}) | {away:.1f}, {'inside' if away <= 2 else 'outside'} | {kl} | {outside} | {asdsf} |"
        )
    return "\n".join(lines)


def read_rows(table: Path) -> list[dict[str, str]]:
    """The rows of a table; those of older tables are without a flow."""
    found = csv.DictReader(table.read_text().splitlines())
    return [{**dict.fromkeys(COLUMNS, ""), "flow": "none", **row} for row in found]


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--models", nargs="+", default=["a1", "s2a"], choices=list(MODELS))
    parser.add_argument("--trees-from", default="mcmc", choices=["ufboot", "mcmc", "mrbayes", "iqtree"])
    parser.add_argument("--flow", default="none", choices=["none", "planar", "realnvp"])
    parser.add_argument("--iterations", type=int, default=None, help="training budget; default: until converged")
    parser.add_argument("--seconds", type=float, default=None, help="training budget; default: until converged")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, default=Path("fits.csv"))
    options = parser.parse_args()
    rows = read_rows(options.table) if options.table.exists() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    for data in options.data:
        for model in options.models:
            if (data, model, options.trees_from, options.flow, budget_of(options), str(options.seed)) in done:
                continue
            row = fit(data, model, options)
            rows.append({name: str(row.get(name, "")) for name in COLUMNS})
            text = [",".join(COLUMNS), *(",".join(r[name] for name in COLUMNS) for r in rows)]
            options.table.write_text("\n".join(text) + "\n")
            print(render(rows[-1:]).splitlines()[-1], flush=True)
    print(render(rows))


if __name__ == "__main__":
    main()

"""What the fits of many genes found, a row each, as CSV on standard output: evidence, ELBO and verdict.

    python table.py results/*.vbpi > table.csv
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("gene", "log_evidence", "error", "elbo", "verdict", "pareto_k", "effective_sample_size", "iterations", "seconds")


def row_of(run: Path) -> dict[str, Any]:
    """The row of a run's folder, from its summary.json; a cell is empty where the fit has no such number."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    forms = {each["form"]: each for each in summary["marginal_log_likelihood"]}
    evidence = forms["weighted"]
    return {
        **{name: summary.get(name) for name in COLUMNS},
        "gene": run.stem,
        "log_evidence": evidence["mean"],
        "error": evidence["error"],
    }


def main(runs: list[str]) -> None:
    """Print the table of these folders."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row_of(Path(run)) for run in runs)


if __name__ == "__main__":
    main(sys.argv[1:])

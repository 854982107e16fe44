"""What the fits of many genes found, a row each, as CSV on standard output: model, evidence, ELBO and verdict.

    python table.py results/*.vbpi > table.csv
"""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    "gene", "model", "log_evidence", "error", "elbo", "verdict", "pareto_k", "effective_sample_size", "iterations", "seconds",
)  # fmt: skip


def row_of(run: Path) -> dict[str, Any]:
    """The row of a run's folder, from its summary.json and config.yaml; a cell is empty where the fit has no such number."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    forms = {each["form"]: each for each in summary["marginal_log_likelihood"]}
    evidence = forms["weighted"]
    return {
        **{name: summary.get(name) for name in COLUMNS},
        "gene": run.stem,
        "model": model_of(run),
        "log_evidence": evidence["mean"],
        "error": evidence["error"],
    }


def model_of(run: Path) -> str:
    """The model of a run; where parts of the alignment have others, each of these once. Of replicates, that of the first."""
    first = run / "replicate-1"
    text = ((first if first.exists() else run) / "config.yaml").read_text(encoding="utf-8")
    # Read by lines, as this Python may have no reader of YAML: a model is a word, in quotes if it looks like a number.
    parts = re.search(r"^parts:\n((?:[- ] .*\n)*)", text, re.MULTILINE)
    return ", ".join(dict.fromkeys(re.findall(r"^  model: '?([^'\n]+)'?$", parts[1] if parts else "", re.MULTILINE)))


def main(runs: list[str]) -> None:
    """Print the table of these folders."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row_of(Path(run)) for run in runs)


if __name__ == "__main__":
    main(sys.argv[1:])

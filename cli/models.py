"""`vbpi-mix models`: evidence of several substitution models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vbpi_mix.phylo.config import FitConfig
from vbpi_mix_cli.config_options import config_options
from vbpi_mix_cli.fit_options import SPECIAL

if TYPE_CHECKING:
    from vbpi_mix.phylo.model_choice import ModelEvidence

EPILOG = """\b
Examples:
  vbpi-mix models primates.nex --try JC,HKY,GTR,GTR+G4,GTR+I+G4
  vbpi-mix models prot21.fa --try WAG+G4,LG+G4 --out models.json
"""


@click.command("models", epilog=EPILOG)
@click.argument("alignment")
@click.option("--try", "models", required=True, metavar="MODELS", help="Models, separated by commas; the richest last.")
@click.option("--trees", multiple=True, metavar="FILES", help="Tree sample: files or quoted globs; may be repeated.")
@config_options(FitConfig, SPECIAL, leave_out=("substitution", "outgroup"))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also write the table as JSON.")
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
def command(
    alignment: str, models: str, trees: tuple[str, ...], out: Path | None, force: bool, quiet: bool, **choices: Any
) -> None:
    """Evidence of each of several substitution models for ALIGNMENT, with its error, and Bayes factors to the best.

    All are fitted to the same topologies with the same budget: those of --trees, of files beside the alignment, or of a sample
    made under the last model. What the evidence refers to are the priors of `vbpi-mix fit`.
    """
    from vbpi_mix.files import check_free, write_whole
    from vbpi_mix.phylo.model_choice import compare_models
    from vbpi_mix_cli.fit_progress import FitProgress

    if out is not None:
        check_free([out], force)
    config = FitConfig.of(**choices)
    with FitProgress(quiet) as progress:
        found = compare_models(alignment, _split(models), trees, config=config, progress=progress)
    if out is not None:
        write_whole(out, json.dumps([dataclasses.asdict(each) for each in found], indent=2) + "\n")
    click.echo("\n".join(table(found)))


def _split(models: str) -> list[str]:
    """At the commas that are not in braces."""
    parts, depth = [""], 0
    for letter in models:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def table(found: Sequence[ModelEvidence]) -> list[str]:
    """A line for each model, the best first."""
    width = max(len("model"), *(len(each.model) for each in found))
    lines = [f"{'model':<{width}}  free  {'log p(Y)':>12}  error  {'log BF':>8}  {'k':>5}  verdict"]
    for each in found:
        value = "unknown" if each.log_evidence is None else f"{each.log_evidence:.2f}"
        error = "" if each.error is None else f"{each.error:.2f}"
        factor = "" if each.log_bayes_factor is None else f"{each.log_bayes_factor:.2f}"
        tail = "" if each.pareto_k is None else f"{each.pareto_k:.2f}"
        numbers = f"{each.parameters:>4}  {value:>12}  {error:>5}  {factor:>8}  {tail:>5}"
        lines.append(f"{each.model:<{width}}  {numbers}  {each.verdict}")
    return lines

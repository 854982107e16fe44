"""A comparison as a table to read and as rows for other programs."""

from __future__ import annotations

import csv
import io
from typing import Any

from vbpi_mix.phylo.assess.comparison import Comparison


def comparison_csv(result: Comparison) -> str:
    """The frequency of every split on both sides, those that differ most first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["members", "size", "first", "second", "difference"])
    for members, first, second in result.rows():
        numbers = [f"{value:.6f}" for value in (first, second, first - second)]
        writer.writerow([" | ".join(members), len(members), *numbers])
    return text.getvalue()


def comparison_text(result: Comparison) -> str:
    """The table that `vbpi-mix compare` prints."""
    figures = result.as_dict()
    sides = [figures["first"], figures["second"]]
    lines = [
        f"first   {sides[0]['name']}  ({_what(sides[0])})",
        f"second  {sides[1]['name']}  ({_what(sides[1])})",
        "",
    ]
    lines.append(f"{'':<28}{'first':>12}{'second':>12}")
    for label, key in (
        ("topologies for 50%", "topologies_for_50"),
        ("topologies for 95%", "topologies_for_95"),
        ("splits", "splits"),
    ):
        cells = [("~" if side.get(f"{key}_estimated") else "") + f"{side[key]:,}" for side in sides]
        lines.append(f"{label:<28}{cells[0]:>12}{cells[1]:>12}")
    kl = "none: no topology in common" if figures["kl"] is None else f"{figures['kl']:.4f}"
    error = f" (standard error {figures['kl_standard_error']:.4f})" if sides[1]["draws"] else ""
    lines += [
        "",
        f"{'KL(second || first)':<28}{kl}{error}",
        f"{'mass outside the support':<28}{figures['mass_outside_support']:.6f}",
        f"{'ASDSF':<28}{figures['asdsf']:.5f} (of {figures['asdsf_splits']} splits at 0.1 or more in either)",
        *_weighted_lines(result),
        f"{'largest split difference':<28}{figures['max_split_difference']:.5f}",
    ]
    if figures["max_split_difference"] > 0:
        first, second = figures["max_split_frequencies"]
        lines.append(f"{'':<28}{first:.4f} and {second:.4f}: {_some(figures['max_split'])}")
    return "\n".join(lines)


def _weighted_lines(result: Comparison) -> list[str]:
    """What weighted draws of a run give."""
    found = result.weighted
    if found is None:
        return []
    remark = "" if found.reliable else " (not reliable: the weights of the draws have too heavy a tail)"
    return [
        f"{'ASDSF, weighted draws':<28}{found.asdsf:.5f}{remark}",
        f"{'total variation, weighted':<28}{found.total_variation:.5f}{remark}",
    ]


def _what(side: dict[str, Any]) -> str:
    if side["draws"]:
        return f"{side['what']}; {side['topologies']:,} topologies in {side['draws']:,} draws"
    return f"{side['what']}, {side['topologies']:,} topologies"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")

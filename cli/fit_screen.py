"""What `vbpi-mix fit` prints at its end, on one screen: whether to trust it, which tree, how sure, what evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vbpi_mix_cli.console import describe_elbo, parameter_table, shown_path

if TYPE_CHECKING:
    from vbpi_mix.phylo.replicates import Replicates
    from vbpi_mix.phylo.report.answer import Answer
    from vbpi_mix.phylo.run import Run

WIDTH = 100
# Rows of the table of parameters, and splits that are named as the least certain of the tree.
MOST_PARAMETERS, MOST_SPLITS = 14, 3
SURE = 0.995


def screen(run: Run) -> list[str]:
    """The lines for a run."""
    from vbpi_mix.phylo.pages import evidence_conditions

    facts, answer = run.summary, run.answer()
    place = shown_path(run.path.absolute())
    return [
        f"{place.name}: {facts['stop_reason']} after {facts['iterations']:,} iterations and {facts['seconds']:.0f} s, "
        f"bound {facts['training_bound']:.2f}, {describe_elbo(facts['elbo'], facts['elbo_standard_error'])}",
        *_verdict(facts),
        *_tree(answer, run.taxa),
        *([facts["rooting"]] if "rooting" in facts else []),
        *_topologies(answer, facts.get("certainty")),
        *_evidence(facts, evidence_conditions(run.config)),
        *_parameters(answer),
    ]


def screen_of_replicates(found: Replicates) -> list[str]:
    """The lines for independent fits."""
    from vbpi_mix.phylo.pages import evidence_conditions, replicate_rows

    facts, answer = found.summary, found.pooled
    place = shown_path(found.path.absolute())
    rows = replicate_rows(facts)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    agreement = "" if facts["asdsf"] is None else (
        f"they differ by an ASDSF of {facts['asdsf']:.4f}, at most {facts['largest_split_difference']:.3f} in a split"
    )  # fmt: skip
    return [
        f"{place.name}: {len(found.runs)} independent fits{f'; {agreement}' if agreement else ''}",
        *("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows),
        *_verdict(facts),
        *_tree(answer, found.taxa),
        *_topologies(answer, None),
        *_evidence(facts, evidence_conditions(found.runs[0].config)),
        *_parameters(answer),
    ]


def _verdict(facts: Mapping[str, Any]) -> list[str]:
    given = "that of the weighted draws" if facts["answer"] == "weighted" else "the fit's own, not weighted"
    lines = [f"verdict: {facts['verdict']}; the answer given is {given}"]
    for reason in facts["reasons"]:
        lines += textwrap.wrap(reason, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return lines


def _tree(answer: Answer, taxa: tuple[str, ...]) -> list[str]:
    """How much of the tree is resolved, and its least certain splits."""
    frequencies = answer.splits.frequencies
    lines = [f"tree: the consensus has {answer.resolved} of {answer.n_taxa - 3} splits"]
    in_tree = answer.internal[: answer.resolved]
    unsure = in_tree[frequencies[in_tree] < SURE]
    lines[0] += f", {answer.resolved - unsure.size} of them with a probability of {SURE} or more"
    least = unsure[::-1][:MOST_SPLITS]
    for k, members in zip(least.tolist(), answer.members(least, taxa), strict=True):
        lines.append(textwrap.shorten(f"  least certain: {frequencies[k]:.3f}  {', '.join(members)}", WIDTH, placeholder=" ..."))
    # Shortening leaves no blanks in front.
    return [lines[0], *(f"  {line.strip()}" for line in lines[1:])]


def _topologies(answer: Answer, certainty: Mapping[str, Any] | None) -> list[str]:
    best = f"{answer.topologies.probabilities[0]:.4f}"
    if answer.source == "weighted":
        best += f" (error {answer.topologies.errors[0]:.4f})"
    line = f"most probable topology {best}, {answer.children.shape[0]:,} met"
    if certainty is not None:
        size = certainty["credible_sets"][-1]
        about = "" if size["exact"] else "about "
        line += f"; {about}{size['topologies']:,.0f} hold {size['share']:.0%}, entropy {certainty['entropy']:.2f} nats"
    return [line]


def _evidence(facts: Mapping[str, Any], conditions: str) -> list[str]:
    found = next(each for each in facts["marginal_log_likelihood"] if each["form"] == "weighted")
    k, size = facts["pareto_k"], facts["effective_sample_size"]
    tail = "" if k is None else f", Pareto k {k:.2f}"
    value = (
        "log p(Y) unknown: no draw has any weight"
        if found["mean"] is None
        else f"log p(Y) {found['mean']:.2f} (error {found['error']:.2f})"
    )
    return [
        f"{value}; {found['draws']:,} weighted draws, worth {size or 0:,.0f} independent ones{tail}",
        f"this is of {conditions}",
    ]


def _parameters(answer: Answer) -> list[str]:
    if len(answer.parameters) < 2:
        return []
    more = len(answer.parameters) - MOST_PARAMETERS
    rest = [f"and {more} more: summary.json"] if more > 0 else []
    return ["", *parameter_table(answer.parameters[:MOST_PARAMETERS]), *rest]

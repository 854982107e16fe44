"""What `vbpi-mix fit` prints at its end, on one screen of 80 columns and 24 rows: whether to trust it, which tree, how sure,
what evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vbpi_mix_cli.console import describe_elbo, ended, parameter_table, shown_path

if TYPE_CHECKING:
    from vbpi_mix.phylo.replicates import Replicates
    from vbpi_mix.phylo.report.answer import Answer
    from vbpi_mix.phylo.run import Run

# Two rows say where the files are, and one is for what is typed next.
WIDTH, ROWS = 80, 21
# Fits side by side, splits that are named as the least certain of the tree, and rows that say what the evidence is of.
MOST_FITS, MOST_SPLITS, MOST_OF_CONDITIONS = 2, 3, 2
SURE = 0.995


def screen(found: Run | Replicates) -> list[str]:
    """The lines for a run, or for independent fits."""
    from vbpi_mix.phylo.pages import evidence_conditions
    from vbpi_mix.phylo.run import Run

    facts = found.summary
    if isinstance(found, Run):
        head, answer, config = _of_run(found), found.answer(), found.config
    else:
        head, answer, config = _of_fits(found), found.pooled, found.runs[0].config
    tree = _tree(answer)
    after = [
        *(_wrapped(facts["rooting"]) if "rooting" in facts else []),
        *_topologies(answer, facts["certainty"]),
        *_evidence(facts, evidence_conditions(config)),
    ]
    # What there is room for, the most important first.
    verdict = _verdict(facts, ROWS - len(head) - len(tree) - len(after))
    before = [*head, *verdict, *tree]
    splits = _least_certain(answer, found.taxa, ROWS - len(before) - len(after))
    lines = [*before, *splits, *after]
    return [*lines, *_parameters(answer, ROWS - len(lines))]


def _of_run(run: Run) -> list[str]:
    from vbpi_mix.phylo.pages import weights_in_words

    facts = run.summary
    weights = weights_in_words(run.config, facts)
    head = _wrapped(
        f"{shown_path(run.path.absolute()).name}: {ended(facts['stop_reason'])} after {facts['iterations']:,} iterations and "
        f"{facts['seconds']:.0f} s, bound {facts['training_bound']:.2f}, "
        f"{describe_elbo(facts['elbo'], facts['elbo_standard_error'])}"
    )
    return [*head, *(_wrapped(f"weights of components {weights}") if weights else [])]


def _of_fits(found: Replicates) -> list[str]:
    from vbpi_mix.phylo.pages import replicate_rows

    facts = found.summary
    rows = replicate_rows(facts)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    table = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(table) - 1 - MOST_FITS
    agreement = "" if facts["asdsf"] is None else (
        f"; they differ by an ASDSF of {facts['asdsf']:.4f}, at most {facts['largest_split_difference']:.3f} in a split"
    )  # fmt: skip
    return [
        *_wrapped(f"{shown_path(found.path.absolute()).name}: {len(found.runs)} independent fits{agreement}"),
        *table[: MOST_FITS + 1],
        *([f"  and {more} more: summary.json"] if more > 0 else []),
    ]


def _verdict(facts: Mapping[str, Any], rows: int) -> list[str]:
    """With its reasons, at least the gravest."""
    given = "that of the weighted draws" if facts["answer"] == "weighted" else "the fit's own, not weighted"
    lines = [f"verdict: {facts['verdict']}; the answer given is {given}"]
    reasons = [_wrapped(f"- {reason}") for reason in facts["reasons"]]
    for k, reason in enumerate(reasons):
        rest = 1 if k + 1 < len(reasons) else 0
        if k and len(lines) + len(reason) + rest > rows:
            return [*lines, f"- and {len(reasons) - k} more: report.html"]
        lines += reason
    return lines


def _unsure(answer: Answer) -> Sequence[int]:
    """Splits of the consensus that are not certain, by number, the least certain first."""
    in_tree = answer.internal[: answer.resolved]
    return [k for k in in_tree[::-1].tolist() if answer.splits.frequencies[k] < SURE]


def _tree(answer: Answer) -> list[str]:
    """How much of the tree is resolved."""
    sure = answer.resolved - len(_unsure(answer))
    return _wrapped(
        f"tree: the consensus has {answer.resolved} of {answer.n_taxa - 3} splits, {sure} of them with {SURE} or more"
    )


def _least_certain(answer: Answer, taxa: tuple[str, ...], rows: int) -> list[str]:
    import numpy as np

    least = _unsure(answer)[: max(0, min(MOST_SPLITS, rows))]
    lines = []
    for k, members in zip(least, answer.members(np.array(least, np.int64), taxa), strict=True):
        words = f"least certain: {answer.splits.frequencies[k]:.3f}  {', '.join(members)}"
        # Shortening leaves no blanks in front.
        lines.append(f"  {textwrap.shorten(words, WIDTH - 2, placeholder=' ...')}")
    return lines


def _topologies(answer: Answer, certainty: Mapping[str, Any]) -> list[str]:
    best = f"{answer.topologies.probabilities[0]:.4f}"
    if answer.source == "weighted":
        best += f" (error {answer.topologies.errors[0]:.4f})"
    size = certainty["credible_sets"][-1]
    about = "" if size["exact"] else "about "
    error = f" (error {certainty['entropy_error']:.2g})" if certainty["entropy_error"] else ""
    return _wrapped(
        f"most probable topology {best}, {answer.children.shape[0]:,} met; {about}{size['topologies']:,.0f} hold "
        f"{size['share']:.0%}, entropy {certainty['entropy']:.2f}{error} nats"
    )


def _evidence(facts: Mapping[str, Any], conditions: str) -> list[str]:
    from vbpi_mix.phylo.report.html import evidence_error

    found = next(each for each in facts["marginal_log_likelihood"] if each["form"] == "weighted")
    k, size = facts["pareto_k"], facts["effective_sample_size"]
    tail = "" if k is None else f", Pareto k {k:.2f}"
    value = (
        "log p(Y) unknown: no draw has any weight"
        if found["mean"] is None
        else f"log p(Y) {found['mean']:.2f} (error {evidence_error(found['error'])}) nats"
    )
    return [
        *_wrapped(f"{value}; {found['draws']:,} weighted draws, worth {size or 0:,.0f} independent ones{tail}"),
        *_wrapped(f"this is of {conditions}", MOST_OF_CONDITIONS),
    ]


def _parameters(answer: Answer, rows: int) -> list[str]:
    """A table of as many as there are rows for, if there are any but the tree length."""
    count = len(answer.parameters)
    if count < 2 or rows < 1:
        return []
    if count + 1 <= rows:
        return parameter_table(answer.parameters)
    shown = rows - 2
    if shown < 1:
        return [f"{count} parameters: report.html"]
    return [*parameter_table(answer.parameters[:shown]), f"and {count - shown} more: report.html"]


def _wrapped(text: str, most: int | None = None) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, max_lines=most, placeholder=" ..."
    )

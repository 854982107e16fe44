"""The section of a page that says how certain the topology is."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.certainty import Certainty
from vbpi_mix.phylo.report.html import count, plus_minus, some, table
from vbpi_mix.phylo.sbn.most_probable import MostProbable

MOST_SPLITS = 40
SURE = 0.995


def certainty_section(known: Certainty, answer: Answer, taxa: tuple[str, ...], draws: int) -> str:
    """How certain an answer made of so many draws is of the topology."""
    sizes = " and ".join(f"{size.share:.0%} is held by {_topologies(size.topologies, size.exact)}" for size in known.sizes)
    source = "exact, of every topology that the fit can draw" if known.exact else f"estimated from {draws:,} draws"
    lines = [
        f"<p>Of the probability, {sizes}, the most probable ones. The entropy is {known.entropy:.3f} nats"
        f"{plus_minus(known.entropy_error)}, {source}: {_alike(float(np.exp(known.entropy)))}.</p>"
    ]
    sections = [_best(known.best, answer), _rogues(known, taxa), _doubtful(answer, taxa)]
    return "<h2>How certain the topology is</h2>\n" + "\n".join([*lines, *(each for each in sections if each)])


def _alike(number: float) -> str:
    """How uncertain that is, in equally probable topologies."""
    if number < 1.1:
        return "there is hardly any doubt"
    return f"as uncertain as {count(number, False)} equally probable topologies"


def _best(best: MostProbable | None, answer: Answer) -> str:
    if best is None:
        return ""
    how = (
        "no other topology of its support is more probable, which is proven"
        if best.proven
        else f"the best that was found; none has more than {best.bound:.4g}"
    )
    same = "it is" if np.array_equal(best.children, answer.children[0]) else "it is not"
    return (
        f"<p>The fitted mixture gives its most probable topology {best.probability:.4g} ({how}); {same} "
        f"the most probable one of the answer.</p>"
    )


def _rogues(known: Certainty, taxa: tuple[str, ...]) -> str:
    rogues = known.rogues(taxa)
    if not rogues:
        return ""
    head = ("taxon", "entropy falls by (nats)", "error")
    rows = [head, *((name, f"{drop.value:.3f}", f"{drop.error:.2g}" if drop.error else "exact") for name, drop in rogues)]
    return (
        "<p>Taxa that cost most certainty, by how much the entropy of the topology falls when one is pruned from all "
        f"trees:</p>{table(rows)}"
    )


def _doubtful(answer: Answer, taxa: tuple[str, ...]) -> str:
    found, internal = answer.splits, answer.internal[:MOST_SPLITS]
    doubtful = [k for k in internal.tolist() if found.frequencies[k] < SURE]
    if not doubtful:
        return ""
    columns = [(found.frequencies, ".4f"), (found.frequency_errors, ".4f"), (found.lengths, ".4g")]
    members = answer.members(np.array(doubtful), taxa)
    rows: list[tuple[str, ...]] = [("split", "probability", "error", "mean length (substitutions per site)")]
    for k, names in zip(doubtful, members, strict=True):
        rows.append((some(names), *(format(values[k], form) for values, form in columns)))
    heading = "The splits that are not certain (all are in splits.csv)"
    return f"<details><summary>{heading}</summary>{table(rows)}</details>"


def _topologies(value: float, exact: bool) -> str:
    return "one topology" if exact and round(value) == 1 else f"{count(value, exact)} topologies"

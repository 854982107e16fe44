"""report.html: what a fit found and how far to trust it, as one page that needs nothing else.

Pictures are SVG in the page, and all that comes from files, names of taxa above all, is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vbpi_mix.pareto import reliable_pareto_k
from vbpi_mix.phylo.assess.verdict import EFFECTIVE_SAMPLE_SIZE, Trust, Verdict
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.certainty import Certainty
from vbpi_mix.phylo.report.certainty_section import certainty_section
from vbpi_mix.phylo.report.charts import curve, density, scatter
from vbpi_mix.phylo.report.html import count, evidence_error, plus_minus, some, table
from vbpi_mix.phylo.report.rooting import Rooted
from vbpi_mix.phylo.report.svg import escape
from vbpi_mix.phylo.report.tree_figure import draw_tree
from vbpi_mix.phylo.report.weighted import Estimate
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, average_standard_deviation, unite

# Parameters whose densities are drawn, the first ones; all are in the table.
MOST_DENSITIES = 60

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#fff;color:#1b1f24;font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1010px;margin:0 auto;padding:20px 20px 60px}
h1{font-size:26px;margin:8px 0 2px;overflow-wrap:anywhere}
h2{font-size:20px;margin:38px 0 8px;padding-top:14px;border-top:1px solid #d8dde2}
p{margin:8px 0;max-width:48em}.note{color:#57606a;font-size:14px}
.verdict{border-left:8px solid;border-radius:4px;padding:10px 16px;margin:16px 0}.verdict strong{font-size:19px}
.full{border-color:#009e73;background:#e9f6f1}.care{border-color:#e69f00;background:#fdf5e3}.none{border-color:#d55e00;background:#fdece2}
.verdict ul{margin:6px 0;padding-left:20px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:10px;margin:16px 0}
.facts div{border:1px solid #d8dde2;border-radius:6px;padding:8px 12px}
.facts b{display:block;font-size:20px}.facts span{color:#57606a;font-size:13.5px}
.wide{overflow-x:auto}.wide svg{display:block;font-family:inherit;max-width:100%;height:auto}.tree svg{min-width:700px}
.many{display:flex;flex-wrap:wrap;gap:8px}.many svg{border:1px solid #e3e7eb;border-radius:4px}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:3px 14px 3px 0;text-align:right;border-bottom:1px solid #e3e7eb}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere;min-width:9em}
.numbers td:not(:first-child){white-space:nowrap}
.pairs td,.pairs th{text-align:left;vertical-align:top;overflow-wrap:anywhere}.pairs td:first-child{min-width:7em;color:#57606a}
@media(max-width:600px){.line svg{min-width:560px}}
pre{background:#f5f7f9;padding:12px;overflow-x:auto;font-size:12.5px;line-height:1.4}summary{cursor:pointer}
@media(max-width:600px){main{padding:12px 12px 40px}h1{font-size:22px}}
"""
_CLASS = {Trust.FULL: "full", Trust.CARE: "care", Trust.NONE: "none"}
_MEANS = {
    Trust.FULL: "All checks passed. Errors are Monte Carlo errors of the answer; they say nothing of whether the model is right.",
    Trust.CARE: "The answer can be used if what is said here is kept in mind:",
    Trust.NONE: "Do not use these numbers before this is mended:",
}


@dataclass(frozen=True, eq=False)
class ParameterDraws:
    """Draws of the reported parameters, values float64 [N, k] in the order of the answer's, with shares [N]."""

    values: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True, eq=False)
class Compared:
    """Split frequencies of something else: what it is, in a few words, and a sentence that says what to make of it."""

    name: str
    frequencies: SplitFrequencies
    note: str


@dataclass(frozen=True, eq=False)
class Contents:
    """What a page shows.

    title: of the run. conditions: what evidence and tree refer to: data, model, priors. tree: as it is drawn; rooted: how, in
    words. evidence: log p(Y) of the weighted draws, nan if unknown; draws, effective_sample_size, pareto_k: of those.
    trace: seconds and bound, float64 [T] each. made_by: rows of what was run.
    files: name and what it holds. config: text of config.yaml. tables: more tables, by heading: their rows, the head first.
    """

    title: str
    conditions: str
    taxa: tuple[str, ...]
    verdict: Verdict
    answer: Answer
    tree: Rooted
    rooted: str
    evidence: Estimate
    draws: int
    effective_sample_size: float
    pareto_k: float
    certainty: Certainty
    parameters: ParameterDraws | None
    trace: tuple[np.ndarray, np.ndarray] | None
    compared: Compared | None
    made_by: Sequence[tuple[str, str]]
    files: Sequence[tuple[str, str]]
    config: str
    tables: Mapping[str, Sequence[Sequence[str]]]


def page(of: Contents) -> str:
    """The text of report.html."""
    certain = certainty_section(of.certainty, of.answer, of.taxa, of.draws)
    sections = [
        _head(of), _facts(of), _tree(of), certain, *_tables(of), _evidence(of), _parameters(of), _compared(of), _trace(of),
        _made_by(of),
    ]  # fmt: skip
    body = "\n".join(section for section in sections if section)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(of.title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(of: Contents) -> str:
    reasons = "".join(f"<li>{escape(reason.why)} <b>{escape(reason.advice)}</b></li>" for reason in of.verdict.reasons)
    listed = f"<ul>{reasons}</ul>" if reasons else ""
    return (
        f'<h1>{escape(of.title)}</h1>\n<p class="note">{escape(of.conditions)}</p>\n'
        f'<div class="verdict {_CLASS[of.verdict.trust]}"><strong>Verdict: {escape(of.verdict.trust.value)}</strong>'
        f"<p>{_MEANS[of.verdict.trust]}</p>{listed}</div>"
    )


def _facts(of: Contents) -> str:
    topologies, resolved = of.answer.topologies, of.answer.resolved
    facts = [
        (f"{topologies.probabilities[0]:.4g}", f"probability of the most probable topology{plus_minus(topologies.errors[0])}"),
        (f"{resolved} of {of.answer.n_taxa - 3}", "splits have more than half of the probability"),
        (_evidence_words(of), "log p(Y), the evidence, in nats"),
    ]
    size = of.certainty.sizes[-1]
    facts.append((count(size.topologies, size.exact), "topologies in the 95% credible set"))
    return f'<div class="facts">{"".join(f"<div><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in facts)}</div>'


def _tree(of: Contents) -> str:
    remark = f" Mind that {of.tree.remark}." if of.tree.remark else ""
    return (
        f"<h2>The tree</h2>\n<p>Majority-rule consensus: every split with more than half of the posterior "
        f"probability. Numbers at "
        f"nodes are the probabilities of the splits above them, and branches have their mean lengths. "
        f"{escape(of.rooted)}{escape(remark)}</p>"
        f'<p class="note">Dots: black from 0.95, blue from 0.75, orange below.</p><div class="wide '
        f'tree">{draw_tree(of.tree.tree)}</div>'
    )


def _tables(of: Contents) -> list[str]:
    return [f"<h2>{escape(heading)}</h2>\n{table(rows)}" for heading, rows in of.tables.items()]


def _evidence(of: Contents) -> str:
    limit = reliable_pareto_k(of.draws)
    k = "unknown" if np.isnan(of.pareto_k) else f"{of.pareto_k:.2f}"
    given = "the weighted draws" if of.answer.source == "weighted" else "the fit itself, not weighted"
    size = 0.0 if np.isnan(of.effective_sample_size) else of.effective_sample_size
    return (
        f"<h2>Evidence and weights</h2>\n<p>log p(Y) = {escape(_evidence_words(of))} nats: the probability of the "
        f"data under the model and "
        f"the priors, averaged over trees, branch lengths and parameters. Compare it with that of other models for "
        f"the same data: a difference of 3 "
        f"is strong, below 1 worth no more than a bare mention.</p>"
        f"<p><b>Effective sample size {size:,.0f}.</b> The {of.draws:,} weighted draws are worth so many "
        f"independent ones from the posterior; "
        f"{EFFECTIVE_SAMPLE_SIZE[0]:.0f} are wanted and {EFFECTIVE_SAMPLE_SIZE[1]:.0f} the least.</p>"
        f"<p><b>Pareto k {k}.</b> It says how heavy the tail of the weights is: up to {limit:.2f} a few draws do "
        f"not decide the answer and weighting can be "
        f"relied on, above it cannot. The answer on this page is that of {given}.</p>"
    )


def _parameters(of: Contents) -> str:
    known = of.answer.parameters
    rows = [("parameter", "mean", "error of the mean", "sd", "95% interval")]
    names = [f"{each.name} of {each.partition}" if each.partition else each.name for each in known]
    for name, each in zip(names, known, strict=True):
        rows.append((name, f"{each.mean:.5g}", f"{each.error:.2g}", f"{each.sd:.3g}", f"{each.lower:.4g} to {each.upper:.4g}"))
    drawn = ""
    if of.parameters is not None:
        pictures = [
            density(of.parameters.values[:, k], of.parameters.shares, (known[k].lower, known[k].upper), names[k])
            for k in range(min(len(known), MOST_DENSITIES))
        ]
        drawn = f'<div class="many">{"".join(pictures)}</div><p class="note">Shaded: the central 95%.</p>'
    note = '<p class="note">TL is the tree length, the sum of all branch lengths, in expected substitutions per site.</p>'
    return f"<h2>Parameters</h2>\n{drawn}{table(rows)}{note}"


def _compared(of: Contents) -> str:
    if of.compared is None:
        return ""
    table = unite(of.answer.frequencies(), of.compared.frequencies)
    titles = [some(names) for names in table.members(of.taxa)]
    drawn = scatter(table.frequencies[1], table.frequencies[0], titles, of.compared.name, "this answer")
    distance = average_standard_deviation(table)
    return (
        f"<h2>Split probabilities against {escape(of.compared.name)}</h2>\n<p>{escape(of.compared.note)} The "
        f"two differ by an ASDSF of {distance:.4f}; splits that differ by more than 0.05 are red.</p>"
        f'<div class="wide">{drawn}</div>'
    )


def _trace(of: Contents) -> str:
    if of.trace is None or of.trace[0].size < 2:
        return ""
    drawn = curve(*of.trace, "seconds of training", "bound (nats)")
    return (
        f'<h2>Training</h2>\n<p>The bound that training raises. It should be level at the end; if it still rises, '
        f'train longer.</p>'
        f'<div class="wide line">{drawn}</div>'
    )


def _made_by(of: Contents) -> str:
    files = table([("", ""), *of.files], "pairs")
    return (
        f"<h2>What was run</h2>\n{table([('', ''), *of.made_by], 'pairs')}\n<details><summary>config.yaml, every "
        f"choice</summary><pre>{escape(of.config)}"
        f"</pre></details>\n<h2>Files</h2>\n{files}"
    )


def _evidence_words(of: Contents) -> str:
    if np.isnan(of.evidence.value):
        return "unknown"
    return f"{of.evidence.value:.2f} ± {evidence_error(of.evidence.error)}"

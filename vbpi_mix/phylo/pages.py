"""The page of a run, report.html: what it shows is gathered here from the run's folder and its answer."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vbpi_mix.errors import TreeError
from vbpi_mix.estimators import effective_components
from vbpi_mix.phylo.assess.verdict import Facts, Verdict
from vbpi_mix.phylo.importance import ImportancePass
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.certainty import Certainty
from vbpi_mix.phylo.report.page import Compared, Contents, ParameterDraws, page
from vbpi_mix.phylo.report.parameters import reported_values
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root
from vbpi_mix.phylo.report.weighted import Estimate
from vbpi_mix.phylo.sbn.splits import SplitFrequencies, average_standard_deviation, split_frequencies, unite
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.training.run_directory import CONFIG, RunDirectory

REPORT = "report.html"
SAMPLE = "tree_sample.trprobs"
FILES = (
    ("consensus.nwk", "majority-rule consensus, probabilities of splits as node labels"),
    ("splits.csv", "every split with its probability, mean branch length and their errors"),
    ("topologies.trprobs", "topologies with their probabilities, as MrBayes writes them"),
    ("summary.json", "all numbers of this page"),
    (SAMPLE, "the tree sample that the fit started from"),
    ("trace.csv", "how training went"),
    (CONFIG, "every choice"),
    ("checkpoint.pt", "the fitted mixture"),
)
# Learned weights of components that are listed.
MOST_WEIGHTS = 6
AS_FITTED = "Fits are of unrooted trees: the root is where the first taxon joins, and means nothing."


def run_page(
    taxa: tuple[str, ...],
    directory: RunDirectory,
    config: Mapping[str, Any],
    answer: Answer,
    found: ImportancePass,
    certainty: Certainty,
    rooting: Rooting | None = None,
    of_sample: SplitFrequencies | None = None,
) -> str:
    """The text of the page of a run. answer: the one that is given, of `found` or the fit's own, and how certain it is.
    of_sample: the splits of the tree sample that the run made, None to read the file that it keeps."""
    weighted = answer.source == "weighted"
    tree, rooted = rooted_tree(answer, taxa, rooting)
    name = directory.destination.name
    return page(
        Contents(
            title=name,
            conditions=f"{_data_words(config)}. Under {evidence_conditions(config)}.",
            taxa=taxa,
            verdict=found.verdict,
            answer=answer,
            tree=tree,
            rooted=rooted,
            evidence=found.evidence,
            draws=len(found.trees),
            effective_sample_size=found.trees.effective_sample_size if found.usable else math.nan,
            pareto_k=found.trees.smoothed.pareto_k,
            certainty=certainty,
            parameters=parameter_draws(found, weighted),
            trace=_trace(directory.path / "trace.csv"),
            compared=_sample(directory.path, taxa, of_sample),
            made_by=_made_by(config, directory.read_summary()),
            files=[each for each in FILES if (directory.path / each[0]).exists()],
            config=(directory.path / CONFIG).read_text(encoding="utf-8"),
            tables={},
        )
    )


@dataclass(frozen=True, eq=False)
class Pooled:
    """What independent fits say together: the common answer and that of each, in their order, draws of their parameters, the
    verdict, log p(Y), the facts that the verdict rests on, and how certain the topology is. summary: of the folder that holds
    them."""

    answer: Answer
    answers: Sequence[Answer]
    draws: Sequence[ParameterDraws]
    verdict: Verdict
    evidence: Estimate
    facts: Facts
    certainty: Certainty
    summary: Mapping[str, Any]


def pooled_page(
    directory: RunDirectory, config: Mapping[str, Any], taxa: tuple[str, ...], found: Pooled, rooting: Rooting | None = None
) -> str:
    """The text of the page of independent fits. config: of one of them."""
    tree, rooted = rooted_tree(found.answer, taxa, rooting)
    listed = found.summary["replicates"]
    return page(
        Contents(
            title=f"{directory.destination.name}: {len(found.answers)} independent fits",
            conditions=f"{_data_words(config)}. Under {evidence_conditions(config)}.",
            taxa=taxa,
            verdict=found.verdict,
            answer=found.answer,
            tree=tree,
            rooted=rooted,
            evidence=found.evidence,
            draws=found.summary["marginal_log_likelihood"][0]["draws"],
            effective_sample_size=found.facts.effective_sample_size,
            pareto_k=found.facts.pareto_k,
            certainty=found.certainty,
            parameters=ParameterDraws(
                np.concatenate([each.values for each in found.draws]),
                np.concatenate([each.shares for each in found.draws]) / len(found.draws),
            ),
            trace=None,
            compared=_farthest(found, listed),
            made_by=[
                *_commands(found.summary),
                ("alignment", str(config.get("alignment", {}).get("file") or "given from Python")),
                ("SHA-256 of the data", str(config.get("alignment", {}).get("sha256"))),
                ("seeds", ", ".join(str(each["seed"]) for each in listed)),
                ("training", "; ".join(f"{each['iterations']:,} iterations, {each['seconds']:.0f} s" for each in listed)),
                ("versions", ", ".join(f"{name} {version}" for name, version in found.summary.get("versions", {}).items())),
            ],
            files=[*(each for each in FILES if (directory.path / each[0]).exists()),
                   *((each["folder"], "a whole run, with its own report.html") for each in listed)],
            config=(directory.path / CONFIG).read_text(encoding="utf-8"),
            tables={"Independent fits": replicate_rows(found.summary)},
        )
    )  # fmt: skip


def replicate_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each fit, after the head, from the summary.json of several."""
    rows: list[tuple[str, ...]] = [("fit", "seed", "log p(Y)", "error", "effective size", "Pareto k", "verdict")]
    for each in summary["replicates"]:
        numbers = [
            "unknown" if each[key] is None else form.format(each[key])
            for key, form in (
                ("log_evidence", "{:.2f}"), ("error", "{:.2f}"), ("effective_sample_size", "{:,.0f}"), ("pareto_k", "{:.2f}"),
            )
        ]  # fmt: skip
        rows.append((each["folder"], str(each["seed"]), *numbers, str(each["verdict"])))
    return rows


def _farthest(found: Pooled, listed: Sequence[Mapping[str, Any]]) -> Compared | None:
    """The fit whose splits are farthest from the common answer's."""
    if len(found.answers) < 2:
        return None
    own = found.answer.frequencies()
    apart = [average_standard_deviation(unite(own, each.frequencies())) for each in found.answers]
    k = int(np.argmax(apart))
    between = found.summary["asdsf"]
    note = (
        f"The fits differ from each other by an ASDSF of {between:.4f}: up to 0.01 is good agreement, above 0.05 "
        f"none. Shown is the one that "
        "is farthest from their common answer."
    )
    return Compared(str(listed[k]["folder"]), found.answers[k].frequencies(), note)


def parameter_draws(found: ImportancePass, weighted: bool) -> ParameterDraws:
    """Draws of the parameters; without their weights they are those of the mixture itself."""
    shares = found.weighting.shares if weighted else np.full(len(found.trees), 1.0 / len(found.trees))
    return ParameterDraws(reported_values(found.trees.lengths, found.trees.theta, found.characters)[1], shares)


def rooted_tree(answer: Answer, taxa: tuple[str, ...], rooting: Rooting | None) -> tuple[Rooted, str]:
    """The consensus as it is to be drawn, and how it is rooted in words."""
    tree = answer.consensus(taxa)
    if rooting is None:
        return Rooted(tree), AS_FITTED
    if rooting.outgroup:
        return root(tree, rooting), f"The root is beside the outgroup {', '.join(rooting.outgroup)}."
    return root(tree, rooting), "The root is at the midpoint of the longest path between two taxa."


def evidence_conditions(config: Mapping[str, Any]) -> str:
    """What log p(Y) refers to, as `Run.describe_target` has it. config: of a run, whatever its age."""
    # Runs from before there was a choice are all of one kind.
    return str(config.get("target") or "JC; branch lengths exp:10; all topologies alike")


def _data_words(config: Mapping[str, Any]) -> str:
    data = config.get("alignment", {})
    return f"{data.get('file') or 'an alignment in memory'}: {data.get('taxa')} taxa, {data.get('sites')} sites"


def _made_by(config: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, trees = config.get("alignment", {}), config.get("trees", {})
    made = trees.get("made")
    source = f"made by {made.get('source')}" if made else ", ".join(map(str, trees.get("files", [])))
    rows = [
        *_commands(summary),
        ("alignment", str(data.get("file") or "given from Python")),
        ("SHA-256 of the data", str(data.get("sha256", "not recorded"))),
        ("tree sample", source),
        ("mixture", f"A={summary.get('A')}, S={summary.get('S')}, K={summary.get('K')}, {summary.get('estimator')}"),
        ("weights of its components", weights_in_words(config, summary)),
        ("seed", str(summary.get("seed"))),
        ("training", f"{summary.get('iterations', 0):,} iterations, {summary.get('seconds', 0.0):.0f} s"),
        ("ended by", str(summary.get("stop_reason"))),
        ("versions", ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())),
    ]
    return [row for row in rows if row[1]]


def weights_in_words(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The learned weights of a mixture, the largest, and to how many equal ones they come; nothing of uniform weights."""
    if config.get("model", {}).get("weights") != "learned" or "weights" not in summary:
        return ""
    weights = sorted(summary["weights"], reverse=True)
    listed = ", ".join(f"{each:.3f}" for each in weights[:MOST_WEIGHTS])
    more = f" and {len(weights) - MOST_WEIGHTS} more" if len(weights) > MOST_WEIGHTS else ""
    effective = effective_components(torch.tensor(weights, dtype=torch.float64).log())
    return f"learned: {listed}{more}; as even as {effective:.1f} equal ones"


def _commands(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """As they were typed, in their order."""
    return [("command" if k == 0 else "then", text) for k, text in enumerate(summary.get("commands", ["not recorded"]))]


def _trace(place: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Seconds and bound; None if there is no trace."""
    try:
        with place.open(encoding="utf-8", newline="") as file:
            rows = [(float(row["seconds"]), float(row["bound"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    values = np.array([row for row in rows if math.isfinite(row[1])]).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _sample(folder: Path, taxa: tuple[str, ...], known: SplitFrequencies | None) -> Compared | None:
    """The splits of the tree sample that the run keeps, if it made one; known: they, where the file need not be read."""
    place = folder / SAMPLE
    if not place.exists():
        return None
    if known is None:
        try:
            sample = read_tree_sample([place], taxa)
        except TreeError:
            return None
        known = split_frequencies(sample.children, sample.weights)
    note = (
        "The tree sample gives the fit its topologies and a start, no more; the answer need not agree with it, "
        "but splits far from the line "
        "are those that the fit has changed."
    )
    return Compared("the tree sample", known, note)

"""Several independent fits of one alignment: how far they agree, and one answer of all. replicate_fits.py makes them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vbpi_mix.errors import RunDirectoryError
from vbpi_mix.phylo.assess.verdict import Facts, Verdict, judge
from vbpi_mix.phylo.export import check_trained
from vbpi_mix.phylo.importance import FORM, facts_of
from vbpi_mix.phylo.pages import REPORT, Pooled, parameter_draws, pooled_page
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.certainty import Certainty
from vbpi_mix.phylo.report.consensus import Consensus
from vbpi_mix.phylo.report.page import ParameterDraws
from vbpi_mix.phylo.report.pooled_certainty import pooled_certainty
from vbpi_mix.phylo.report.pooling import agreement, pooled_answer, pooled_evidence
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root
from vbpi_mix.phylo.report.tree_drawing import Drawing, check_picture, draw_picture
from vbpi_mix.phylo.report.tree_figure import draw_tree
from vbpi_mix.phylo.report.weighted import Estimate
from vbpi_mix.phylo.results import write_answer
from vbpi_mix.phylo.run import REPLICATES, Run, load
from vbpi_mix.training.provenance import versions
from vbpi_mix.training.run_directory import RunDirectory


class Replicates:
    """Fits of the same data that differ in their seeds. `fit_replicates` and `load_any` make one.

    runs: the fits, each a whole run in a folder of its own below `path`.
    """

    def __init__(self, directory: RunDirectory, runs: Sequence[Run]) -> None:
        self.directory = directory
        self.runs = tuple(runs)

    @property
    def path(self) -> Path:
        """The folder that holds the runs, and the files of their common answer."""
        return self.directory.path

    @property
    def taxa(self) -> tuple[str, ...]:
        """Names of the taxa."""
        return self.runs[0].taxa

    @property
    def summary(self) -> dict[str, Any]:
        """What its summary.json holds."""
        return self.directory.read_summary()

    @cached_property
    def weighted(self) -> bool:
        """Whether the weights of all can be relied on; else the answer is of the fits' own."""
        return all(run.importance.verdict.weighted for run in self.runs)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """Of each fit, all of one kind."""
        return tuple(run.answer(self.weighted) for run in self.runs)

    @cached_property
    def parameter_draws(self) -> tuple[ParameterDraws, ...]:
        """Of each fit."""
        return tuple(parameter_draws(run.importance, self.weighted) for run in self.runs)

    @cached_property
    def pooled(self) -> Answer:
        """The mean of the fits' answers; errors are at least what the fits differ by."""
        draws = self.parameter_draws
        return pooled_answer(self.answers, [each.values for each in draws], [each.shares for each in draws])

    @cached_property
    def certainty(self) -> Certainty:
        """How certain the common answer is of the topology."""
        found = [run.importance for run in self.runs]
        by = [each.weighting for each in found] if self.weighted else None
        return pooled_certainty([run.mixture for run in self.runs], [each.trees for each in found], by)

    @property
    def evidence(self) -> Estimate:
        """log p(Y) of all together."""
        return pooled_evidence([run.importance.evidence for run in self.runs])

    @cached_property
    def facts(self) -> Facts:
        """What is known of all, the worst where that is what counts."""
        each = [facts_of(run.importance.trees, run.summary, run.config) for run in self.runs]
        tails = [facts.pareto_k for facts in each]
        several = len(self.runs) > 1
        values = [run.importance.evidence.value for run in self.runs]
        return Facts(
            draws=min(facts.draws for facts in each),
            pareto_k=math.nan if any(map(math.isnan, tails)) else max(tails),
            effective_sample_size=sum(facts.effective_sample_size for facts in each),
            mass_missing=max((facts.mass_missing for facts in each if facts.mass_missing is not None), default=None),
            sample_agreed=False if any(facts.sample_agreed is False for facts in each) else each[0].sample_agreed,
            sample_rising=any(facts.sample_rising for facts in each),
            replicates_asdsf=agreement(self.answers)[0] if several else None,
            replicates_evidence=max(values) - min(values) if several else None,
        )

    @cached_property
    def verdict(self) -> Verdict:
        """On the common answer."""
        return judge(self.facts)

    def consensus(self) -> Consensus:
        """Majority rule of the common answer."""
        return self.pooled.consensus(self.taxa)

    def rooted(self, rooting: Rooting | None = None) -> Rooted:
        """The consensus, rooted as asked, else at the outgroup that the fits were given, if they were."""
        rooting = rooting or Rooting.of(self.runs[0].config.get("answer", {}).get("outgroup"), False, self.taxa)
        return Rooted(self.consensus()) if rooting is None else root(self.consensus(), rooting)

    def report(self, outgroup: str | Sequence[str] | None = None, midpoint: bool = False) -> str:
        """The text of their report.html; as `Run.report`."""
        self._check_trained()
        rooting = Rooting.of(outgroup, midpoint, self.taxa)
        found = Pooled(
            self.pooled, self.answers, self.parameter_draws, self.verdict, self.evidence, self.facts, self.certainty,
            self.summary,
        )  # fmt: skip
        return pooled_page(self.directory, self.runs[0].config, self.taxa, found, rooting)

    def tree_picture(self, outgroup: str | Sequence[str] | None = None, midpoint: bool = False) -> str:
        """The consensus as SVG; as `Run.tree_picture`."""
        self._check_trained()
        return draw_tree(self.rooted(Rooting.of(outgroup, midpoint, self.taxa)).tree)

    def draw(
        self,
        out: str | os.PathLike[str],
        outgroup: str | Sequence[str] | None = None,
        midpoint: bool = False,
        *,
        by: str | None = None,
        force: bool = False,
    ) -> Drawing:
        """Write the consensus as a picture; as `Run.draw`."""
        self._check_trained()
        rooting, place = Rooting.of(outgroup, midpoint, self.taxa), Path(out)
        check_picture(place, by, force)
        return draw_picture(self.rooted(rooting), place, by)

    def write(self) -> None:
        """Write the common answer, summary.json and the page into the folder."""
        write_answer(self.pooled, self.rooted().tree, self.taxa, self.directory)
        self.directory.update_summary(self._entries())
        self.directory.write_text(REPORT, self.report())

    def _check_trained(self) -> None:
        for run in self.runs:
            check_trained(run.directory)

    def _entries(self) -> dict[str, Any]:
        runs, facts, found = self.runs, self.facts, self.evidence
        keys = ("seed", "iterations", "seconds", "stop_reason", "pareto_k", "effective_sample_size", "verdict", "answer")
        each = []
        for run in runs:
            summary, evidence = run.summary, run.importance.evidence
            shown = {"log_evidence": _finite(evidence.value), "error": _finite(evidence.error)}
            each.append({"folder": run.path.name, **{key: summary.get(key) for key in keys}, **shown})
        return {
            "command": REPLICATES,
            "replicates": each,
            "asdsf": facts.replicates_asdsf,
            "largest_split_difference": agreement(self.answers)[1] if len(runs) > 1 else None,
            "log_evidence_range": None if facts.replicates_evidence is None else _finite(facts.replicates_evidence),
            "marginal_log_likelihood": [
                {"form": FORM, "mean": _finite(found.value), "error": _finite(found.error),
                 "draws": sum(len(run.importance.trees) for run in runs)}
            ],
            "effective_sample_size": _finite(facts.effective_sample_size),
            "pareto_k": _finite(facts.pareto_k),
            **self.verdict.as_dict(),
            "answer": self.pooled.source,
            "parameters": [parameter.as_dict() for parameter in self.pooled.parameters],
            "certainty": self.certainty.as_dict(self.taxa),
            "versions": versions(),
        }  # fmt: skip


def load_any(path: str | os.PathLike[str]) -> Run | Replicates:
    """The run, or the replicates that were pooled last, in a folder. Errors as `load`, and RunDirectoryError for replicates that
    were cut off before any answer of all."""
    directory = RunDirectory.open(path)
    if not holds_replicates(directory):
        return load(path)
    listed = directory.read_summary().get("replicates")
    if not listed:
        raise RunDirectoryError(f"{path} has no answer yet, as its fits were cut off: resume it (vbpi-mix fit --resume {path})")
    return Replicates(directory, [load(directory.path / each["folder"]) for each in listed])


def holds_replicates(directory: RunDirectory) -> bool:
    """Whether a folder is of several fits."""
    return bool(directory.read_config().get("command") == REPLICATES)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


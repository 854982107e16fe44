"""Both answers of a run, its own and the weighted one: made when asked for, from its seed, and written when a fit ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.importance import ImportancePass, count_draws, importance_pass
from vbpi_mix.phylo.pages import REPORT, run_page
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.answer import Answer, own_answer
from vbpi_mix.phylo.report.certainty import Certainty, certainty
from vbpi_mix.phylo.report.export_draws import ExportDraws
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root
from vbpi_mix.phylo.results import POSTERIOR_TREES, bound_entries, combined_forms, posterior_trees, write_answer
from vbpi_mix.phylo.sbn.splits import SplitFrequencies
from vbpi_mix.training.run_directory import RunDirectory


class Answers:
    """What a trained mixture answers. Nothing here changes: training that goes on needs another."""

    def __init__(
        self,
        problem: PhyloProblem,
        directory: RunDirectory,
        config: Mapping[str, Any],
        model: ModelConfig,
        seed: int,
        of_sample: SplitFrequencies | None = None,
    ) -> None:
        """config: what config.yaml holds; model: its part as checked choices; of_sample: the splits of the tree sample, where
        they are known."""
        self._problem = problem
        self._directory = directory
        self._config = config
        self._model = model
        self._seed = seed
        self._of_sample = of_sample

    @cached_property
    def own(self) -> Answer:
        """The fit's own."""
        return self._own(self._generator())

    @cached_property
    def importance(self) -> ImportancePass:
        """The weighted draws that end the fit, and the verdict on them."""
        summary = self._directory.read_summary()
        draws = summary.get("answer_draws") or self._count_draws(summary)
        return importance_pass(self._problem, draws, self._seed, summary, self._config)

    def given(self, weighted: bool = True) -> Answer:
        """The weighted answer, unless it is not wanted or the verdict is against it."""
        # A fit that was found to be not reliable needs no draws to be found so again.
        if weighted and self._directory.read_summary().get("answer") != "fit" and self.importance.verdict.weighted:
            return self.importance.answer
        return self.own

    def rooted(self, answer: Answer, rooting: Rooting | None = None) -> Rooted:
        """The consensus of an answer, rooted as asked, else at the outgroup that the fit was given, if it was."""
        rooting, consensus = rooting or self._rooting(), answer.consensus(self._problem.taxa)
        return Rooted(consensus) if rooting is None else root(consensus, rooting)

    def with_draws(self, count: int, weighted: bool = True) -> tuple[Answer, ExportDraws]:
        """The answer that `given` gives, and the draws it is made of; of the fit's own, `count` at least."""
        answer = self.given(weighted)
        if answer.source == "weighted":
            return answer, ExportDraws.weighted(self.importance.trees, self.importance.weighting)
        trees = posterior_trees(self._problem.trees, self._generator(), max(count, POSTERIOR_TREES))
        draws = ExportDraws.own(self._problem.trees, trees)
        if count > POSTERIOR_TREES:
            answer = own_answer(self._problem.trees, trees, self._problem.posterior.characters)
        return answer, draws

    @cached_property
    def certainty(self) -> Certainty:
        """How certain the given answer is of the topology."""
        found = self.importance
        by = found.weighting if self.given().source == "weighted" else None
        return certainty(self._problem.trees, found.trees, by)

    def write(self) -> None:
        """Make the pass, and write the answer, what was found and the page of it into the run's folder."""
        generator = self._generator()
        self.own = self._own(generator)
        bound = bound_entries(self._problem, generator)
        self._directory.drop_from_summary(("answer", "answer_draws"))
        started = time.perf_counter()
        found = self.importance
        answer = found.answer if found.verdict.weighted else self.own
        rooted = self.rooted(answer)
        write_answer(answer, rooted.tree, self._problem.taxa, self._directory)
        remark = {"rooting": rooted.remark} if rooted.remark else {}
        parameters = {"parameters": [each.as_dict() for each in answer.parameters]}
        entries = {**bound, **found.entries(), **parameters, **remark, "certainty": self.certainty.as_dict(self._problem.taxa)}
        entries["answer_seconds"] = time.perf_counter() - started
        before = self._directory.read_summary().get("marginal_log_likelihood", [])
        self._directory.update_summary(combined_forms(entries, before))
        self._directory.write_text(REPORT, self.page())

    def page(self, rooting: Rooting | None = None) -> str:
        """The text of report.html."""
        return run_page(
            self._problem.taxa, self._directory, self._config, self.given(), self.importance, self.certainty,
            rooting or self._rooting(), self._of_sample,
        )  # fmt: skip

    def _rooting(self) -> Rooting | None:
        """As the fit was asked for."""
        return Rooting.of(self._config.get("answer", {}).get("outgroup"), False, self._problem.taxa)

    def _count_draws(self, summary: Mapping[str, Any]) -> int:
        """As asked for, else by the size of the data and by what training drew."""
        asked: int | None = self._config.get("answer", {}).get("draws")
        if asked is not None:
            return asked
        trained = summary.get("iterations", 0) * (self._model.sampled or 1) * self._model.particles
        posterior = self._problem.posterior
        return count_draws(posterior.work, trained, posterior.n_parameters > 0)

    def _own(self, generator: torch.Generator) -> Answer:
        trees = posterior_trees(self._problem.trees, generator)
        return own_answer(self._problem.trees, trees, self._problem.posterior.characters)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed)

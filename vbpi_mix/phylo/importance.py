"""The pass of importance sampling that ends a fit: how many draws, the draws, and whether they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights
from vbpi_mix.pareto import normalised_perplexity
from vbpi_mix.phylo.assess.verdict import Facts, Verdict, judge
from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.answer import Answer, weighted_answer
from vbpi_mix.phylo.report.weighted import Estimate, WeightedTrees, Weighting, draw_weighted_trees, evidence, weighting

MOST_DRAWS, LEAST_DRAWS = 100_000, 10_000
# Of a model with parameters, if training drew as many: on DS1 under GTR+G4 10,000 are worth 455.
DRAWS_OF_PARAMETERS = 30_000
# Taxa times site patterns for which the most draws are made: those of DS1, where they take about 3 s on one core.
CELLS_OF_MOST = 26_000
FORM = "weighted"


def count_draws(work: float, trained: int, parameters: bool = False) -> int:
    """How many draws end a fit that made `trained` draws in training; the same for the same run, whatever the clock says.
    work: of a draw (Posterior.work). parameters: whether the model has any, whose answers take more draws.

    As many as cost what 100,000 cost on DS1, and no more than training had: a draw costs a third of one that is trained on,
    so that the pass, of a fit that had to find its start too, takes about a fifth of the time at most. At least 10,000.
    """
    affordable = max(int(MOST_DRAWS * CELLS_OF_MOST // work), DRAWS_OF_PARAMETERS if parameters else 0)
    return max(LEAST_DRAWS, min(MOST_DRAWS, affordable, trained))


@dataclass(frozen=True, eq=False)
class ImportancePass:
    """Weighted draws of a fit and the verdict on them. characters: the model whose parameters the draws carry."""

    trees: WeightedTrees
    verdict: Verdict
    characters: CharacterModel | None = None

    @cached_property
    def weighting(self) -> Weighting:
        """Shares of the draws."""
        return weighting(self.trees)

    @property
    def usable(self) -> bool:
        """Whether any draw has a weight; else there are no weighted figures at all."""
        return bool(self.trees.log_weights.max() > -math.inf)

    @property
    def evidence(self) -> Estimate:
        """log p(Y) with its Monte Carlo error; nan if no draw has any weight."""
        return evidence(self.weighting) if self.usable else Estimate(math.nan, math.nan)

    @cached_property
    def answer(self) -> Answer:
        """The weighted one, whether it can be relied on or not."""
        return weighted_answer(self.trees, self.weighting, self.characters)

    def entries(self) -> dict[str, Any]:
        """Entries of summary.json; what is not a number is null."""
        log_weights = self.trees.smoothed.log_weights
        found = self.evidence
        return {
            "marginal_log_likelihood": [
                {"form": FORM, "mean": _finite(found.value), "error": _finite(found.error), "draws": len(self.trees)}
            ],
            "answer_draws": len(self.trees),
            "effective_sample_size": _finite(self.trees.effective_sample_size),
            "normalised_perplexity": _finite(normalised_perplexity(log_weights)),
            "pareto_k": _finite(self.trees.smoothed.pareto_k),
            **self.verdict.as_dict(),
        }


def importance_pass(
    problem: PhyloProblem, draws: int, seed: int, summary: Mapping[str, Any], config: Mapping[str, Any]
) -> ImportancePass:
    """Draw, weigh and judge. summary and config: of the run, for what the verdict needs to know besides."""
    trees = _draw(problem, draws, seed)
    return ImportancePass(trees, judge(facts_of(trees, summary, config)), problem.posterior.characters)


def facts_of(trees: WeightedTrees, summary: Mapping[str, Any], config: Mapping[str, Any]) -> Facts:
    """What is known of a run that these draws are of."""
    made = config.get("trees", {}).get("made", {})
    return Facts(
        draws=len(trees),
        pareto_k=trees.smoothed.pareto_k,
        effective_sample_size=trees.effective_sample_size,
        mass_missing=summary.get("mass_missing"),
        sample_agreed=made.get("agreed"),
        sample_rising=made.get("rising"),
    )


def _draw(problem: PhyloProblem, count: int, seed: int) -> WeightedTrees:
    mixture, target = problem.trees, problem.target
    # Another stream than that of training, whose first draws the mixture has been fitted to.
    own_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(own_seed)
    draw = draw_components(Estimator.A2A, mixture.n_components, None, generator)
    return draw_weighted_trees(
        mixture,
        lambda d: log_importance_weights(
            target.log_likelihood(d), target.log_prior(d), d.log_q, log_weights=mixture.log_weights
        ),
        draw,
        count,
        generator,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

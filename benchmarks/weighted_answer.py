"""The weighted answer of a run: its splits, and what the weights are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class WeightedAnswer:
    """splits: SplitFrequencies as they are to be given; own_splits: of the fit itself, exact. size: effective sample size."""

    splits: Any
    own_splits: Any
    pareto_k: float
    size: float
    verdict: str


def weighted_answer(run: Any, draws: int = DRAWS, seed: int = 1) -> WeightedAnswer:
    """Of draws of a run; the fit's own splits where the verdict is against weighting."""
    from vbpi_mix.estimators import Estimator, draw_components, log_importance_weights
    from vbpi_mix.phylo.assess.verdict import Facts, judge
    from vbpi_mix.phylo.report.weighted import draw_weighted_trees, internal_frequencies, split_estimates, weighting
    from vbpi_mix.phylo.sbn.splits import sbn_split_frequencies

    generator = torch.Generator().manual_seed(seed)
    draw = draw_components(Estimator.A2A, run.mixture.n_components, None, generator)
    trees = draw_weighted_trees(
        run.mixture,
        lambda drawn: log_importance_weights(
            run.target.log_likelihood(drawn), run.target.log_prior(drawn), drawn.log_q
        ),
        draw, draws, generator,
    )  # fmt: skip
    tail, size = trees.smoothed.pareto_k, trees.effective_sample_size
    verdict = judge(Facts(draws=len(trees), pareto_k=tail, effective_sample_size=size))
    own = sbn_split_frequencies(run.mixture.support, run.mixture.logits.detach().numpy())
    weighted = internal_frequencies(trees, split_estimates(trees, weighting(trees)))
    return WeightedAnswer(weighted if verdict.weighted else own, own, tail, size, verdict.trust.value)

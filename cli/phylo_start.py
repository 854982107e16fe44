"""How a fit starts: the model put together from alignment, tree sample and configuration, and the rates it learns at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn import networks as sbn
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.start import warm_start
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix_cli.phylo_runs import PhyloProblem, flow_of

# Of networks, branch features and flow (docs/log.md says how these were found). A flow's output is a sum over hundreds of
# weights, which all move at once.
WARM_RATES = {"sbn": 0.003, "branches": 0.002, "flow": 0.0001}
# From branch lengths at random.
COLD_RATES = {"sbn": 0.002, "branches": 0.008, "flow": 0.0002}
# Of primary subsplit pairs, compared with splits: an edge that is seldom drawn then takes most of what is learned from
# its split, which is drawn more often (docs/flows.md).
PAIR_RATE = 0.2


@dataclass(frozen=True)
class LearningRates:
    """learning_rate: of the networks, None for the schedule's own. multipliers: of the other parameter groups. pairs: of
    the rows of primary subsplit pairs, compared with those of splits.
    """

    learning_rate: float | None
    multipliers: dict[str, float]
    pairs: float


def learning_rates(schedule: str, flow: str, init: str) -> LearningRates:
    """Those of a schedule and a start; the published schedule has one rate for all."""
    if schedule == "paper":
        return LearningRates(None, {}, 1.0)
    rates = WARM_RATES if init == "warm" else COLD_RATES
    multipliers = {"branches": rates["branches"] / rates["sbn"]}
    if flow != "none":
        multipliers |= dict.fromkeys(("flow", "flow biases"), rates["flow"] / rates["sbn"])
    return LearningRates(rates["sbn"], multipliers, PAIR_RATE)


def build_problem(alignment: Alignment, sample: TreeSample, model: dict[str, Any], seed: int) -> PhyloProblem:
    """Support, start and mixture as the model part of a configuration says.

    ConfigError for a flow that there is not.
    """
    support = build_support(sample.children)
    patterns = compress(alignment)
    logits, features = None, None
    if model["init"] != "flat":
        encoded, weights = support.encode(sample.children), sample.weights
        if model["init"] == "warm":
            start = warm_start(
                support, encoded, weights, Posterior(patterns), np.random.default_rng(seed),
                split_only=model["branch"] == "split",
            )  # fmt: skip
            weights, features = start.weights, start.features
        fitted = sbn.fit_simple_average if model["init"] == "average" else sbn.fit_em
        logits = fitted(support, encoded, weights)
    generator = torch.Generator().manual_seed(seed)
    mixture = PhyloMixture(
        support,
        model["A"],
        generator=generator,
        branch_model=model["branch"],
        logits=logits,
        features=features,
        flow=flow_of(model, support, generator),
        pair_rate=model["pair_rate"],
    )
    return PhyloProblem(
        alignment.taxa,
        patterns,
        mixture,
        estimator=Estimator.parse(model["estimator"]),
        sampled=model["S"],
        particles=model["K"],
    )

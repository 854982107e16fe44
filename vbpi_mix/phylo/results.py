"""What a run answers: its trees, topologies and splits as values, and the files and entries that keep them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vbpi_mix.estimators import Estimator, draw_components
from vbpi_mix.evaluation import Evaluation, evaluate
from vbpi_mix.pareto import normalised_perplexity, pareto_k
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.summaries import PosteriorTrees, consensus, draw_trees, topology_probabilities
from vbpi_mix.phylo.trees.nexus import trprobs
from vbpi_mix.training.run_directory import RunDirectory

POSTERIOR_TREES = 10_000
# Entries of summary.json that describe the mixture that was evaluated, and not a later one.
EVALUATED = (
    "marginal_log_likelihood",
    "elbo",
    "elbo_standard_error",
    "effective_sample_size",
    "normalised_perplexity",
    "pareto_k",
    "evaluation_seconds",
)


@dataclass(frozen=True)
class Split:
    """A split with its probability. members: names of the taxa on its smaller side."""

    members: tuple[str, ...]
    frequency: float


@dataclass(frozen=True)
class Topology:
    """An unrooted topology with its probability under the mixture."""

    newick: str
    probability: float


@dataclass(frozen=True, eq=False)
class SampledTree:
    """A tree drawn from the mixture. lengths: float64 [E], expected substitutions per site, as in `newick`."""

    newick: str
    lengths: np.ndarray


def posterior_trees(
    mixture: PhyloMixture, generator: torch.Generator, count: int = POSTERIOR_TREES
) -> PosteriorTrees:
    """At least `count` trees drawn from a mixture, as many from each component."""
    draw = draw_components(Estimator.A2A, mixture.n_components, None, generator)
    return draw_trees(mixture, draw, count, generator)


def write_results(problem: PhyloProblem, directory: RunDirectory, seed: int) -> None:
    """Write trees and topologies, and the single-sample bound of the mixture (A2A) with its standard error."""
    mixture = problem.trees
    generator = torch.Generator().manual_seed(seed)
    trees = posterior_trees(mixture, generator)
    agreed = consensus(trees, mixture.support, problem.taxa)
    directory.write_text("consensus.nwk", f"{agreed.newick()}\n")
    children, probabilities = topology_probabilities(mixture, trees.children)
    comment = (
        f"Topologies met in {trees.children.shape[0]:,} draws from a mixture fitted by vbpi-mix, with their exact "
        "probabilities under it (p) and the cumulative probability (P)"
    )
    directory.write_text("topologies.trprobs", trprobs(children, probabilities, problem.taxa, comment))
    found = evaluate(mixture, problem.target, importance_samples=1000, repeats=10, generator=generator)
    directory.update_summary({"elbo": found.elbo, "elbo_standard_error": found.elbo_standard_error})


def evaluation_entries(found: Evaluation) -> dict[str, Any]:
    """An evaluation as entries of summary.json; what is not a number is null."""
    weights = found.log_weights.flatten().numpy()
    tail = pareto_k(weights)
    return {
        "marginal_log_likelihood": [
            {
                "form": estimate.form,
                "mean": estimate.mean,
                "sd": None if estimate.repeats == 1 else estimate.sd,
                "importance_samples": estimate.importance_samples,
                "repeats": estimate.repeats,
            }
            for estimate in found.estimates
        ],
        "elbo": found.elbo,
        "elbo_standard_error": found.elbo_standard_error,
        "effective_sample_size": found.effective_sample_size,
        "normalised_perplexity": normalised_perplexity(weights),
        "pareto_k": tail if math.isfinite(tail) else None,
    }

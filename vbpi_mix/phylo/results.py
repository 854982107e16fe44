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
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.problem import PhyloProblem
from vbpi_mix.phylo.report.answer import MOST_TOPOLOGIES, Answer
from vbpi_mix.phylo.report.consensus import Consensus
from vbpi_mix.phylo.report.summaries import PosteriorTrees, draw_trees
from vbpi_mix.phylo.trees.topology import to_newick
from vbpi_mix.training.provenance import environment, versions
from vbpi_mix.training.reports import TrainingResult
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
    "answer_draws",
    "parameters",
    "rooting",
    "certainty",
    "verdict",
    "answer",
    "reasons",
    "answer_seconds",
    "evaluation",
    "evaluation_seconds",
)
# Forms of the marginal log-likelihood, in the order in which they are listed.
FORMS = ("published", "pooled", "weighted")


@dataclass(frozen=True)
class Split:
    """A split. members: names of the taxa on its smaller side. frequency: its posterior probability; error: Monte Carlo, 0 if
    exact. length: mean of the branch over trees that have it, nan if none was drawn."""

    members: tuple[str, ...]
    frequency: float
    error: float
    length: float
    length_error: float


@dataclass(frozen=True)
class Topology:
    """An unrooted topology with its posterior probability. error: Monte Carlo, 0 if exact."""

    newick: str
    probability: float
    error: float


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


def sampled_trees(
    mixture: PhyloMixture, taxa: tuple[str, ...], count: int, generator: torch.Generator
) -> tuple[SampledTree, ...]:
    """Independent draws in random order."""
    trees = posterior_trees(mixture, generator, count)
    # As many come from each component; which of them are left out must not depend on it.
    chosen = torch.randperm(trees.children.shape[0], generator=generator)[:count].tolist()
    return tuple(SampledTree(to_newick(trees.children[k], taxa, trees.lengths[k]), trees.lengths[k]) for k in chosen)


def split_values(answer: Answer, taxa: tuple[str, ...]) -> tuple[Split, ...]:
    """The internal splits, the most probable first."""
    rows, found = answer.internal, answer.splits
    columns = (found.frequencies, found.frequency_errors, found.lengths, found.length_errors)
    numbers = (each[rows].tolist() for each in columns)
    return tuple(Split(*each) for each in zip(answer.members(rows, taxa), *numbers, strict=True))


def topology_values(answer: Answer, taxa: tuple[str, ...]) -> tuple[Topology, ...]:
    """The most probable topologies, as many as the file lists."""
    listed = slice(MOST_TOPOLOGIES)
    numbers = (each[listed].tolist() for each in (answer.topologies.probabilities, answer.topologies.errors))
    return tuple(Topology(to_newick(tree, taxa), *each) for tree, *each in zip(answer.children[listed], *numbers, strict=True))


def training_entries(result: TrainingResult, model: ModelConfig, seed: int, problem: PhyloProblem) -> dict[str, Any]:
    """How training went, as entries of summary.json."""
    return {
        **{name: model.to_dict()[name] for name in ("A", "S", "K", "estimator")},
        "weights": problem.trees.shares.tolist(),
        "seed": seed,
        "iterations": result.iterations,
        "seconds": result.seconds,
        "seconds_per_iteration": result.seconds_per_iteration,
        "iterations_by_threads": {str(threads): count for threads, count in result.threads.items()},
        "training_bound": result.bound,
        "stop_reason": result.stop_reason,
        "support_elements": problem.support.n_params,
        "versions": versions(),
        "environment": environment(),
    }


def write_answer(answer: Answer, consensus: Consensus, taxa: tuple[str, ...], directory: RunDirectory) -> None:
    """Write consensus.nwk, topologies.trprobs and splits.csv."""
    directory.write_text("consensus.nwk", f"{consensus.newick()}\n")
    directory.write_text("topologies.trprobs", answer.trprobs(taxa))
    directory.write_text("splits.csv", answer.splits_csv(taxa))


def bound_entries(problem: PhyloProblem, generator: torch.Generator) -> dict[str, float]:
    """The single-sample bound of the mixture (A2A) with its standard error, as entries of summary.json."""
    found = evaluate(problem.trees, problem.target, importance_samples=1000, repeats=10, generator=generator)
    return {"elbo": found.elbo, "elbo_standard_error": found.elbo_standard_error}


def combined_forms(entries: dict[str, Any], before: Any) -> dict[str, Any]:
    """The same entries, with those forms of the marginal log-likelihood from before that they have not; weighted last.

    before: as summary.json has them, which may be damaged; what is none of the forms is left out.
    """
    known = [each for each in before if isinstance(each, dict) and each.get("form") in FORMS] if isinstance(before, list) else []
    forms = {each["form"]: each for each in (*known, *entries["marginal_log_likelihood"])}
    listed = sorted(forms.values(), key=lambda each: FORMS.index(each["form"]))
    return {**entries, "marginal_log_likelihood": listed}


def evaluation_entries(found: Evaluation, seconds: float) -> dict[str, Any]:
    """An evaluation that took so long as entries of summary.json; what is not a number is null."""
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
        "evaluation": {
            "effective_sample_size": found.effective_sample_size,
            "normalised_perplexity": normalised_perplexity(weights),
            "pareto_k": tail if math.isfinite(tail) else None,
            "seconds": seconds,
        },
    }

"""What came of training one member of an experiment: its bound, its curve, and what is pictured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vbpi_mix.estimators import effective_components
from vbpi_mix.toy.curves import Curve, read_curve
from vbpi_mix.toy.experiment import Experiment, Member
from vbpi_mix.toy.figures import Panel
from vbpi_mix.toy.fit import equal_mixture_problem
from vbpi_mix.toy.gaussians import resampled_positions
from vbpi_mix.toy.members import stream
from vbpi_mix.training.mixture_problem import BoundEstimate, MixtureProblem
from vbpi_mix.training.reports import TrainingResult
from vbpi_mix.training.run_directory import RunDirectory

FINAL_PARTICLES = 100_000
PICTURED_SAMPLES = 3_000
COUNTED_SAMPLES = 30_000
# Streams of the final estimate and of pictured samples, apart from those of the validations (t >= 1).
FINAL_STREAM, PICTURE_STREAM = -1, -2


@dataclass(frozen=True)
class Outcome:
    """One trained member: estimate of its bound, of its curve, and what is pictured of it.

    facts: what only its kind can tell: share_of_first_mode, weights, effective_components, as_mixture.
    """

    member: Member
    problem: MixtureProblem
    result: TrainingResult
    curve: Curve
    final: BoundEstimate
    panel: Panel
    facts: dict[str, Any]

    def entry(self, experiment: Experiment, log_evidence: float) -> dict[str, Any]:
        """What summary.json records of it. seconds include validation, training_seconds do not."""
        member, result, curve = self.member, self.result, self.curve
        per_iteration = result.seconds_per_iteration or 0.0
        best = curve.best if curve.miselbo else None
        return {
            "label": member.label,
            "approximation": member.approximation,
            "A": member.A,
            "S": member.S,
            "K": experiment.K,
            "estimator": member.estimator,
            "weights_kind": member.weights,
            "iterations": result.iterations,
            "seconds": result.seconds,
            "seconds_per_iteration": per_iteration,
            "training_seconds": per_iteration * result.iterations,
            "elbo": self.final.mean,
            "elbo_standard_error": self.final.standard_error,
            "gap": log_evidence - self.final.mean,
            "best_elbo_of_curve": None if best is None else curve.miselbo[best],
            "best_iteration": None if best is None else curve.iterations[best],
            **self.facts,
        }


def assess(
    experiment: Experiment, member: Member, problem: MixtureProblem, result: TrainingResult, run: RunDirectory
) -> Outcome:
    """The outcome of a problem that was trained in `run`."""
    curve = read_curve(run.trace, member.label, result.seconds_per_iteration or 0.0)
    final = problem.estimate(FINAL_PARTICLES * member.importance_samples, stream(experiment, FINAL_STREAM))
    panel, facts = inspect(problem, experiment, member)
    return Outcome(member, problem, result, curve, final, panel, facts)


def inspect(problem: Any, experiment: Experiment, member: Member) -> tuple[Panel, dict[str, Any]]:
    """What to picture of a trained member, and what only its kind can tell."""
    q = problem.mixture
    facts: dict[str, Any] = {}
    generator = stream(experiment, PICTURE_STREAM)
    if member.approximation == "iwvi":
        L = member.importance_samples
        positions, labels = resampled_positions(q, problem.target, L, COUNTED_SAMPLES, generator)
    else:
        positions, labels = q.positions(COUNTED_SAMPLES, generator)
    if experiment.target == "bimodal":
        facts["share_of_first_mode"] = float((positions.sum(1) > 0).double().mean())
    weights = None
    if member.weights == "learned":
        weights = torch.softmax(q.log_weights.detach(), 0)
        facts["weights"] = weights.tolist()
        facts["effective_components"] = effective_components(q.log_weights)
    if member.approximation == "ensemble":
        facts["as_mixture"] = _as_mixture(problem, experiment)
    means = deviations = None
    if member.approximation in ("mixture", "ensemble"):
        means, deviations = q.ellipses()
    shown = torch.randperm(len(labels), generator=generator)[:PICTURED_SAMPLES]
    title = member.label if experiment.target == "funnel" else member.full_label
    panel = Panel(title, positions[shown], labels[shown], means, deviations, weights)
    return panel, facts


def _as_mixture(problem: Any, experiment: Experiment) -> dict[str, float]:
    """The bound of an ensemble's members taken as one mixture with equal weights."""
    joint = equal_mixture_problem(problem.target, problem.mixture.as_mixture())
    found = joint.estimate(FINAL_PARTICLES, stream(experiment, FINAL_STREAM))
    return {"miselbo": found.mean, "standard_error": found.standard_error}

"""What the trainer trains of an experiment: a problem for each member."""

from __future__ import annotations

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators import Estimator
from vbpi_mix.toy.experiment import KIND, Experiment, Member
from vbpi_mix.toy.gaussians import GaussianMixture
from vbpi_mix.toy.members import make_approximation, make_target
from vbpi_mix.toy.targets import ToyTarget
from vbpi_mix.training.mixture_problem import MixtureProblem

# Of all components together; L times as many where L are averaged inside the logarithm.
VALIDATION_PARTICLES = 1_000


def make_problem(experiment: Experiment, member: Member) -> MixtureProblem:
    """What the trainer trains: mixtures as asked for, everything else as one component. ConfigError if A, S, K do not fit."""
    estimator, sampled = Estimator.A2A, 1
    if member.approximation == "mixture":
        estimator = Estimator.parse(member.estimator or "")
        if member.S is None and estimator is not Estimator.A2A:
            raise ConfigError(f"--S is missing: {estimator} samples S of the A={member.A} components")
        sampled = member.A if member.S is None else member.S
    return MixtureProblem(
        KIND,
        make_target(experiment),
        make_approximation(experiment, member),
        estimator=estimator,
        sampled=sampled,
        particles=experiment.K * member.importance_samples,
        gradient="pathwise",
        importance_samples=member.importance_samples,
        validation_particles=VALIDATION_PARTICLES * member.importance_samples,
    )


def equal_mixture_problem(target: ToyTarget, mixture: GaussianMixture) -> MixtureProblem:
    """The A2A bound of a mixture that was trained otherwise, to be estimated only."""
    A = mixture.n_components
    return MixtureProblem(KIND, target, mixture, estimator=Estimator.A2A, sampled=A, particles=1, gradient="pathwise")

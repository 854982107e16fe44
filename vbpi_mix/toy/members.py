"""What an experiment is made of: its target, its approximations at their start, and its random numbers."""

from __future__ import annotations

import torch

from vbpi_mix.toy.experiment import Experiment, Member
from vbpi_mix.toy.flow import InverseAutoregressiveFlow
from vbpi_mix.toy.funnel import Funnel
from vbpi_mix.toy.gaussians import GaussianEnsemble, GaussianMixture, start_spread, start_standard
from vbpi_mix.toy.targets import Bimodal, Ring, ToyTarget
from vbpi_mix.training.validation import hash_seed

# Keeps the numbers that draw the start apart from those that the trainer draws from the same seed.
START_STREAM = 0x746F79

Approximation = GaussianMixture | GaussianEnsemble | InverseAutoregressiveFlow


def make_target(experiment: Experiment) -> ToyTarget:
    """The target of an experiment."""
    if experiment.target == "funnel":
        return Funnel(sequential_energy=experiment.sequential_energy)
    return Ring() if experiment.target == "ring" else Bimodal()


def make_approximation(experiment: Experiment, member: Member) -> Approximation:
    """One member at its start. The start is drawn from the seed, apart from the numbers of training."""
    generator = torch.Generator().manual_seed(experiment.seed ^ START_STREAM)
    start = start_spread(generator) if experiment.target == "funnel" else start_standard
    if member.approximation == "ensemble":
        return GaussianEnsemble(member.A, start)
    if member.approximation == "iaf":
        return InverseAutoregressiveFlow(member.A, generator)
    A = 1 if member.approximation == "iwvi" else member.A
    return GaussianMixture(A, start, member.weights == "learned")


def stream(experiment: Experiment, number: int) -> torch.Generator:
    """A generator of the run's seed; numbers below 0 are apart from those that training uses."""
    return torch.Generator().manual_seed(hash_seed(experiment.seed, number))

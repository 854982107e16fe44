"""The posterior of trees, branch lengths and model parameters together.

Draws carry theta, float64 [S, K, D], beside their topologies and log-lengths. `JointPosterior.at` holds theta, which gives
a posterior of trees and lengths alone: that is what the sampler moves in, and what the start approximates.

Shapes: S K = T trees, E edges, D parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.characters import CharacterModel
from vbpi_mix.phylo.models.held import HeldPart
from vbpi_mix.phylo.models.posterior import Posterior, TargetGradients
from vbpi_mix.phylo.models.substitution import Likelihoods, SubstitutionModel


class ParameterDraws(Protocol):
    """What the posterior reads of draws (draws.PhyloDraws has it)."""

    @property
    def topologies(self) -> Any:
        """With `children` int32 [T, n-2, 2]."""
        ...

    @property
    def log_lengths(self) -> Tensor:
        """[S, K, E]."""
        ...

    @property
    def theta(self) -> Tensor | None:
        """[S, K, D]."""
        ...


class HeldModel(SubstitutionModel):
    """A model of characters with its parameters held, as a model without any."""

    name = "held"
    iqtree = ""
    mrbayes = ()

    def __init__(self, characters: CharacterModel, theta: np.ndarray) -> None:
        """theta: [D]."""
        self.characters = characters
        self.theta = theta[None]

    def to(self, device: str) -> None:
        """Compute the characters' likelihoods there."""
        self.characters.to(device)

    @property
    def held_parts(self) -> tuple[HeldPart, ...]:
        """For the sampler."""
        rates = self.characters.rates(self.theta)
        return tuple(
            HeldPart(part.patterns, own, part.model.spec.ascertainment)
            for part, own in zip(self.characters.parts, rates, strict=True)
        )

    @property
    def shared_as(self) -> int | None:
        """As the characters."""
        return self.characters.shared_as

    def pack(self, patterns: SitePatterns) -> CharacterModel:
        """The characters are packed already."""
        return self.characters

    def log_likelihoods(self, children: np.ndarray, lengths: np.ndarray, packed: CharacterModel) -> np.ndarray:
        """Log-likelihoods [T]."""
        return packed.log_likelihoods(children, lengths, self.theta)

    def evaluate(self, children: np.ndarray, lengths: np.ndarray, packed: CharacterModel) -> Likelihoods:
        """Log-likelihoods and derivatives in the lengths."""
        return packed.evaluate(children, lengths, self.theta, parameters=False)

    def work_of(self, packed: CharacterModel) -> float:
        """Of all parts."""
        return packed.work


@dataclass(frozen=True, eq=False)
class EvaluatedJoint:
    """Both factors of the posterior at draws, [S, K], and what their gradients are made of."""

    log_likelihood: Tensor
    log_prior: Tensor
    _lengths: np.ndarray
    _likelihoods: Likelihoods
    _length_slopes: np.ndarray
    _theta_slopes: np.ndarray

    def pull_back(self, likelihood: Tensor, prior: Tensor) -> TargetGradients:
        """Gradients with respect to the points [T, E + D]: log-lengths, then theta."""
        of_likelihood, of_prior = likelihood.numpy().reshape(-1, 1), prior.numpy().reshape(-1, 1)
        lengths = of_likelihood * self._likelihoods.length_slopes * self._lengths + of_prior * self._length_slopes
        theta = of_likelihood * self._likelihoods.parameter_slopes["theta"] + of_prior * self._theta_slopes
        return TargetGradients(np.concatenate([lengths, theta], axis=1), {})


class JointPosterior(Posterior):
    """log p(Y | tau, b, theta), and log p(tau) p(log b) p(theta)."""

    def __init__(self, characters: CharacterModel, **priors: Any) -> None:
        """priors: of lengths and topologies, as Posterior takes them."""
        self._characters, self._priors = characters, priors
        super().__init__(characters.parts[0].patterns, HeldModel(characters, characters.start()), **priors)

    @property
    def n_parameters(self) -> int:
        """D."""
        return self._characters.size

    @property
    def characters(self) -> CharacterModel:
        """The model."""
        return self._characters

    def at(self, theta: np.ndarray | None) -> Posterior:
        """The posterior of trees and lengths given theta [D]; where a search for it begins if it is None."""
        held = HeldModel(self.characters, self.characters.start() if theta is None else theta)
        return Posterior(self.characters.parts[0].patterns, held, **self._priors)

    def parameters(self) -> Mapping[str, Tensor]:
        """None: they are drawn."""
        return {}

    def log_likelihood(self, draws: ParameterDraws) -> Tensor:  # type: ignore[override]
        """[S, K]; without a graph."""
        children, theta = draws.topologies.children, _rows(draws)
        lengths = np.exp(draws.log_lengths.detach().numpy().reshape(children.shape[0], -1))
        values = self.characters.log_likelihoods(children, lengths, theta)
        return torch.from_numpy(values).view(draws.log_lengths.shape[:-1])

    def log_prior(self, draws: ParameterDraws) -> Tensor:  # type: ignore[override]
        """log p(tau) + log p(log b) + log p(theta), [S, K]; without a graph."""
        x = draws.log_lengths.detach().numpy()
        of_theta = self.characters.log_prior(_rows(draws))[0].reshape(x.shape[:-1])
        return torch.from_numpy(self.branch_prior.log_density(x, np.exp(x)) + of_theta + self.constant)

    def evaluate(self, draws: ParameterDraws) -> EvaluatedJoint:  # type: ignore[override]
        """Both at once, and their gradients without a graph."""
        children, theta = draws.topologies.children, _rows(draws)
        x = draws.log_lengths.numpy().reshape(children.shape[0], -1)
        lengths = np.exp(x)
        likelihoods = self.characters.evaluate(children, lengths, theta)
        of_theta, theta_slopes = self.characters.log_prior(theta)
        prior = self.branch_prior.log_density(x, lengths) + of_theta + self.constant
        shape = draws.log_lengths.shape[:-1]
        return EvaluatedJoint(
            torch.from_numpy(likelihoods.values).view(shape), torch.from_numpy(prior).view(shape), lengths, likelihoods,
            self.branch_prior.log_length_slopes(lengths), theta_slopes,
        )  # fmt: skip

    def joint_slopes(self, children: np.ndarray, x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log p(Y, tau, log b, theta) [T] but for constants, and its derivatives in the log-lengths x [T, E] and in theta
        [T, D].
        """
        lengths = np.exp(x)
        found = self.characters.evaluate(children, lengths, theta)
        of_theta, theta_slopes = self.characters.log_prior(theta)
        values = found.values + self.branch_prior.log_density(x, lengths) + of_theta
        return values, self.branch_prior.add_slopes(found.length_slopes, lengths), found.parameter_slopes["theta"] + theta_slopes

    def length_slopes(self, children: np.ndarray, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Derivatives [T, E] in the log-lengths x [T, E] alone, which cost less."""
        lengths = np.exp(x)
        found = self.characters.evaluate(children, lengths, theta, parameters=False)
        return self.branch_prior.add_slopes(found.length_slopes, lengths)


def _rows(draws: ParameterDraws) -> np.ndarray:
    """theta [T, D]."""
    assert draws.theta is not None
    theta = draws.theta.detach().numpy()
    return np.ascontiguousarray(theta.reshape(-1, theta.shape[-1]))

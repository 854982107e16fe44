"""The posterior that is approximated: JC69 likelihood, uniform topologies, exponential branch lengths.

Densities of branch lengths are with respect to their logarithms x = log b, so that they and the variational densities
are of one point: log p(x) = log rate - rate b + x for each edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.phylo.branches.kernels.lognormal import log_prior as log_prior_kernel
from vbpi_mix.phylo.branches.kernels.lognormal import pull_back_to_log_lengths
from vbpi_mix.phylo.models.likelihood import PackedPatterns, log_likelihoods, log_likelihoods_and_gradients

BRANCH_LENGTH_RATE = 10.0


class TreeDraws(Protocol):
    """What the target reads of draws (mixture.PhyloDraws has it)."""

    @property
    def topologies(self) -> Any:
        """With `children` int32 [T, n-2, 2]."""
        ...

    @property
    def log_lengths(self) -> Tensor:
        """[S, K, E]."""
        ...


def log_topology_prior(n_taxa: int) -> float:
    """log of 1 / (2n-5)!!, the probability of each unrooted binary topology."""
    return -sum(math.log(k) for k in range(3, 2 * n_taxa - 4, 2))


class PhyloTarget:
    """log p(Y | tau, b) and log p(tau) p(log b), with Exp(rate) branch lengths (rate per substitution per site)."""

    def __init__(self, patterns: PackedPatterns, branch_length_rate: float = BRANCH_LENGTH_RATE) -> None:
        self.patterns = patterns
        self.branch_length_rate = branch_length_rate
        edges = 2 * patterns.n_taxa - 3
        self._constant = log_topology_prior(patterns.n_taxa) + edges * math.log(branch_length_rate)

    def log_likelihood(self, draws: TreeDraws) -> Tensor:
        """JC69 log-likelihood [S, K], differentiable in the log-lengths."""
        value: Tensor = _LogLikelihood.apply(draws.log_lengths, draws.topologies.children, self.patterns)
        return value

    def log_prior(self, draws: TreeDraws) -> Tensor:
        """log p(tau) + log p(log b), [S, K]."""
        value: Tensor = _LogPrior.apply(draws.log_lengths, self._constant, self.branch_length_rate)
        return value

    def evaluate(self, draws: TreeDraws) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], np.ndarray]]:
        """Both at once, and what carries their gradients [S, K] back to the log-lengths, float64 [T, E]."""
        children = draws.topologies.children
        x = draws.log_lengths.numpy()
        lengths = np.exp(x.reshape(children.shape[0], -1))
        likelihoods, slopes = log_likelihoods_and_gradients(children, lengths, self.patterns)
        prior = np.empty(children.shape[0])
        log_prior_kernel(x.reshape(lengths.shape), lengths, self.branch_length_rate, self._constant, prior)

        def to_log_lengths(likelihood: Tensor, prior: Tensor) -> np.ndarray:
            pull_back_to_log_lengths(
                slopes, lengths, self.branch_length_rate, likelihood.numpy().ravel(), prior.numpy().ravel()
            )
            return slopes

        shape = draws.log_lengths.shape[:-1]
        return torch.from_numpy(likelihoods).view(shape), torch.from_numpy(prior).view(shape), to_log_lengths


class _LogLikelihood(torch.autograd.Function):
    """apply(log_lengths [S, K, E], children [T, n-2, 2], patterns) -> [S, K]; the gradient in the same pass."""

    @staticmethod
    def forward(ctx: Any, log_lengths: Tensor, children: np.ndarray, patterns: PackedPatterns) -> Tensor:
        lengths = np.exp(log_lengths.numpy().reshape(children.shape[0], -1))
        if ctx.needs_input_grad[0]:
            values, gradients = log_likelihoods_and_gradients(children, lengths, patterns)
            gradients *= lengths
            ctx.gradients = gradients
        else:
            values = log_likelihoods(children, lengths, patterns)
        return torch.from_numpy(values).view(log_lengths.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        slope = upstream[0].numpy()
        gradients = ctx.gradients
        gradients *= slope.reshape(-1, 1)
        return torch.from_numpy(gradients).view(*slope.shape, -1), None, None


class _LogPrior(torch.autograd.Function):
    """apply(log_lengths [S, K, E], constant, rate) -> constant + sum of x - rate exp x over edges, [S, K]."""

    @staticmethod
    def forward(ctx: Any, log_lengths: Tensor, constant: float, rate: float) -> Tensor:
        x = log_lengths.numpy()
        scaled = rate * np.exp(x)
        ctx.slopes = 1.0 - scaled
        return torch.from_numpy((x - scaled).sum(axis=-1) + constant)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        return torch.from_numpy(upstream[0].numpy()[..., None] * ctx.slopes), None, None

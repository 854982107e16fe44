"""From log importance weights to something to call backward on.

Shapes: S components sampled, K particles of each, *B a data batch, empty for phylogenetics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.estimators.bounds import combine_components, miselbo
from vbpi_mix.estimators.interfaces import DirectMixture, DirectTarget, Evaluated, Gradients, Parameterised
from vbpi_mix.estimators.weights import StepWeights


@dataclass(frozen=True)
class Objective:
    """A bound to report, and a surrogate loss to minimise. They are different values.

    bound      [*B] detached; higher is better
    surrogate  scalar, to be MINIMISED: `surrogate.backward()` leaves in every parameter's `.grad` minus
               an unbiased estimate of the gradient of the mean bound, so that an optimiser that descends
               raises the bound. Its value means nothing, and may be nan where a weight is zero; only its
               gradient counts, so watch `bound` for trouble instead.
    """

    bound: Tensor
    surrogate: Tensor

    @property
    def signs(self) -> tuple[float, ...]:
        """What has stopped rising when training is done; of most objectives the mean bound, and nothing else."""
        return (float(self.bound.mean()),)

    def backward(self) -> Gradients:
        """Minus the gradient estimate of every parameter, returned or, where it is not returned, left in its `.grad`.

        torch's graph leaves all of them there, and what is returned is empty.
        """
        self.surrogate.backward()
        return {}


class LinearObjective(Objective):
    """An objective whose surrogate is a sum of tensors times constant coefficients of the same shape.

    `backward` hands the coefficients to the graph as they are, without building and differentiating the sum: at the
    sizes of phylogenetics that is a good part of what the estimator costs.
    """

    _terms: tuple[tuple[Tensor, Tensor], ...]

    def __init__(self, bound: Tensor, terms: Sequence[tuple[Tensor, Tensor]]) -> None:
        object.__setattr__(self, "bound", bound)
        object.__setattr__(self, "_terms", tuple(terms))

    @property
    def surrogate(self) -> Tensor:
        """The sum itself, for those who want to differentiate it otherwise."""
        return torch.stack([(coefficient * tensor).sum() for tensor, coefficient in self._terms]).sum()

    def backward(self) -> Gradients:
        """Leave minus the gradient estimate in every parameter's `.grad`."""
        attached = [(tensor, coefficient) for tensor, coefficient in self._terms if tensor.requires_grad]
        torch.autograd.backward([tensor for tensor, _ in attached], [coefficient for _, coefficient in attached])
        return {}


def pathwise_objective(
    log_w: Tensor, importance_samples: int = 1, component_weights: Tensor | None = None
) -> Objective:
    """MISELBO with gradients through the draws; for draws that are reparameterised throughout.

    log_w [S, K, *B]; the other arguments, and the errors raised, as in `miselbo`.
    """
    bound = miselbo(log_w, importance_samples, component_weights)
    surrogate = -(bound if bound.ndim == 0 else bound.mean())
    return Objective(bound.detach(), surrogate)


def vimco_objective(log_w: Tensor, log_q_score: Tensor, component_weights: Tensor | None = None) -> Objective:
    """The K-particle bound, sum_s c_s log (1/K) sum_k w, with the gradient of VIMCO (Mnih and Rezende 2016).

    log_w              [S, K, *B] log importance weights, with all their explicit dependence on parameters:
                       continuous draws reparameterised, and every component of the denominator attached
    log_q_score        [S, K, *B] log-probability of the discrete part of each particle under the component
                       that drew it; all that the score term differentiates
    component_weights  [S] or [S, *B] from `outer_weights`; None is 1/S each

    The signal of particle k is the bound less the same bound with log w_k replaced by the arithmetic mean
    of the other K - 1 log weights. With K = 1 there are no others, hence no control variate: the signal is
    log w itself, unbiased but noisy. Raises ConfigError if the shapes do not fit.
    """
    if log_w.ndim < 2 or log_q_score.shape != log_w.shape:
        raise ConfigError(
            f"log_w has shape {list(log_w.shape)} and log_q_score {list(log_q_score.shape)}: "
            "both must be [S, K, *B]"
        )
    with torch.no_grad():
        bounds, signal = _bounds_and_signal(log_w)
        bound = combine_components(bounds, component_weights)
        slope, signal = _coefficients(log_w, signal, component_weights)
    terms = [(log_w, slope), (log_q_score, signal)]
    if component_weights is not None and component_weights.requires_grad:
        points = max(1, bound.numel())
        shape = (-1,) + (1,) * (bounds.ndim - 1)
        shares = component_weights if component_weights.ndim == bounds.ndim else component_weights.view(shape)
        terms.append((shares.expand_as(bounds), -bounds / points))
    return LinearObjective(bound, terms)


class DirectObjective(Objective):
    """An objective whose gradient target and mixture pull back themselves, without a graph."""

    _parts: _DirectParts

    def __init__(self, bound: Tensor, parts: _DirectParts) -> None:
        object.__setattr__(self, "bound", bound)
        object.__setattr__(self, "_parts", parts)

    @property
    def surrogate(self) -> Tensor:
        """A direct objective has none: nothing is attached to a graph."""
        raise AttributeError("a direct objective has no surrogate; call backward()")

    @property
    def signs(self) -> tuple[float, ...]:
        """The single-sample bound, and the logarithm of the share of the particles that importance weighting keeps; each
        particle counts as its component does in the bound.

        The bound of K particles is flat where these still rise: it hardly sees what a weight in the tail is worth.
        """
        log_w = self._parts.log_w.flatten().tolist()
        largest = max(log_w)
        weights = [math.exp(each - largest) for each in log_w]
        mean = sum(log_w) / len(log_w)
        if self._parts.weights is not None:
            counts = self._parts.weights.outer.tolist()
            of_each = [count for count in counts for _ in range(len(log_w) // len(counts))]
            weights = [count * weight for count, weight in zip(of_each, weights, strict=True)]
            mean = sum(count * each for count, each in zip(of_each, log_w, strict=True)) / sum(of_each)
        kept = sum(weights) ** 2 / sum(weight * weight for weight in weights)
        return mean, math.log(kept / len(log_w))

    @property
    def bounds(self) -> Tensor:
        """[S], of each sampled component."""
        return self._parts.bounds

    def backward(self) -> Gradients:
        """Minus the gradient estimate of every parameter, and nothing in their `.grad`; the same however often called."""
        return self._parts.pull_back()


@dataclass(frozen=True, eq=False)
class _DirectParts:
    """What a direct objective is made of: its draws, their densities, log w, minus the derivatives of the bound in log w, and
    what the score of each particle is multiplied by, [S, K]; the bounds of the components [S], and the mixture weights, None
    if they are uniform.
    """

    target: DirectTarget[Any]
    mixture: DirectMixture[Any]
    draws: Any
    evaluated: Evaluated
    beta: float
    log_w: Tensor
    slope: Tensor
    signal: Tensor
    bounds: Tensor
    weights: StepWeights | None

    def pull_back(self) -> Gradients:
        with torch.no_grad():
            slope, log_q = self.slope, _weighted(self.draws.log_q, self.weights)
            shares = -slope.unsqueeze(2)
            if log_q.shape[2] > 1:
                shares = torch.softmax(log_q, 2).mul_(shares)
            of_target = self.evaluated.pull_back(slope if self.beta == 1.0 else slope * self.beta, slope)
            gradients = self.mixture.pull_back(self.draws, shares, self.signal, of_target.points)
            if self.weights is not None:
                of_weights = self.weights.pull_back(shares.sum((0, 1)), self.bounds)
                gradients = {**gradients, self.weights.logits: of_weights}
            if not of_target.parameters or not isinstance(self.target, Parameterised):
                return gradients
            owners = self.target.parameters()
            return {**gradients, **{owners[name]: found for name, found in of_target.parameters.items()}}


def direct_vimco_objective(
    target: DirectTarget[Any],
    mixture: DirectMixture[Any],
    draws: Any,
    beta: float = 1.0,
    weights: StepWeights | None = None,
) -> DirectObjective:
    """`vimco_objective` of tempered-likelihood weights, for problems that can carry gradients back themselves. weights: of
    the mixture, None if they are uniform.

    The same coefficients, minus the derivatives of the bound in log w and the signals of the score; the derivative of
    log w in each log q_r is minus the share of component r in the mixture density. For particles that cost a
    microsecond each a graph costs more than the problem: trees take this way, and a test holds it to the other.
    """
    with torch.no_grad():
        evaluated = target.evaluate(draws)
        log_q = _weighted(draws.log_q, weights)
        if log_q.shape[2] == 1:
            log_mixture = log_q.select(2, 0)
        elif weights is not None:
            log_mixture = torch.logsumexp(log_q, 2)
        else:
            log_mixture = torch.logsumexp(log_q, 2).sub_(math.log(log_q.shape[2]))
        log_w = torch.add(evaluated.log_prior - log_mixture, evaluated.log_likelihood, alpha=beta)
        bounds, signal = _bounds_and_signal(log_w)
        outer = None if weights is None else weights.outer.detach()
        slope, signal = _coefficients(log_w, signal, outer)
    parts = _DirectParts(target, mixture, draws, evaluated, beta, log_w, slope, signal, bounds, weights)
    return DirectObjective(combine_components(bounds, outer), parts)


def _weighted(log_q: Tensor, weights: StepWeights | None) -> Tensor:
    """log pi_r + log q_r, [S, K, R]; log q_r alone where weights are uniform."""
    return log_q if weights is None else log_q + weights.log_evaluated.detach()


def _coefficients(log_w: Tensor, signal: Tensor, component_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Minus the derivative of the mean bound in each log w, and minus what each signal counts in it, [S, K, *B]."""
    scale = _minus_share(log_w, component_weights)
    return torch.softmax(log_w, 1).mul_(scale), signal * scale


def _bounds_and_signal(log_w: Tensor) -> tuple[Tensor, Tensor]:
    """Per component, the bound [S, *B] and the learning signal of each particle [S, K, *B].

    Summing the other particles afresh for every k costs K^2 terms, but never subtracts numbers that are
    close, or infinite. Where all other weights are zero the control variate would be -inf and is 0
    instead: whatever depends on the others alone keeps the gradient unbiased.
    """
    S, K, *batch = log_w.shape
    if K == 1:
        return log_w.select(1, 0), log_w
    others = log_w.index_select(1, _indices_of_others(K, log_w.device)).view(S, K, K - 1, *batch)
    # The last cumulative sum is the sum, in one kernel where logsumexp launches six.
    log_sum_others = others.logcumsumexp(2).select(2, K - 2)
    log_sum = torch.logaddexp(log_sum_others, log_w)  # the same for every k
    control = torch.logaddexp(log_sum_others, others.mean(2))
    log_K = math.log(K)
    control.nan_to_num_(nan=math.nan, posinf=math.inf, neginf=log_K)
    return log_sum.select(1, 0) - log_K, log_sum - control  # log K cancels in the signal


def _minus_share(log_w: Tensor, component_weights: Tensor | None) -> float | Tensor:
    """Minus what a particle's term counts in the mean bound: a number, or [S, 1, *B]."""
    S, _, *batch = log_w.shape
    points = math.prod(batch)
    if component_weights is None:
        return -1.0 / (S * points)
    shape = component_weights.shape if component_weights.ndim > 1 else (S, *([1] * len(batch)))
    return component_weights.reshape(shape).unsqueeze(1) * (-1.0 / points)


@lru_cache(maxsize=64)
def _indices_of_others(K: int, device: torch.device) -> Tensor:
    """[K (K - 1)]: for each k in turn, all indices below K but k."""
    indices = torch.arange(K).expand(K, K)
    return indices[~torch.eye(K, dtype=torch.bool)].to(device)

"""Which components are sampled, and which are evaluated in the denominator.

A2A, S2A and S2S differ in nothing else: the bounds and gradients take whatever was drawn here.

Shapes: A components, S sampled, R evaluated (A2A, S2A: R = A; S2S: R = S), *B a data batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError

# How far inclusion probabilities may be from summing to S, and above 1, before they are refused.
INCLUSION_TOLERANCE = 1e-6


class Estimator(StrEnum):
    """All-to-all, some-to-all, some-to-some (Hotti et al. 2024)."""

    A2A = "a2a"
    S2A = "s2a"
    S2S = "s2s"

    @classmethod
    def parse(cls, name: str) -> Estimator:
        """The estimator of that name, in any case. Raises ConfigError for an unknown name."""
        try:
            return cls(name.lower())
        except ValueError:
            raise ConfigError(f"estimator {name!r} is unknown: give one of {', '.join(cls)}") from None

    def n_evaluated(self, A: int, S: int) -> int:
        """R, the number of components in the denominator."""
        return S if self is Estimator.S2S else A


@dataclass(frozen=True)
class ComponentDraw:
    """A subset of components for every data point, or one for all of them.

    sampled    LongTensor [S] or [S, *B]  components that draw particles
    evaluated  LongTensor [R] or [R, *B]  components whose densities form the denominator
    own        LongTensor, as `sampled`   evaluated[own[s]] == sampled[s]

    All are on the CPU. Without batch dimensions one subset holds for every data point; so it is always
    when S = A, since then there is but one subset.
    """

    sampled: Tensor
    evaluated: Tensor
    own: Tensor


def draw_components(
    estimator: Estimator,
    A: int,
    S: int | None,
    generator: torch.Generator | None,
    batch_shape: tuple[int, ...] = (),
    inclusion: Tensor | None = None,
) -> ComponentDraw:
    """Draw S of A components without replacement, in no particular order.

    batch_shape  an independent subset for each data point; () draws one subset for all
    inclusion    [A] in (0, 1], summing to S: the probability that each component is in the subset
                 (see `inclusion_probabilities`); None draws uniformly, S/A each
    generator    a CPU generator; may be None when S = A, which needs no random numbers

    With S = A (always so for A2A, for which S may be None) components come in order and without batch
    dimensions. Raises ConfigError if A, S, `estimator` and `inclusion` do not fit together.
    """
    S = _checked_size(estimator, A, S)
    if inclusion is not None:
        _check_inclusion(inclusion, A, S)
    if S == A:
        everything = torch.arange(A)
        return ComponentDraw(everything, everything, everything)
    if generator is None:
        raise ConfigError(f"drawing {S} of {A} components needs random numbers: give a torch.Generator")
    if inclusion is None:
        sampled = _draw_uniform(A, S, batch_shape, generator)
    else:
        sampled = _draw_systematic(inclusion, S, batch_shape, generator)
    if estimator is Estimator.S2S:
        own = torch.arange(S).view(S, *([1] * len(batch_shape))).expand(S, *batch_shape)
        return ComponentDraw(sampled, sampled, own)
    return ComponentDraw(sampled, torch.arange(A), sampled)


def inclusion_probabilities(weights: Tensor, S: int) -> Tensor:
    """Inclusion probabilities [A] proportional to the mixture weights [A], capped at 1, summing to S.

    A component that would exceed 1 is always drawn, and the remaining draws are shared out among the
    others in proportion to their weights. `weights` are positive and need not sum to 1. The result is
    float64 and detached: the design is not differentiated through. Raises ConfigError.
    """
    if weights.ndim != 1:
        raise ConfigError(
            f"mixture weights have shape {list(weights.shape)}: give one weight per component, [A]"
        )
    A = len(weights)
    _checked_size(Estimator.S2A, A, S)
    w = weights.detach().to("cpu", torch.float64)
    if not bool((torch.isfinite(w) & (w > 0)).all()):
        raise ConfigError("a mixture weight is not positive: drop the component or give it a positive weight")
    inclusion = w * (S / w.sum())
    while bool((inclusion > 1).any()):
        certain = inclusion >= 1
        remaining = S - int(certain.sum())
        scaled = w * (remaining / w[~certain].sum())
        inclusion = torch.where(certain, torch.ones_like(w), scaled)
    return inclusion


def outer_weights(
    estimator: Estimator,
    draw: ComponentDraw,
    log_weights: Tensor | None = None,
    inclusion: Tensor | None = None,
) -> Tensor | None:
    """What each sampled component counts in the bound: [S] or [S, *B], or None for uniform, 1/S each.

    log_weights  [A] log mixture weights, None for uniform; normalised here
    inclusion    [A] as given to `draw_components`, None for uniform, S/A each

    A2A and S2A: pi_s / inclusion_s (Horvitz and Thompson; Hotti et al. 2024, Theorem B.1), unbiased for
    the A2A bound. S2S: pi_s / sum over the subset of pi, so that each subset is a mixture of its own.
    Gradients flow to `log_weights`, never to `inclusion`.
    """
    if log_weights is None and (inclusion is None or estimator is Estimator.S2S):
        return None
    if log_weights is None:
        assert inclusion is not None
        log_weights = torch.zeros_like(inclusion)
    if estimator is Estimator.S2S:
        return torch.softmax(log_weights[draw.sampled], 0)
    weights = torch.softmax(log_weights, 0)
    if inclusion is None:
        A, S = len(weights), draw.sampled.shape[0]
        return weights[draw.sampled] * (A / S)
    return (weights / inclusion.detach().to(weights))[draw.sampled]


def effective_components(log_weights: Tensor) -> float:
    """exp of the entropy of the mixture weights, given their logarithms [A], not normalised: A where they are equal, 1
    where one has all."""
    log_pi = torch.log_softmax(log_weights.detach(), 0)
    return math.exp(-float((log_pi.exp() * log_pi).sum()))


def _checked_size(estimator: Estimator, A: int, S: int | None) -> int:
    """S, with A2A's default filled in; ConfigError unless 1 <= S <= A, and S = A for A2A."""
    if A < 1:
        raise ConfigError(f"the mixture has A={A} components: give at least 1")
    if S is None:
        if estimator is not Estimator.A2A:
            raise ConfigError(
                f"the number of sampled components S is missing: {estimator} needs 1 <= S <= A={A}"
            )
        return A
    if S < 1:
        raise ConfigError(f"S={S} components are to be sampled: give at least 1, at most A={A}")
    if S > A:
        raise ConfigError(f"S={S} components are to be sampled of A={A}: lower S or raise A")
    if estimator is Estimator.A2A and S != A:
        raise ConfigError(f"a2a samples all A={A} components, not S={S}: leave S out, or use s2a or s2s")
    return S


def _check_inclusion(inclusion: Tensor, A: int, S: int) -> None:
    if inclusion.shape != (A,):
        raise ConfigError(
            f"inclusion probabilities have shape {list(inclusion.shape)}: give one per component, [{A}]"
        )
    smallest, largest, total = torch.stack([inclusion.min(), inclusion.max(), inclusion.sum()]).tolist()
    if not (smallest > 0 and largest <= 1 + INCLUSION_TOLERANCE):
        raise ConfigError(
            f"inclusion probabilities lie in [{smallest:g}, {largest:g}], not in (0, 1]: "
            "make them with inclusion_probabilities"
        )
    if abs(total - S) > INCLUSION_TOLERANCE * S:
        raise ConfigError(
            f"inclusion probabilities sum to {total:g}, not to S={S}: make them with inclusion_probabilities"
        )


def _draw_uniform(A: int, S: int, batch_shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """[S, *B] uniform without replacement."""
    if S == 1:
        return torch.randint(A, (1, *batch_shape), generator=generator)
    if not batch_shape:
        return torch.randperm(A, generator=generator)[:S]
    keys = torch.rand((A, *batch_shape), generator=generator, dtype=torch.float64)
    return keys.topk(S, dim=0, sorted=False).indices


def _draw_systematic(
    inclusion: Tensor, S: int, batch_shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """[S, *B] by systematic sampling in random order, which meets the inclusion probabilities exactly.

    A fresh order for each subset lets components meet that a fixed order would keep apart.
    """
    A = len(inclusion)
    probabilities = inclusion.detach().to("cpu", torch.float64)
    order = torch.rand((*batch_shape, A), generator=generator, dtype=torch.float64).argsort(-1)
    start = torch.rand((*batch_shape, 1), generator=generator, dtype=torch.float64)
    positions = systematic_positions(probabilities[order], start, S)
    return order.gather(-1, positions).movedim(-1, 0)


def systematic_positions(inclusion: Tensor, start: Tensor, S: int) -> Tensor:
    """Positions [..., S] that systematic sampling picks.

    inclusion  [..., A] float64, in the order in which components are laid end to end on [0, S)
    start      [..., 1] in [0, 1): the points start, start + 1, ..., start + S - 1 pick where they fall
    """
    ends = inclusion.cumsum(-1)
    ends = ends * (S / ends[..., -1:])
    points = start + torch.arange(S, dtype=ends.dtype)
    return torch.searchsorted(ends, points, right=True).clamp_(max=inclusion.shape[-1] - 1)

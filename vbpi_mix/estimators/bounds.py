"""Bounds on the log evidence: mixture density, importance weights, MISELBO, and its two test estimates.

Shapes: S components sampled, K particles of each, R components evaluated in the denominator (A2A, S2A:
R = A; S2S: R = S), *B a data batch, empty for phylogenetics. Logarithms are natural.

log_q[s, k, r, *b] is the log-density of particle k of sampled component s under evaluated component r.
It is -inf where the particle lies outside the support of r: that component then adds nothing to the
density and gets a gradient of exactly zero.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vbpi_mix.errors import ConfigError

WarmUp = Literal["likelihood", "kl"]


class _LogSumExp(torch.autograd.Function):
    """log sum exp less a constant, as one node of the graph. Where all is -inf its gradient is 0, not nan."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, less: float) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(x)
        return torch.logsumexp(x, dim).sub_(less)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        softmax = torch.softmax(x, ctx.dim).nan_to_num_(nan=0.0)
        return softmax.mul_(grads[0].unsqueeze(ctx.dim)), None, None


def log_sum_exp(x: Tensor, dim: int, less: float = 0.0) -> Tensor:
    """log sum exp over dimension `dim`, minus `less`: with log n it is the log of the mean.

    Values are below +inf. Where all are -inf, so is the result, and the gradient is zero.
    """
    return _LogSumExp.apply(x, dim, less)


def log_mixture_density(log_q: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """log sum_r pi_r q_r, the denominator of the importance weights: [S, K, R, *B] -> [S, K, *B].

    log_weights  [R] or [R, *B] of the components evaluated: log_weights[draw.evaluated]. They are
                 normalised over R here, which changes nothing for A2A and S2A and is what S2S needs.
                 None is uniform, 1/R.

    Raises ConfigError if the shapes do not fit.
    """
    if log_q.ndim < 3:
        raise ConfigError(f"log_q has shape {list(log_q.shape)}: it must be [S, K, R, *B]")
    R = log_q.shape[2]
    if R == 1:
        return log_q.select(2, 0)
    if log_weights is None:
        return log_sum_exp(log_q, 2, math.log(R))
    if log_weights.shape[0] != R:
        raise ConfigError(
            f"{log_weights.shape[0]} mixture weights for R={R} evaluated components: "
            "index the weights with draw.evaluated"
        )
    log_pi = torch.log_softmax(log_weights, 0)
    return log_sum_exp(log_q + _over_batch(log_pi, log_q.ndim - 2), 2)


def log_importance_weights(
    log_likelihood: Tensor,
    log_prior: Tensor,
    log_q: Tensor,
    *,
    beta: float = 1.0,
    warm_up: WarmUp = "likelihood",
    log_weights: Tensor | None = None,
) -> Tensor:
    """Log importance weights log w [S, K, *B], warmed up by beta in [0, 1].

    log_likelihood, log_prior  [S, K, *B], or what broadcasts to it
    log_q, log_weights         as in `log_mixture_density`

    "likelihood": beta log p(x|z) + log p(z) - log q(z)      tempered likelihood (phylogenetics)
    "kl":         log p(x|z) + beta (log p(z) - log q(z))    KL warm-up (images)

    At beta = 1 both are log p(x, z) - log q(z). Raises ConfigError for another `warm_up`.
    """
    if warm_up == "likelihood":
        divergence = log_prior - log_mixture_density(log_q, log_weights)
        return torch.add(divergence, log_likelihood, alpha=beta)
    if warm_up == "kl":
        divergence = log_prior - log_mixture_density(log_q, log_weights)
        return torch.add(log_likelihood, divergence, alpha=beta)
    raise ConfigError(f"warm_up {warm_up!r} is unknown: give 'likelihood' or 'kl'")


def miselbo(log_w: Tensor, importance_samples: int = 1, component_weights: Tensor | None = None) -> Tensor:
    """MISELBO, the multiple importance sampling bound on the log evidence: [S, K, *B] -> [*B].

    importance_samples  L, a divisor of K: particles averaged inside the logarithm. The K/L groups, and
                        the components, are averaged outside of it. L = 1 is the mixture ELBO.
    component_weights   [S] or [S, *B] from `outer_weights`; None is 1/S each

    Differentiable; its gradient is the pathwise one, right only for reparameterised draws. Raises
    ConfigError if L does not divide K.
    """
    _check_log_w(log_w)
    S, K, *batch = log_w.shape
    L = importance_samples
    if L < 1 or K % L:
        raise ConfigError(
            f"importance_samples L={L} does not divide the K={K} particles of a component: "
            "give a divisor of K, or draw a multiple of L"
        )
    if L > 1:
        log_w = log_sum_exp(log_w.reshape(S, K // L, L, *batch), 2, math.log(L))
    if component_weights is None:
        return log_w.mean((0, 1))
    return combine_components(log_w.mean(1), component_weights)


def published_estimate(log_w: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """sum_a pi_a log (1/K) sum_k w, as the papers report it: [A, K, *B] -> [*B].

    Needs all A components, sampled and in the denominator. It is a lower bound in expectation, and stays
    one as K grows: it tends to sum_a pi_a log E_a[w], below the log evidence unless E_a[w] is the same
    for every component. log_weights [A]; None is uniform.
    """
    weights = None if log_weights is None else torch.softmax(log_weights, 0)
    return combine_components(_log_mean_exp(log_w), weights)


def pooled_estimate(log_w: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """log sum_a pi_a (1/K) sum_k w: [A, K, *B] -> [*B].

    The same draws as `published_estimate`, averaged wholly inside the logarithm: never smaller, a lower
    bound in expectation too, and tending to the log evidence as K grows. log_weights [A]; None is uniform.
    """
    _check_log_w(log_w)
    if log_weights is None:
        return torch.logsumexp(log_w, (0, 1)) - math.log(log_w.shape[0] * log_w.shape[1])
    per_component = _log_mean_exp(log_w)
    log_pi = torch.log_softmax(log_weights, 0)
    return log_sum_exp(per_component + _over_batch(log_pi, per_component.ndim), 0)


def combine_components(values: Tensor, component_weights: Tensor | None) -> Tensor:
    """sum_s c_s v_s: values [S, *B] with weights [S] or [S, *B], or 1/S each if None, -> [*B].

    Raises ConfigError if there are not S weights.
    """
    if component_weights is None:
        return values.select(0, 0) if values.shape[0] == 1 else values.mean(0)
    if component_weights.shape[0] != values.shape[0]:
        raise ConfigError(
            f"{component_weights.shape[0]} component weights for S={values.shape[0]} sampled components: "
            "make them with outer_weights"
        )
    return (values * _over_batch(component_weights, values.ndim)).sum(0)


def _log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k w: [S, K, *B] -> [S, *B]."""
    _check_log_w(log_w)
    K = log_w.shape[1]
    return log_w.select(1, 0) if K == 1 else log_sum_exp(log_w, 1, math.log(K))


def _over_batch(values: Tensor, ndim: int) -> Tensor:
    """[R] as [R, 1, ..., 1] of `ndim` dimensions; what has batch dimensions already is left alone."""
    if values.ndim == 1 and ndim > 1:
        return values.view(-1, *([1] * (ndim - 1)))
    return values


def _check_log_w(log_w: Tensor) -> None:
    if log_w.ndim < 2:
        raise ConfigError(f"log_w has shape {list(log_w.shape)}: it must be [S, K, *B]")

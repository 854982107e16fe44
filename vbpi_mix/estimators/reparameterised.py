"""Gradients of MISELBO of less variance than the pathwise one, for draws that are reparameterised throughout.

The pathwise gradient also differentiates log q with respect to its parameters at the point drawn. Of a single sample that
score averages to zero, for a mixture over its components together, and can be left out: sticking the landing (Roeder et al.
2017). Of L samples inside a logarithm it does not, and is reparameterised once more instead (DReG, Tucker et al. 2019).

Shapes: S components sampled, K particles, R evaluated, B data points, D dimensions.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from vbpi_mix.estimators.bounds import WarmUp, log_importance_weights, miselbo
from vbpi_mix.estimators.gradients import Objective
from vbpi_mix.estimators.interfaces import Target

GradientName = Literal["pathwise", "stl", "dreg"]


class RestatedDraws(Protocol):
    """Draws whose densities can be had again, with or without gradients into parameters.

    z      [S, K, B, D] the points         own  [S] or [S, B] which of the evaluated components drew them
    log_q  [S, K, R, B]
    """

    @property
    def z(self) -> Tensor: ...
    @property
    def log_q(self) -> Tensor: ...
    @property
    def own(self) -> Tensor: ...

    def constant(self, z: Tensor) -> Self:
        """At z, differentiable in z alone: the parameters of the densities are constants."""
        ...

    def at_fixed_points(self) -> Tensor:
        """log_q with the points as constants, differentiable in the parameters."""
        ...


def doubly_reparameterised_objective(
    target: Target[Any], draws: RestatedDraws, beta: float = 1.0, warm_up: WarmUp = "kl"
) -> Objective:
    """MISELBO with all K particles of a component inside its logarithm, and the gradient of DReG.

    Of one component each particle's path counts the square of its share v = w / sum w, instead of v and a score. Of a mixture
    the score is that of log q_mix, a sum over components r with responsibilities a_r; the part of the component s that drew
    the particle, -E_{q_s}[v a_s d log q_s], is reparameterised: -E[d/dz (v a_s) dz], where d v / dz = v (1 - v) d log w / dz.
    The parts of the others are left as scores: to reparameterise them, each would have to draw particles into the group of s.
    Unbiased either way, at every beta.
    """
    path = draws.z.view_as(draws.z)
    held = draws.constant(path)
    log_likelihood, log_prior = target.log_likelihood(held), target.log_prior(held)
    log_w = log_importance_weights(log_likelihood, log_prior, held.log_q, beta=beta, warm_up=warm_up)
    explicit = beta if warm_up == "kl" else 1.0
    shares = torch.softmax(log_w.detach(), 1)
    responsibilities = torch.softmax(held.log_q.detach(), 2)
    own = _own(responsibilities, draws.own)
    factor = (1.0 - explicit * own * (1.0 - shares)).unsqueeze(-1)
    if path.requires_grad:
        path.register_hook(lambda gradient: gradient * factor)
    bound = miselbo(log_w.detach(), log_w.shape[1])
    terms = shares * log_w
    if held.log_q.shape[2] > 1:
        moving = _own(torch.softmax(draws.constant(draws.z).log_q, 2), draws.own)
        fixed = draws.at_fixed_points()
        scores = (responsibilities * fixed).sum(2) - own * _own(fixed, draws.own)
        terms = terms - explicit * shares * (moving + scores)
    return Objective(bound, -terms.sum(1).mean())


def _own(values: Tensor, own: Tensor) -> Tensor:
    """Of [S, K, R, B] the component that drew each particle, [S] or [S, B]: -> [S, K, B]."""
    S, K, _, B = values.shape
    return values.gather(2, own.view(S, 1, 1, -1).expand(S, K, 1, B)).squeeze(2)

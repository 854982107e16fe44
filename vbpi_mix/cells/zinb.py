"""The zero-inflated negative binomial of scVI (Lopez et al. 2018), in logarithms throughout.

A count x of mean mu, inverse dispersion theta and dropout probability pi = sigmoid(l):

    NB(x)   = Gamma(x + theta) / (Gamma(theta) x!) (theta / (theta + mu))^theta (mu / (theta + mu))^x
    ZINB(x) = pi [x = 0] + (1 - pi) NB(x)

The factor with the gammas depends on counts and theta alone. It is large where theta is, nearly cancels, and is therefore summed
in float64, once for all latents of a cell.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_combinations(counts: Tensor, log_theta: Tensor) -> Tensor:
    """log Gamma(x + theta) - log Gamma(theta) - log x!, summed over genes: counts [B, G], log_theta [G] -> [B]."""
    cells, genes = counts.nonzero(as_tuple=True)  # of a zero it is 0, and most counts are zeros
    x, theta = counts[cells, genes].double(), log_theta.double().exp()
    terms = torch.lgamma(x + theta[genes]) - torch.lgamma(theta)[genes] - torch.lgamma(x + 1.0)
    return torch.zeros(len(counts), dtype=torch.float64).index_add(0, cells, terms).to(log_theta.dtype)


def zinb_log_likelihood(counts: Tensor, log_mean: Tensor, log_theta: Tensor, dropout_logits: Tensor) -> Tensor:
    """log p of counts [B, G], summed over genes: log_mean and dropout_logits [..., B, G], log_theta [G] -> [..., B].

    Counts are whole numbers of at least 0, which is not checked. Logits of -inf mean no dropout.
    """
    log_odds = log_mean - log_theta
    log_failure = F.logsigmoid(-log_odds)  # log theta / (theta + mu)
    log_zero = torch.exp(log_theta) * log_failure
    if_zero = torch.logaddexp(F.logsigmoid(dropout_logits), F.logsigmoid(-dropout_logits) + log_zero)
    if_some = F.logsigmoid(-dropout_logits) + log_zero + counts * (log_odds + log_failure)
    return torch.where(counts == 0, if_zero, if_some).sum(-1) + log_combinations(counts, log_theta)

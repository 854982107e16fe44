"""A small discrete problem in torch, on which every expectation of an estimator can be enumerated."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from vbpi_mix.estimators import log_importance_weights


@dataclass
class DiscreteProblem:
    """logits [A, Z] of the components' state probabilities; log_joint [Z]."""

    logits: Tensor
    log_joint: Tensor

    @classmethod
    def random(cls, A, Z, seed):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(A, Z, generator=generator, dtype=torch.float64).requires_grad_()
        log_joint = torch.randn(Z, generator=generator, dtype=torch.float64) - 1.0
        return cls(logits, log_joint.requires_grad_())

    @property
    def log_q(self):
        return torch.log_softmax(self.logits, 1)

    @property
    def log_evidence(self):
        return torch.logsumexp(self.log_joint, 0)

    def tables(self):
        """q [A][Z] and p [Z] as lists, for the twins."""
        return self.log_q.exp().tolist(), self.log_joint.exp().tolist()

    def all_tuples(self, sampled, evaluated, K, log_weights=None):
        """Every K-tuple of states as a data batch of T = Z^K points.

        Returns log_w [S, K, T], the score log q_s(z) [S, K, T] and the chance of each tuple [S, T].
        """
        states = torch.tensor(list(itertools.product(range(len(self.log_joint)), repeat=K))).T
        log_q = self.log_q[:, states]  # [A, K, T]
        own = log_q[list(sampled)]
        denominator = log_q[list(evaluated)].transpose(0, 1).expand(len(sampled), -1, -1, -1)
        chosen = None if log_weights is None else log_weights[list(evaluated)]
        log_joint = self.log_joint[states]
        zeros = torch.zeros_like(log_joint)
        log_w = log_importance_weights(log_joint, zeros, denominator, log_weights=chosen)
        return log_w, own, own.sum(1).exp()

"""Slow twins of the estimators, in plain Python: loops, math.log, fractions, enumeration. No torch.

A discrete problem is q[a][z], the probability of state z under component a, and p[z], the joint p(x, z).
Each function follows the definition in docs/derivations.md as literally as it can be written down.
"""

import itertools
import math
from fractions import Fraction


def subsets(A, S):
    return list(itertools.combinations(range(A), S))


def mixture(q, evaluated, pi, z):
    """Normalised mixture density of the evaluated components at z; pi[a] over all A, or None."""
    weights = [1.0 if pi is None else pi[a] for a in evaluated]
    return sum(w * q[a][z] for w, a in zip(weights, evaluated, strict=True)) / sum(weights)


def expected_log_mean(q, p, component, evaluated, pi, K):
    """E over K independent states of one component of log (1/K) sum_k p / q_mix."""
    total = 0.0
    for states in itertools.product(range(len(p)), repeat=K):
        chance = math.prod(q[component][z] for z in states)
        if chance > 0:
            total += chance * math.log(sum(p[z] / mixture(q, evaluated, pi, z) for z in states) / K)
    return total


def expected_miselbo(q, p, sampled, evaluated, pi=None, counts=None, L=1):
    """counts[i] is what sampled[i] counts; None is 1/S each."""
    S = len(sampled)
    return sum(
        (1 / S if counts is None else counts[i]) * expected_log_mean(q, p, a, evaluated, pi, L)
        for i, a in enumerate(sampled)
    )


def vimco_signals(log_w):
    """The K learning signals of one component's K log weights, from the definition."""
    K = len(log_w)
    full = math.log(sum(math.exp(v) for v in log_w) / K)
    if K == 1:
        return [full]
    signals = []
    for k in range(K):
        others = log_w[:k] + log_w[k + 1 :]
        replaced = [*others, sum(others) / (K - 1)]
        signals.append(full - math.log(sum(math.exp(v) for v in replaced) / K))
    return signals


def capped_inclusion(weights, S):
    """Inclusion probabilities proportional to the weights, capped at 1, as fractions."""
    weights = [Fraction(w) for w in weights]
    certain = set()
    while True:
        rest = sum(w for a, w in enumerate(weights) if a not in certain)
        share = [
            Fraction(1) if a in certain else (S - len(certain)) * w / rest for a, w in enumerate(weights)
        ]
        over = {a for a, v in enumerate(share) if v > 1}
        if not over:
            return share
        certain |= over


def systematic_design(inclusion):
    """{subset: probability} of systematic sampling in random order; exact for fractions."""
    A, S = len(inclusion), sum(inclusion)
    design = {}
    orders = list(itertools.permutations(range(A)))
    for order in orders:
        ends = list(itertools.accumulate(inclusion[a] for a in order))
        breaks = sorted({Fraction(0), Fraction(1), *(e % 1 for e in ends)})
        for low, high in itertools.pairwise(breaks):
            points = [(low + high) / 2 + i for i in range(int(S))]
            chosen = tuple(sorted(order[next(i for i, e in enumerate(ends) if e > x)] for x in points))
            design[chosen] = design.get(chosen, 0) + (high - low) / len(orders)
    return design

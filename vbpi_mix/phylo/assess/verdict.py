"""Whether the answer of a fit can be trusted: facts that were measured, and what follows from them.

Thresholds come from
    Vehtari, Simpson, Gelman, Yao and Gabry (2024): Pareto k up to min(1 - 1/log10 N, 0.7).
    Fabreti and Hoehna (2022), "Convergence assessment for Bayesian phylogenetic analysis using MCMC simulation":
        an effective sample size of 625 gives means within 1% of the width of the 95% interval.
    Rambaut, Drummond, Xie, Baele and Suchard (2018), "Posterior summarization in Bayesian phylogenetics using Tracer
        1.7": 200 is the least.
    Ronquist, Huelsenbeck and others, the manual of MrBayes 3.2: split frequencies of independent runs agree well at
        an ASDSF of 0.01, adequately up to 0.05. A share of the posterior that the support lacks is held to the same,
        as it bounds what any split frequency can be off by.
    Kass and Raftery (1995), "Bayes factors": a log Bayes factor of 1 is worth no more than a bare mention, 3 is strong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from vbpi_mix.pareto import reliable_pareto_k

# The first number is where care begins, the second where trust ends.
EFFECTIVE_SAMPLE_SIZE = (625.0, 200.0)
SPLIT_DISAGREEMENT = (0.01, 0.05)
MASS_MISSING = (0.01, 0.05)
EVIDENCE_DISAGREEMENT = (1.0, 3.0)


class Trust(Enum):
    """In words, as they are reported."""

    FULL = "trust"
    CARE = "trust with care"
    NONE = "do not trust"


@dataclass(frozen=True)
class Facts:
    """What is known of a fit; None, or nan, is what was not measured.

    draws, pareto_k, effective_sample_size: of the weighted draws. mass_missing: share of the posterior that the
    support lacks, estimated, such as of held-out trees of the sample. sample_agreed: whether the chains that made the
    sample reached the agreement that was asked. sample_rising: whether their log posterior was rising when they ended.
    replicates_asdsf, replicates_evidence: of independent fits, the ASDSF of their answers and the range of their
    log p(Y), nats.
    """

    draws: int
    pareto_k: float
    effective_sample_size: float
    mass_missing: float | None = None
    sample_agreed: bool | None = None
    sample_rising: bool | None = None
    replicates_asdsf: float | None = None
    replicates_evidence: float | None = None


@dataclass(frozen=True)
class Reason:
    """What is short of full trust: how far, why, and what to do about it, in plain sentences."""

    trust: Trust
    why: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """trust: the least of the reasons', FULL without any. weighted: whether the weighted answer is to be given; else
    it is the fit's own."""

    trust: Trust
    weighted: bool
    reasons: tuple[Reason, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain data for summary.json."""
        return {
            "verdict": self.trust.value,
            "answer": "weighted" if self.weighted else "fit",
            "reasons": [f"{reason.why} {reason.advice}" for reason in self.reasons],
        }


def judge(facts: Facts) -> Verdict:
    """The verdict, with its reasons, the gravest first."""
    found = [_of_tail(facts), _of_size(facts), _of_mass(facts), _of_sample(facts), *_of_replicates(facts)]
    reasons = sorted((r for r in found if r is not None), key=lambda reason: _GRAVITY.index(reason.trust))
    trust = reasons[0].trust if reasons else Trust.FULL
    return Verdict(trust, facts.pareto_k <= reliable_pareto_k(facts.draws), tuple(reasons))


_GRAVITY = (Trust.NONE, Trust.CARE, Trust.FULL)
_MORE_DRAWS = "Draw more."


def _of_tail(facts: Facts) -> Reason | None:
    limit = reliable_pareto_k(facts.draws)
    if math.isnan(facts.pareto_k):
        return Reason(
            Trust.NONE, f"The tail of the importance weights is unknown from {facts.draws:,} draws.", _MORE_DRAWS
        )
    if facts.pareto_k <= limit:
        return None
    return Reason(
        Trust.NONE,
        f"Pareto k of the importance weights is {facts.pareto_k:.2f}, above {limit:.2f}: weighting cannot correct the "
        "fit, whose own answer is given, and how far that is off is not known.",
        "Train longer, use more components, or a richer family of branch lengths.",
    )


def _of_size(facts: Facts) -> Reason | None:
    size = facts.effective_sample_size
    least = 0.0 if math.isnan(size) else size
    trust = _grade(-least, *(-limit for limit in EFFECTIVE_SAMPLE_SIZE))
    if trust is Trust.FULL:
        return None
    return Reason(
        trust,
        f"The weighted draws are worth {least:,.0f} independent ones; {EFFECTIVE_SAMPLE_SIZE[0]:.0f} are wanted and "
        f"{EFFECTIVE_SAMPLE_SIZE[1]:.0f} the least.",
        _MORE_DRAWS,
    )


def _of_mass(facts: Facts) -> Reason | None:
    if facts.mass_missing is None or (trust := _grade(facts.mass_missing, *MASS_MISSING)) is Trust.FULL:
        return None
    return Reason(
        trust,
        f"About {facts.mass_missing:.1%} of the posterior is on topologies that the support lacks, and split "
        "frequencies may be off by as much.",
        "Give the tree sample more time, or widen the support.",
    )


def _of_sample(facts: Facts) -> Reason | None:
    if facts.sample_rising:
        return Reason(
            Trust.NONE,
            "The log posterior of the chains that made the tree sample was still rising when they ended: the support "
            "may lack the best trees.",
            "Give the sampler more time.",
        )
    if facts.sample_agreed is False:
        return Reason(
            Trust.CARE,
            "The chains that made the tree sample ended before they agreed, so the support may lack probable trees.",
            "Give the sampler more time.",
        )
    return None


def _of_replicates(facts: Facts) -> list[Reason | None]:
    splits, evidence = facts.replicates_asdsf, facts.replicates_evidence
    of_splits = Trust.FULL if splits is None else _grade(splits, *SPLIT_DISAGREEMENT)
    of_evidence = Trust.FULL if evidence is None else _grade(evidence, *EVIDENCE_DISAGREEMENT)
    advice = "Train longer, and look at what differs with `vbpi-mix compare`."
    return [
        None
        if of_splits is Trust.FULL
        else Reason(of_splits, f"Split frequencies of independent fits differ by an ASDSF of {splits:.3f}.", advice),
        None
        if of_evidence is Trust.FULL
        else Reason(of_evidence, f"log p(Y) of independent fits differs by {evidence:.1f} nats.", advice),
    ]


def _grade(value: float, care: float, none: float) -> Trust:
    """Full trust up to `care`, none above `none`; nan is as bad as can be."""
    if value <= care:
        return Trust.FULL
    return Trust.CARE if value <= none else Trust.NONE

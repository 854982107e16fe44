"""Verdicts on a fit, from facts made by hand."""

import math
from dataclasses import replace

import pytest

from vbpi_mix.phylo.assess.verdict import Facts, Trust, judge

GOOD = Facts(
    draws=100_000,
    pareto_k=0.4,
    effective_sample_size=5000.0,
    mass_missing=0.001,
    sample_agreed=True,
    sample_rising=False,
    replicates_asdsf=0.002,
    replicates_evidence=0.1,
)


def test_nothing_to_say_of_a_good_fit():
    found = judge(GOOD)
    assert found.as_dict() == {"verdict": "trust", "answer": "weighted", "reasons": []}
    assert judge(Facts(draws=100_000, pareto_k=0.4, effective_sample_size=5000.0)).trust is Trust.FULL


@pytest.mark.parametrize(
    ("changed", "trust", "says"),
    [
        ({"pareto_k": 0.7}, Trust.FULL, None),
        ({"pareto_k": 0.71}, Trust.NONE, "0.71, above 0.70"),
        ({"pareto_k": -math.inf}, Trust.FULL, None),
        ({"pareto_k": math.nan}, Trust.NONE, "unknown"),
        ({"pareto_k": 0.6, "draws": 100}, Trust.NONE, "0.60, above 0.50"),
        ({"effective_sample_size": 625.0}, Trust.FULL, None),
        ({"effective_sample_size": 624.0}, Trust.CARE, "624"),
        ({"effective_sample_size": 200.0}, Trust.CARE, "200"),
        ({"effective_sample_size": 199.0}, Trust.NONE, "199"),
        ({"effective_sample_size": math.nan}, Trust.NONE, "worth 0 "),
        ({"mass_missing": 0.01}, Trust.FULL, None),
        ({"mass_missing": 0.011}, Trust.CARE, "1.1%"),
        ({"mass_missing": 0.05}, Trust.CARE, "5.0%"),
        ({"mass_missing": 0.051}, Trust.NONE, "5.1%"),
        ({"sample_agreed": False}, Trust.CARE, "before they agreed"),
        ({"sample_rising": True}, Trust.NONE, "still rising"),
        ({"replicates_asdsf": 0.01}, Trust.FULL, None),
        ({"replicates_asdsf": 0.011}, Trust.CARE, "0.011"),
        ({"replicates_asdsf": 0.05}, Trust.CARE, "0.050"),
        ({"replicates_asdsf": 0.051}, Trust.NONE, "0.051"),
        ({"replicates_evidence": 1.0}, Trust.FULL, None),
        ({"replicates_evidence": 1.1}, Trust.CARE, "1.1 nats"),
        ({"replicates_evidence": 3.0}, Trust.CARE, "3.0 nats"),
        ({"replicates_evidence": 3.1}, Trust.NONE, "3.1 nats"),
    ],
)
def test_each_fact_alone(changed, trust, says):
    found = judge(replace(GOOD, **changed))
    assert found.trust is trust
    if says is None:
        assert found.reasons == ()
    else:
        (reason,) = found.reasons
        assert says in reason.why
        assert reason.advice.endswith(".")


def test_the_gravest_reason_comes_first_and_decides():
    found = judge(replace(GOOD, sample_agreed=False, effective_sample_size=300.0, pareto_k=0.9))
    assert [reason.trust for reason in found.reasons] == [Trust.NONE, Trust.CARE, Trust.CARE]
    assert found.trust is Trust.NONE
    assert found.as_dict()["verdict"] == "do not trust"


@pytest.mark.parametrize(("k", "weighted"), [(0.5, True), (0.7, True), (0.8, False), (math.nan, False)])
def test_the_weighted_answer_is_given_where_k_allows_it(k, weighted):
    found = judge(replace(GOOD, pareto_k=k))
    assert found.weighted is weighted
    assert found.as_dict()["answer"] == ("weighted" if weighted else "fit")

"""The end of a fit on a terminal of 80 columns and 24 rows, whatever there is to say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vbpi_mix.phylo.assess.verdict import Facts, judge
from vbpi_mix.phylo.report.answer import Answer
from vbpi_mix.phylo.report.parameters import ParameterSummary
from vbpi_mix.phylo.report.weighted import SplitEstimates, TopologyEstimates
from vbpi_mix_cli.fit_screen import ROWS, WIDTH, screen

TAXA = tuple(f"Genus_with_a_long_name_{k}" for k in range(30))
BAD = Facts(
    draws=10_000, pareto_k=1.2, effective_sample_size=3.0, mass_missing=0.2, sample_agreed=False, replicates_asdsf=0.1,
    replicates_evidence=30.0,
)  # fmt: skip
GOOD = Facts(draws=10_000, pareto_k=0.4, effective_sample_size=3000.0)


def answer(n_parameters):
    """A caterpillar on 30 taxa of which no split is certain."""
    bits = np.array([[2**30 - 2**k] for k in range(2, 29)], np.uint64)
    found = SplitEstimates(np.linspace(0.6, 0.99, len(bits)), *np.full((3, len(bits)), 0.1))
    topologies = TopologyEstimates(np.array([0.01]), np.array([0.001]))
    parameters = tuple(ParameterSummary(f"r(A<->{k})", None, 0.1, 0.01, 0.02, 0.05, 0.15) for k in range(n_parameters))
    return Answer("weighted", 10_000, bits, found, np.zeros((1, 28, 2), np.int32), topologies, parameters)


def of(facts, fits, n_parameters, rooting):
    """Independent fits with these facts."""
    each = {"seed": 1, "log_evidence": -12345.67, "error": 0.12, "effective_sample_size": 1234.0, "pareto_k": 0.5}
    summary = {
        **judge(facts).as_dict(),
        "replicates": [{"folder": f"replicate-{k}", "verdict": "trust with care", **each} for k in range(fits)],
        "asdsf": 0.0123,
        "largest_split_difference": 0.123,
        "certainty": {
            "entropy": 9.87,
            "entropy_error": 0.02,
            "credible_sets": [{"share": 0.95, "topologies": 12345.6, "exact": False}],
        },
        "marginal_log_likelihood": [{"form": "weighted", "mean": -12345.67, "error": 0.12, "draws": 100_000}],
        "effective_sample_size": facts.effective_sample_size,
        "pareto_k": facts.pareto_k,
        **({"rooting": "the outgroup is not monophyletic: " + ", ".join(TAXA[:4])} if rooting else {}),
    }
    target = "9 parts (GTR+I+G4, GTR+I+G4, HKY+G4, HKY+G4, GTR+G4, MK, MK, MK, MK); sharing kappa; branch lengths exp:10" * 2
    return SimpleNamespace(
        summary=summary, pooled=answer(n_parameters), taxa=TAXA, path=Path("some.vbpi"),
        runs=[SimpleNamespace(config={"target": target})] * fits,
    )  # fmt: skip


@pytest.mark.parametrize("facts", [GOOD, BAD])
@pytest.mark.parametrize("fits", [2, 9])
@pytest.mark.parametrize("n_parameters", [1, 5, 40])
@pytest.mark.parametrize("rooting", [False, True])
def test_it_fits_and_answers(facts, fits, n_parameters, rooting):
    lines = screen(of(facts, fits, n_parameters, rooting))
    assert len(lines) <= ROWS <= 21
    assert max(map(len, lines)) <= WIDTH == 80
    text = "\n".join(lines)
    assert f"verdict: {judge(facts).trust.value}" in text
    reasons = judge(facts).reasons
    assert not reasons or reasons[0].why.split(":")[0] in text.replace("\n  ", " ")
    for words in ("of 27 splits", "hold 95%", "entropy 9.87", "log p(Y) -12345.67 (error 0.12) nats", "ASDSF of 0.0123"):
        assert words in text.replace("\n  ", " ")


def test_what_there_is_room_for_is_shown():
    lines = screen(of(GOOD, 2, 4, False))
    assert sum(line.strip().startswith("least certain") for line in lines) == 3
    assert sum(line.startswith("r(A") for line in lines) == 4

"""Models learned with the trees, from the alignment alone, against long MrBayes runs under the same priors, minutes:
`pytest -m slow`; and that the comparison sees what is wrong, at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mrbayes_reference import Line, Reference, lines, read_reference

import vbpi_mix

OWN = Path(__file__).resolve().parents[1] / "fixtures" / "mrbayes"


def reference_of(benchmark_data, name) -> Reference:
    path = benchmark_data.parent / "oracles" / "mrbayes" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no oracle file {path}")
    return read_reference(path)


def misses(run, reference) -> list[str]:
    found = lines(run, reference)
    for line in found:
        print(line)
    return [str(line) for line in found if not line.right]


@pytest.mark.slow
@pytest.mark.parametrize(("components", "seed"), [(4, 1), (4, 2), (4, 3), (1, 1)])
def test_gtr_with_gamma_rates_agrees_with_mrbayes(benchmark_data, components, seed):
    """Means, sds, splits, and log p(Y) against stepping stones."""
    reference = reference_of(benchmark_data, "primates_gtrg4")
    assert len(reference.parameters) == 12
    assert len(reference.evidence) == 4
    run = vbpi_mix.fit(
        benchmark_data / "primates" / "primates.nex", model="GTR+G4", trees_from="mcmc", components=components, seed=seed,
        threads=1,
    )  # fmt: skip
    assert run.summary["answer"] == "weighted"
    assert not misses(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize(("components", "seed"), [(4, 1), (4, 2), (4, 3), (1, 1)])
def test_hky_with_mrbayes_own_prior_of_lengths_agrees_with_it(benchmark_data, components, seed):
    reference = reference_of(benchmark_data, "primates_hky_gammadir")
    assert len(reference.parameters) == 6
    run = vbpi_mix.fit(
        benchmark_data / "primates" / "primates.nex", model="HKY", prior_lengths="gammadir:1,0.1,1,1", trees_from="mcmc",
        components=components, seed=seed, threads=1,
    )  # fmt: skip
    assert run.summary["answer"] == "weighted"
    assert not misses(run, reference)


@pytest.mark.slow
def test_two_parts_agree_with_mrbayes(benchmark_data):
    """Third positions and the others, each under HKY+G4: rates differ by a factor of eight."""
    reference = read_reference(OWN / "primates_two_parts.json")
    assert {"kappa{2}", "alpha{1}", "m{2}"} <= set(reference.parameters)
    run = vbpi_mix.fit(
        benchmark_data / "primates" / "primates.nex", partitions=str(OWN / "primates_two_parts.scheme"), trees_from="mcmc",
        seed=1, threads=1,
    )  # fmt: skip
    assert run.summary["answer"] == "weighted"
    assert not misses(run, reference)


@pytest.mark.slow
def test_morphology_with_nucleotides_agrees_with_mrbayes():
    """Binary characters of which only those that vary were recorded, and nucleotides under HKY+G4."""
    reference = read_reference(OWN / "cynmix_eight.json")
    assert {"kappa{2}", "alpha{2}", "m{1}"} <= set(reference.parameters)
    run = vbpi_mix.fit(
        OWN / "cynmix_eight.nex", partitions=str(OWN / "cynmix_eight.scheme"), trees_from="mcmc", seed=1, threads=1
    )
    assert run.summary["answer"] == "weighted"
    assert not misses(run, reference)


def test_a_difference_of_mean_or_sd_is_a_miss():
    right = Line("alpha", (0.4, 0.035), (0.4, 0.035), difference=0.0, most=0.15, sd_ratio=1.0)
    assert right.right
    assert not replace(right, difference=-0.2).right
    assert not replace(right, sd_ratio=0.89).right
    assert not replace(right, sd_ratio=1.11).right
    assert "MISS" in str(replace(right, difference=0.2))

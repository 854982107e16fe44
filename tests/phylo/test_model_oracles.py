"""Log-likelihoods of model strings against IQ-TREE's, for nucleotides, proteins and binary characters."""

from __future__ import annotations

import json

import pytest

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.given import tree_log_likelihood
from vbpi_mix.phylo.trees.topology import parse_newick


def rows_of(benchmark_data, name):
    path = benchmark_data.parent / "oracles" / name
    if not path.exists():
        pytest.skip(f"no oracle file {path}")
    return json.loads(path.read_text())


def braces(values):
    return "{" + ",".join(f"{value}" for value in values) + "}"


def text_of(row):
    """A row's model with its parameters in braces."""
    given, text = row["parameters"], row["model"]
    if "kappa" in given:
        text = text.replace("K80", f"K80{braces([given['kappa']])}").replace("HKY85", f"HKY85{braces([given['kappa']])}")
    if "rates_AC_AG_AT_CG_CT_GT" in given:
        text = text.replace("GTR", f"GTR{braces(given['rates_AC_AG_AT_CG_CT_GT'])}")
    if "invariant_proportion" in given:
        text = text.replace("+I", f"+I{braces([given['invariant_proportion']])}")
    if "gamma_shape" in given:
        text = text.replace("+G4", f"+G4{braces([given['gamma_shape']])}")
    return text + (f"+F{braces(given['frequencies_ACGT'])}" if "frequencies_ACGT" in given else "")


@pytest.mark.parametrize("dataset", ["DS1", "DS4", "DS7"])
def test_models_of_nucleotides(benchmark_data, dataset):
    rows = [row for row in rows_of(benchmark_data, "likelihood_iqtree.json") if row["dataset"] == dataset]
    assert len(rows) == 7
    alignment = read_alignment(benchmark_data / dataset / f"{dataset}.fasta")
    patterns = compress(alignment)
    for row in rows:
        found = tree_log_likelihood(text_of(row), patterns, *parse_newick(row["newick"], alignment.taxa))
        assert found == pytest.approx(row["log_likelihood"], abs=1e-3), row["model"]


@pytest.mark.parametrize(("dataset", "count"), [("prot21", 19), ("bin60", 4)])
def test_models_of_proteins_and_binary_characters(benchmark_data, dataset, count):
    rows = [row for row in rows_of(benchmark_data, "likelihood_iqtree_models.json") if row["dataset"] == f"{dataset}.fa"]
    assert len(rows) == count
    alignment = read_alignment(benchmark_data / dataset / f"{dataset}.fa")
    patterns = compress(alignment)
    for row in rows:
        found = tree_log_likelihood(row["model"], patterns, *parse_newick(row["newick"], alignment.taxa))
        assert found == pytest.approx(float(row["log_likelihood"]), abs=1e-3), row["model"]

"""What dataset.yaml says of each benchmark is true of the data."""

import hashlib
import re
from importlib import resources

import numpy as np
import pytest
import yaml

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.benchmarks import (
    benchmark,
    benchmark_names,
    benchmark_tree_samples,
    find_benchmark,
    verify,
)
from vbpi_mix.phylo.data.site_patterns import compress

NAMES = [f"DS{k}" for k in range(1, 9)]


def facts_of(name):
    return yaml.safe_load(resources.files("vbpi_mix_data").joinpath(name, "dataset.yaml").read_text("utf-8"))


def test_there_are_eight():
    assert list(benchmark_names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_description_is_complete(name):
    facts = facts_of(name)
    assert facts["name"] == benchmark(name).name == name
    assert re.fullmatch(r"S\d+", facts["treebase_study"])
    assert facts["description"]
    assert facts["citation"]
    assert len(facts["alignment"]["locations"]) == 2
    for place in facts["alignment"]["locations"]:
        assert re.fullmatch(r"[0-9a-f]{40}", place["commit"])
        assert place["licence"]
        assert place["url"].startswith(
            f"https://raw.githubusercontent.com/{place['repository']}/{place['commit']}/"
        )
        assert place["url"].endswith(f"/{name}.fasta")
    published = benchmark(name).marginal_log_likelihood
    assert len({value.method for value in published}) == len(published) == 12
    means = [value.mean for value in published]
    assert max(means) - min(means) < 4
    assert all(value.sd > 0 and value.source for value in published)
    assert all(value.mean < max(means) for value in benchmark(name).single_sample_elbo)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_the_alignment(name, benchmark_data):
    facts = facts_of(name)
    fasta = benchmark_data / name / f"{name}.fasta"
    assert hashlib.sha256(fasta.read_bytes()).hexdigest() == facts["alignment"]["sha256"]
    alignment = read_alignment(fasta)
    assert alignment.states.shape == (facts["taxa"], facts["sites"])
    assert compress(alignment).weights.size == facts["patterns"]
    sequences = ["".join(record.split("\n")[1:]) for record in fasta.read_text().split(">")[1:]]
    assert len(set(zip(*sequences, strict=True))) == facts["patterns_as_written"]
    assert len(sequences) - len(set(sequences)) == facts["duplicate_sequences"]
    observed = np.array([(alignment.states == bit).any(axis=0) for bit in (1, 2, 4, 8)]).sum(axis=0)
    assert (observed <= 1).sum() == facts["constant_sites"]
    assert (observed == 0).sum() == facts["all_missing_sites"]


@pytest.mark.parametrize("name", NAMES)
def test_the_data_folder_gives_alignment_and_ufboot_trees(name, benchmark_data, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("VBPI_MIX_DATA", str(benchmark_data))
    monkeypatch.chdir(tmp_path)
    assert find_benchmark(f"{name}.nex") == benchmark_data / name / f"{name}.nex"
    assert len(verify(name)) == 2
    samples = benchmark_tree_samples(name)
    assert [path.name for path in samples] == [f"rep_{k}.ufboot.gz" for k in range(1, 11)]

"""Site patterns: merged as sets, weights count sites, the order does not depend on the order of the sites."""

from collections import Counter

import numpy as np
import pytest

from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
from vbpi_mix.phylo.data.site_patterns import compress

TAXA = ("a", "b", "c", "d")


def test_patterns_are_the_distinct_columns_with_their_counts():
    states = np.random.default_rng(3).integers(1, 4, size=(4, 300)).astype(np.uint8)
    patterns = compress(Alignment(TAXA, states))
    counted = {
        tuple(column): weight for column, weight in zip(patterns.states.T, patterns.weights, strict=True)
    }
    assert counted == Counter(map(tuple, states.T))
    assert list(map(tuple, patterns.states.T)) == sorted(counted)
    assert patterns.states.dtype == np.uint8
    assert patterns.weights.dtype == np.float64
    assert patterns.states.flags.c_contiguous


def test_the_order_of_sites_does_not_matter():
    rng = np.random.default_rng(4)
    states = rng.integers(1, 16, size=(4, 200)).astype(np.uint8)
    one = compress(Alignment(TAXA, states))
    other = compress(Alignment(TAXA, states[:, rng.permutation(200)]))
    assert np.array_equal(one.states, other.states)
    assert np.array_equal(one.weights, other.weights)


def test_gap_question_mark_and_n_are_one_pattern(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(">a\nAAAG\n>b\n-?NG\n>c\nCcCG\n>d\nTUtG\n")
    patterns = compress(read_alignment(path))
    assert patterns.states.T.tolist() == [[1, 15, 2, 8], [4, 4, 4, 4]]
    assert patterns.weights.tolist() == [3.0, 1.0]


def test_all_missing_columns_are_kept():
    states = np.full((4, 3), 15, dtype=np.uint8)
    patterns = compress(Alignment(TAXA, states))
    assert patterns.states.shape == (4, 1)
    assert patterns.weights.tolist() == [3.0]


# Counted with another program when the data were gathered; columns equal with - ? N merged.
@pytest.mark.parametrize(
    ("name", "patterns", "sites"),
    [
        ("DS1", 934, 1949), ("DS2", 1246, 2520), ("DS3", 1020, 1812), ("DS4", 768, 1137),
        ("DS5", 256, 378), ("DS6", 489, 1133), ("DS7", 1037, 1824), ("DS8", 406, 1008),
        ("primates", 413, 898),
    ],
)  # fmt: skip
def test_benchmark_pattern_counts(benchmark_data, name, patterns, sites):
    found = compress(read_alignment(benchmark_data / name / f"{name}.fasta"))
    assert found.states.shape[1] == patterns
    assert found.weights.sum() == sites


def test_patterns_of_other_alphabets_are_no_data_for_jc69():
    from vbpi_mix.errors import ConfigError
    from vbpi_mix.phylo.data.alphabets import BINARY, PROTEIN
    from vbpi_mix.phylo.models.posterior import Posterior

    for alphabet, models in [(PROTEIN, "amino acids; models of these are LG, WAG or JTT"), (BINARY, "discrete .* MK")]:
        states = np.ones((4, 3), dtype=alphabet.dtype)
        with pytest.raises(ConfigError, match=f"JC69 is a model of nucleotides, and the alignment has {models}"):
            Posterior(compress(Alignment(TAXA, states, (alphabet,))))

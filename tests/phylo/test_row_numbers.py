"""Numbers of distinct rows of bit sets, and of the clades of many trees."""

import numpy as np
import pytest

from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees import clades
from vbpi_mix.phylo.trees.kernels.rows import number_rows
from vbpi_mix.phylo.trees.topology import clade_bitsets, random_topologies


@pytest.mark.parametrize("words", [1, 2, 7])
def test_rows_have_one_number_exactly_if_they_are_equal(words):
    rng = np.random.default_rng(words)
    # Few values in each word, so that rows differ in one word alone, and all of them in high bits.
    rows = rng.integers(0, 3, (4_000, words)).astype(np.uint64) << np.uint64(61)
    codes, first = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    count = number_rows(rows, np.full(8_192, -1, np.int32), codes, first)
    distinct, index = np.unique(rows, axis=0, return_inverse=True)
    assert count == len(distinct)
    np.testing.assert_array_equal(rows[first[:count]][codes], rows)
    assert len(set(zip(codes.tolist(), index.ravel().tolist(), strict=True))) == count
    np.testing.assert_array_equal(first[:count], [int(np.flatnonzero(codes == k)[0]) for k in range(count)])


@pytest.mark.parametrize("n_taxa", [6, 70])
def test_clades_are_those_of_all_trees_at_once_however_few_are_looked_at(monkeypatch, n_taxa):
    children = random_topologies(n_taxa, 25, np.random.default_rng(n_taxa))
    rows = clade_bitsets(children)[:, 1:]
    monkeypatch.setattr(clades, "WORDS_AT_ONCE", 2 * n_taxa * rows.shape[2] * 4)
    found, numbers = clades.number_clades(children, slice(1, None))
    np.testing.assert_array_equal(found[numbers], rows)
    assert len(np.unique(rows.reshape(-1, rows.shape[2]), axis=0)) == len(found)
    support = build_support(children[:2])
    known, taken = support.encode(children), support.split_bits
    wanted = {bits.tobytes(): k for k, bits in enumerate(taken)}
    expected = [[wanted.get(bits.tobytes(), -1) for bits in tree] for tree in rows]
    np.testing.assert_array_equal(known.splits[:, 1:], expected)
    assert (known.splits[2:, 1:] == -1).any()

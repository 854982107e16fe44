"""Numbers of distinct rows of bit sets."""

import numpy as np
import pytest

from vbpi_mix.phylo.sbn.kernels.rows import number_rows


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

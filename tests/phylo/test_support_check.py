"""A support that is not one is refused before kernels index with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vbpi_mix.errors import SupportError
from vbpi_mix.phylo.problem import restore_support, support_state
from vbpi_mix.phylo.sbn.support import SubsplitSupport, build_support
from vbpi_mix.phylo.sbn.support_check import check_support
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topologies

ARRAYS = [item.name for item in dataclasses.fields(SubsplitSupport) if item.name != "n_taxa"]


@pytest.mark.parametrize(("n_taxa", "count"), [(4, 1), (4, 3), (5, 6), (12, 40), (64, 5), (65, 5), (130, 3)])
def test_supports_of_trees_are_supports(n_taxa, count):
    check_support(build_support(random_topologies(n_taxa, count, np.random.default_rng(n_taxa))))


def test_that_of_all_topologies_is_one_and_is_restored():
    support = build_support(enumerate_topologies(6))
    restored = restore_support(support_state(support))
    assert all(np.array_equal(getattr(restored, name), getattr(support, name)) for name in ARRAYS)


@pytest.mark.parametrize("name", ARRAYS)
def test_every_number_of_every_array_counts(name):
    """Each entry in turn one more, one less, far outside and negative."""
    support = build_support(random_topologies(7, 6, np.random.default_rng(2)))
    array = getattr(support, name)
    assert array.size
    for place in np.ndindex(array.shape):
        for change in (1, -1, 10**6, -(10**6)):
            damaged = array.copy()
            damaged[place] = (int(array[place]) + change) % 2**64 if array.dtype == np.uint64 else array[place] + change
            with pytest.raises(SupportError, match="is not that of a support"):
                check_support(dataclasses.replace(support, **{name: damaged}))


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_other_sizes_and_kinds_are_refused(name):
    support = build_support(random_topologies(7, 6, np.random.default_rng(2)))
    array = getattr(support, name)
    for damaged in (array[:-1], np.concatenate([array, array[-1:]]), array.astype(np.float64), array[None], array[:0], None):
        with pytest.raises(SupportError, match="is not that of a support"):
            check_support(dataclasses.replace(support, **{name: damaged}))
    for n_taxa in (6, 8, 3, -1, 7.0, True):
        with pytest.raises(SupportError):
            check_support(dataclasses.replace(support, n_taxa=n_taxa))

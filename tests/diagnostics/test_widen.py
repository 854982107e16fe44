"""NNI neighbours, and supports that are closed under them."""

import numpy as np
import pytest
import reference_diagnostics as reference

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.sampling.widen import nni_neighbours, widen, widen_sample
from vbpi_mix.phylo.sbn.coverage import coverage, in_support
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import canonicalise, enumerate_topologies, random_topologies, to_newick

TAXA = tuple("abcdefg")
LISTED = enumerate_topologies(7)


@pytest.fixture
def sample(tmp_path):
    """Ten trees: topology 10 six times, 600 three times, 900 once, without lengths."""
    path = tmp_path / "sample.tre"
    path.write_text("".join(to_newick(LISTED[k], TAXA) + "\n" for k in (10,) * 6 + (600,) * 3 + (900,)))
    return read_tree_sample([path], TAXA)


@pytest.mark.parametrize("n_taxa", [4, 5, 6, 9, 25, 66])
def test_neighbours_against_sets_of_splits(n_taxa):
    children = random_topologies(n_taxa, 6, np.random.default_rng(n_taxa))
    found = nni_neighbours(children)
    assert found.shape == (6, 2 * (n_taxa - 3), n_taxa - 2, 2)
    assert found.dtype == np.int32
    for tree, neighbours in zip(children.tolist(), found.tolist(), strict=True):
        expected = reference.nni_neighbours(tree)
        assert len(set(expected)) == 2 * (n_taxa - 3)
        assert {reference.tree_splits(each) for each in neighbours} == set(expected)
        assert len({str(each) for each in neighbours}) == 2 * (n_taxa - 3)


def test_neighbours_are_canonical_and_mutual():
    children = random_topologies(8, 5, np.random.default_rng(3))
    found = nni_neighbours(children)
    flat = found.reshape(-1, 6, 2)
    np.testing.assert_array_equal(canonicalise(flat)[0], flat)
    for tree, neighbours in zip(children, found, strict=True):
        for back in nni_neighbours(neighbours):
            assert any(np.array_equal(tree, each) for each in back)


def test_any_numbering_gives_the_same_neighbours():
    children = random_topologies(8, 5, np.random.default_rng(4))
    turned = np.ascontiguousarray(children[:, :, ::-1])
    for one, other in zip(nni_neighbours(children), nni_neighbours(turned), strict=True):
        assert {each.tobytes() for each in one} == {each.tobytes() for each in other}


def test_four_taxa_are_all_neighbours_and_three_have_none():
    assert {each.tobytes() for each in nni_neighbours(enumerate_topologies(4)[:1])[0]} == {
        each.tobytes() for each in enumerate_topologies(4)[1:]
    }
    assert nni_neighbours(enumerate_topologies(3)).shape == (1, 0, 1, 2)


def test_the_support_holds_every_neighbour(sample):
    wide = widen_sample(sample, 2)
    support = build_support(wide.children)
    near = nni_neighbours(sample.children[:2]).reshape(-1, 5, 2)
    assert in_support(support.encode(near)).all()
    assert not in_support(build_support(sample.children).encode(near)).all()
    assert coverage(support, sample.children, sample.weights) == 1.0


def test_the_most_frequent_are_widened(sample):
    assert widen(sample.children, sample.weights, 1).shape[0] == 8
    by_mass = widen(sample.children, sample.weights)
    everything = widen(sample.children, sample.weights, 3)
    np.testing.assert_array_equal(by_mass, everything)
    assert widen(sample.children, np.array([0.96, 0.03, 0.01])).shape[0] == 8
    shuffled = widen(sample.children[::-1], sample.weights[::-1], 1)
    np.testing.assert_array_equal(shuffled, widen(sample.children, sample.weights, 1))


def test_what_is_there_already_is_not_added_again(sample):
    everything = widen(LISTED, np.ones(len(LISTED)), 50)
    assert everything.shape == (0, 5, 2)
    assert widen_sample(widen_sample(sample, 3), 3).children.shape == widen_sample(sample, 3).children.shape


def test_a_widened_sample_is_a_sample(sample):
    wide = widen_sample(sample, 1)
    new = wide.weights.size - 3
    assert new == 8
    assert wide.weights.sum() == pytest.approx(1)
    assert wide.tree_weights.sum() == pytest.approx(1)
    assert wide.weights[3:] == pytest.approx(np.full(new, 0.001 / new))
    assert np.all(np.diff(wide.weights) <= 0)
    np.testing.assert_allclose(np.bincount(wide.tree_topology, wide.tree_weights), wide.weights, rtol=1e-12)
    np.testing.assert_array_equal(wide.children[:3], sample.children)
    assert wide.tree_topology.dtype == np.int32
    assert wide.lengths is None


def test_what_is_new_weighs_less_than_anything_sampled(sample):
    wide = widen_sample(sample, 3, added_weight=0.9)
    assert wide.weights[3:].max() < wide.weights[:3].min()
    assert wide.weights.sum() == pytest.approx(1)


def test_bad_numbers_are_refused(sample):
    with pytest.raises(TreeError, match="0 topologies to widen"):
        widen(sample.children, sample.weights, 0)
    with pytest.raises(TreeError, match="added_weight=1"):
        widen_sample(sample, 1, added_weight=1)

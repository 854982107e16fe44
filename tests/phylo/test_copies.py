"""Identical sequences: every way to join them is as probable, whatever the sample says. Judge: sets of splits, by hand."""

import numpy as np
import pytest
from reference import topologies as reference

from vbpi_mix.phylo.trees.copies import identical_sequences, join_copies_uniformly
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import parse_newick

TAXA = ("a", "b", "c", "d", "e", "f", "g")


def sample_of(text, write_to):
    write_to.write_text(text)
    return read_tree_sample([write_to], TAXA)


def states_of(*letters):
    """A row of one site for each taxon; equal letters are copies."""
    return np.array([[ord(letter)] for letter in letters], dtype=np.uint8)


def shares(sample):
    """{topology as its set of splits: weight}, after checking that trees and topologies agree."""
    summed = np.bincount(sample.tree_topology, sample.tree_weights, sample.weights.size)
    np.testing.assert_allclose(summed, sample.weights, rtol=1e-12)
    assert sample.weights.sum() == pytest.approx(1)
    return {
        frozenset(frozenset(c) for c in reference.clades_of_children(tree)[1:-1]): weight
        for tree, weight in zip(sample.children.tolist(), sample.weights.tolist(), strict=True)
    }


def splits(text):
    children, _ = parse_newick(text, TAXA)
    return frozenset(frozenset(c) for c in reference.clades_of_children(children.tolist())[1:-1])


def test_groups_are_rows_that_are_the_same_three_times_or_more():
    assert identical_sequences(states_of(*"xyxyzyx")) == [(0, 2, 6), (1, 3, 5)]
    assert identical_sequences(states_of(*"xxyyzzw")) == []
    assert identical_sequences(states_of(*"xxxx")) == []


@pytest.mark.parametrize(
    ("text", "letters", "ways"),
    [
        ("(a,b,(c,((d,e),(f,g))));", "tuvxxxw", None),
        ("(a,b,((c,(d,(e,f))),g));", "tuvxxxw", ["(d,(e,f))", "(e,(d,f))", "(f,(d,e))"]),
        ("(a,b,(c,((d,e),(f,g))));", "xxxtuvw", ["(a,b,(c,{}))", "(a,c,(b,{}))", "(b,c,(a,{}))"]),
    ],
)
def test_three_copies_are_joined_in_three_ways(tmp_path, text, letters, ways):
    sample = sample_of(text * 4, tmp_path / "x.nwk")
    joined = join_copies_uniformly(sample, states_of(*letters), 1)
    found = shares(joined)
    if ways is None:
        # d, e and f are no group of this tree: they change places at random, and g stays with one of them.
        assert all(len(each & {frozenset(pair) for pair in ((3, 6), (4, 6), (5, 6))}) == 1 for each in found)
        return
    template = "(a,b,((c,{}),g));" if letters.startswith("t") else "{};"
    inside = [way.replace("{}", "((d,e),(f,g))") for way in ways]
    expected = [splits(template.format(way)) for way in inside]
    assert set(found) == set(expected)
    for each in expected:
        assert found[each] == pytest.approx(1 / 3)
    assert "3 sequences are identical: " in joined.notes[0]


def test_two_groups_have_all_pairs_of_ways(tmp_path):
    joined = join_copies_uniformly(sample_of("(a,(b,c),((d,(e,f)),g));", tmp_path / "x.nwk"), states_of(*"xxxyyyz"), 1)
    assert len(shares(joined)) == 9
    np.testing.assert_allclose(joined.weights, 1 / 9)
    assert join_copies_uniformly(joined, states_of(*"xxxyyyz"), 2) is joined


@pytest.mark.parametrize(("text", "letters"), [
    ("(a,b,((c,(d,(e,f))),g));", "tuxxxxw"), ("(a,b,(c,(d,((e,f),g))));", "xxxxtuv"), ("(a,g,(b,(c,(d,(e,f)))));", "txxxxxu"),
])  # fmt: skip
def test_more_copies_come_in_every_way(tmp_path, text, letters):
    copies = letters.count("x")
    trees = 1 if copies == 4 else 4_000
    joined = join_copies_uniformly(sample_of(text * trees, tmp_path / "x.nwk"), states_of(*letters), 1)
    number = {4: 15, 5: 105}[copies]
    assert joined.weights.size == number
    if copies == 4:
        np.testing.assert_allclose(joined.weights, 1 / 15)
    else:
        # 38 of each, standard deviation 6.1.
        assert np.abs(joined.weights * trees - trees / number).max() < 5 * 6.2


def test_weights_of_what_is_not_copied_stay(tmp_path):
    text = "#NEXUS begin trees; tree x = [&W 0.75] (a,g,(b,(c,(d,(e,f))))); tree y = [&W 0.25] (a,(b,g),(c,((d,e),f))); end;"
    found = shares(join_copies_uniformly(sample_of(text, tmp_path / "x.t"), states_of(*"tuvxxxw"), 1))
    assert len(found) == 6
    with_g = [weight for each, weight in found.items() if frozenset((1, 6)) in each]
    np.testing.assert_allclose(with_g, 0.25 / 3)


def test_without_three_copies_the_sample_is_the_same_object(tmp_path):
    sample = sample_of("(a,b,((c,(d,(e,f))),g));", tmp_path / "x.nwk")
    assert join_copies_uniformly(sample, states_of(*"xxyyzzw"), 1) is sample

"""Rooted trees: splits, supports and distances stay what they are, and the root is where it was asked."""

from __future__ import annotations

import itertools

import dendropy
import numpy as np
import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.rooting import Rooting, root, tree_of, unrooted
from vbpi_mix.phylo.trees.topology import random_topologies, to_newick


def taxon(name, length=1.0):
    return ConsensusClade(name, 1.0, length)


def group(frequency, *clades, length=1.0):
    return ConsensusClade("", frequency, length, clades)


def random_tree(seed, n_taxa=9):
    """A resolved tree whose supports tell its edges apart."""
    rng = np.random.default_rng(seed)
    (children,) = random_topologies(n_taxa, 1, rng)
    lengths = rng.exponential(0.1, 2 * n_taxa - 3)
    support = np.ones(2 * n_taxa - 3)
    support[n_taxa - 1 : -1] = rng.permutation(np.arange(n_taxa - 3)) / 10 + 0.05
    return tree_of(children, lengths, [f"t{k}" for k in range(n_taxa)], support)


def polytomy():
    """a, (b,c), (d,e), f around a node."""
    return Consensus((taxon("a"), group(0.9, taxon("b"), taxon("c")), group(0.8, taxon("d"), taxon("e")), taxon("f")))


def names_of(tree):
    return frozenset(leaf.taxon.label for leaf in read(tree).leaf_node_iter())


def read(tree):
    return dendropy.Tree.get(data=tree.newick(), schema="newick", rooting="force-rooted")


def supports(tree):
    """Internal splits with the label that stands on them, by the side without the first taxon."""
    everything = names_of(tree)
    found = {}
    for node in read(tree).preorder_internal_node_iter(exclude_seed_node=True):
        below = frozenset(leaf.taxon.label for leaf in node.leaf_iter())
        side = below if min(everything) not in below else everything - below
        if 1 < len(side) < len(everything) - 1:
            assert found.setdefault(side, node.label) == node.label
    return found


def distances(tree):
    drawn = read(tree)
    matrix = drawn.phylogenetic_distance_matrix()
    pairs = itertools.combinations(sorted(drawn.taxon_namespace, key=lambda each: each.label), 2)
    return [matrix.distance(*pair) for pair in pairs]


def sides(rooted):
    return [frozenset(leaf.taxon.label for leaf in node.leaf_iter()) for node in read(rooted.tree).seed_node.child_nodes()]


@pytest.mark.parametrize("seed", range(8))
def test_an_edge_of_the_tree_as_outgroup_becomes_the_root(seed):
    tree = random_tree(seed)
    everything = names_of(tree)
    splits = [*supports(tree), frozenset({"t0"}), frozenset({"t4"}), everything - {"t0"}]
    for side in splits:
        for outgroup in (side, everything - side):
            rooted = root(tree, Rooting(tuple(outgroup)))
            assert rooted.remark == ""
            assert sides(rooted) == [outgroup, everything - outgroup]
            one, other = rooted.tree.clades
            assert (one.length, one.frequency) == (other.length, other.frequency)
            assert supports(rooted.tree) == supports(tree)
            np.testing.assert_allclose(distances(rooted.tree), distances(tree), rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_a_midpoint_is_as_far_from_the_farthest_taxa_on_both_sides(seed):
    tree = random_tree(seed)
    rooted = root(tree, Rooting())
    assert len(rooted.tree.clades) == 2
    assert supports(rooted.tree) == supports(tree)
    np.testing.assert_allclose(distances(rooted.tree), distances(tree), rtol=1e-6)
    top = read(rooted.tree).seed_node
    farthest = [
        max(leaf.distance_from_root() for leaf in node.leaf_iter()) for node in top.child_nodes()
    ]
    assert farthest == pytest.approx([max(distances(tree)) / 2] * 2, rel=1e-6)


def test_a_root_can_be_moved():
    tree = random_tree(3)
    first = root(tree, Rooting(("t2",)))
    again = root(first.tree, Rooting(("t7",)))
    assert sides(again)[0] == {"t7"}
    assert supports(again.tree) == supports(tree)
    np.testing.assert_allclose(distances(again.tree), distances(tree), rtol=1e-6)
    assert len(unrooted(first.tree).clades) == 3


def test_a_midpoint_on_a_known_tree():
    """Of 10 from a to d, 5 lie below d: 4 on its own edge and 1 above it."""
    tree = Consensus((taxon("a", 3), taxon("b", 1), group(0.7, taxon("c", 1), taxon("d", 4), length=3)))
    rooted = root(tree, Rooting())
    assert [clade.length for clade in rooted.tree.clades] == [2, 1]
    assert [clade.frequency for clade in rooted.tree.clades] == [0.7, 0.7]
    assert sides(rooted) == [{"a", "b"}, {"c", "d"}]


def test_an_outgroup_that_is_not_monophyletic_is_said():
    inner = group(0.8, taxon("c"), group(0.7, taxon("d"), taxon("e")))
    tree = Consensus((taxon("a"), taxon("b"), group(0.9, inner, taxon("f"))))
    rooted = root(tree, Rooting(("a", "b", "d")))
    assert sides(rooted) == [{"a", "b"}, {"c", "d", "e", "f"}]
    assert rooted.remark == (
        "the outgroup a, b, d is not monophyletic in this tree: the root is on the edge with the fewest taxa on the wrong "
        "side, 1 taxon (d)"
    )


@pytest.mark.parametrize("outgroup", [("b", "d"), ("d", "b")])
def test_where_taxa_of_an_outgroup_are_apart_the_first_named_is_it(outgroup):
    for tree in (polytomy(), Consensus(tuple(reversed(polytomy().clades)))):
        assert sides(root(tree, Rooting(outgroup)))[0] == {outgroup[0]}


def test_an_outgroup_that_the_tree_leaves_open_has_the_node_as_root():
    rooted = root(polytomy(), Rooting(("f", "a")))
    assert sides(rooted) == [{"a"}, {"f"}, {"b", "c"}, {"d", "e"}]
    assert "neither a group in this tree nor contradicted" in rooted.remark
    assert supports(rooted.tree) == supports(polytomy())
    deep = Consensus((taxon("x"), taxon("y"), group(0.6, *polytomy().clades)))
    assert sides(root(deep, Rooting(("d", "e", "f")))) == [{"d", "e"}, {"f"}, {"a"}, {"b", "c"}, {"x", "y"}]


def test_an_outgroup_on_both_sides_of_a_node_is_no_open_one():
    """Around the node of c and d are all of a and all of b, but above it an e that belongs to the outgroup, and an f."""
    tree = Consensus((group(0.9, taxon("a"), taxon("b"), group(0.8, taxon("c"), taxon("d"))), taxon("e"), taxon("f")))
    assert "is not monophyletic" in root(tree, Rooting(("a", "e"))).remark


@pytest.mark.parametrize(("inner", "outer"), [(0.6, 0.9), (0.9, 0.6)])
def test_of_edges_that_are_equally_wrong_the_more_frequent_one_has_the_root(inner, outer):
    """Without c, or with x."""
    beside = group(0.8, group(inner, taxon("a"), taxon("b")), taxon("x"))
    tree = Consensus((group(outer, beside, taxon("c")), *map(taxon, "pqrst")))
    assert sides(root(tree, Rooting(("a", "b", "c"))))[0] == (frozenset("ab") if inner > outer else frozenset("abcx"))


def test_the_side_of_the_taxon_named_first_is_the_outgroup_where_the_others_are_far():
    """Four of five are on the wrong side of the edge of a."""
    tree = Consensus((*(group(0.9, taxon(one), taxon(other)) for one, other in zip("abcde", "pqrst", strict=True)), taxon("u")))
    assert sides(root(tree, Rooting(tuple("abcde"))))[0] == {"a"}


def test_a_tree_of_a_topology_has_its_lengths_and_supports():
    rng = np.random.default_rng(4)
    (children,) = random_topologies(7, 1, rng)
    taxa, lengths = [f"t{k}" for k in range(7)], rng.exponential(0.1, 11)
    plain = dendropy.Tree.get(data=to_newick(children, taxa, lengths), schema="newick", rooting="force-unrooted")
    matrix = plain.phylogenetic_distance_matrix()
    pairs = itertools.combinations(sorted(plain.taxon_namespace, key=lambda each: each.label), 2)
    expected = [matrix.distance(*pair) for pair in pairs]
    np.testing.assert_allclose(distances(tree_of(children, lengths, taxa)), expected, rtol=1e-6)
    certain = tree_of(children, lengths, taxa)
    assert {float(label) for label in supports(certain).values()} == {1.0}
    pendant = np.arange(11) / 100
    marked = {leaf.name: leaf.frequency for leaf in leaves(tree_of(children, lengths, taxa, pendant))}
    assert marked == {"t0": 0.1, **{f"t{k}": (k - 1) / 100 for k in range(1, 7)}}


def leaves(tree):
    waiting = list(tree.clades)
    while waiting:
        clade = waiting.pop()
        waiting += clade.clades
        if not clade.clades:
            yield clade


@pytest.mark.parametrize(("count", "shown"), [(6, "a, b, c, d, e, f is"), (7, "a, b, c, d, e, f and 1 more is")])
def test_long_outgroups_are_cut_short(count, shown):
    pairs = [group(0.9, taxon(one), taxon(other)) for one, other in zip("abcdefg", "pqrstuv", strict=True)]
    assert f"the outgroup {shown} not monophyletic" in root(Consensus(tuple(pairs)), Rooting(tuple("abcdefg")[:count])).remark


def test_choices_are_checked():
    taxa = ("Homo sapiens", "a,b", "it's", "Pan_paniscus", "Z")
    assert Rooting.of(None, False, taxa) is None
    assert Rooting.of(None, True, taxa) == Rooting()
    assert Rooting.of("Z,Homo sapiens", False, taxa) == Rooting(("Z", "Homo sapiens"))
    assert Rooting.of("a,b", False, taxa) == Rooting(("a,b",))
    assert Rooting.of("'it''s', 'a,b' ,Pan paniscus", False, taxa) == Rooting(("it's", "a,b", "Pan_paniscus"))
    assert Rooting.of(["a,b", "Z"], False, taxa) == Rooting(("a,b", "Z"))


@pytest.mark.parametrize(
    ("outgroup", "midpoint", "message"),
    [
        ("Pan", False, "taxon 'Pan' is not among the 3 of this run; did you mean 'Pan_p'"),
        ("a,b,Pan_p", False, "all 3 taxa are in it"),
        ("a,a", False, "'a' is named twice"),
        (" ,", False, "no taxon is named"),
        ("a", True, "either --outgroup or --midpoint"),
    ],
)
def test_bad_choices_are_one_line(outgroup, midpoint, message):
    with pytest.raises(ConfigError, match=message):
        Rooting.of(outgroup, midpoint, ("a", "b", "Pan_p"))

"""Topologies: canonical form, Newick in and out, distinct ones, clades, all and random ones.

Judges: sets and recursion (tests/reference/topologies.py), DendroPy, and the number (2n-5)!!.
"""

import math
from collections import Counter

import numpy as np
import pytest
from reference import topologies as reference

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.topology import (
    canonicalise,
    clade_bitsets,
    enumerate_topologies,
    parse_newick,
    random_topologies,
    random_topology,
    to_newick,
    unique_topologies,
)


def names(n_taxa):
    return [f"taxon_{k}" for k in range(n_taxa)]


def split_lengths(children, lengths):
    """Branch length by split, the split written as its taxa on the side without taxon 0."""
    below = reference.clades_of_children(children)
    everyone = frozenset(range(len(children) + 2))
    assert below[-1] == everyone - {0}
    return {below[node]: lengths[node - 1] for node in range(1, len(below))}


# Enumeration and randomness


@pytest.mark.parametrize(("n_taxa", "count"), [(3, 1), (4, 3), (5, 15), (6, 105), (7, 945)])
def test_enumeration_is_complete_and_canonical(n_taxa, count):
    listed = enumerate_topologies(n_taxa)
    assert listed.shape == (count, n_taxa - 2, 2)
    expected = {tuple(reference.canonical_children(tree)) for tree in reference.all_trees(n_taxa)}
    assert {tuple(map(tuple, children.tolist())) for children in listed} == expected
    assert len(expected) == count


def test_random_topologies_are_uniform():
    draws = random_topologies(5, 15_000, np.random.default_rng(11))
    counts = Counter(children.tobytes() for children in draws)
    assert len(counts) == 15
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    # 14 degrees of freedom: the 99.99% point is 42.6.
    assert chi_square < 42.6
    assert {children.tobytes() for children in enumerate_topologies(5)} == set(counts)


def test_random_topology_follows_the_seed():
    one = random_topology(30, np.random.default_rng(5))
    assert np.array_equal(one, random_topology(30, np.random.default_rng(5)))
    assert not np.array_equal(one, random_topology(30, np.random.default_rng(6)))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: random_topology(2, np.random.default_rng(0)), "2 taxa asked for"),
    (lambda: enumerate_topologies(2), "2 taxa asked for"),
    (lambda: enumerate_topologies(10), "10 taxa have too many topologies"),
])  # fmt: skip
def test_impossible_numbers_of_taxa_are_refused(call, message):
    with pytest.raises(TreeError, match=message):
        call()


# Canonical form


@pytest.mark.parametrize("n_taxa", [4, 5, 9, 27, 65])
def test_any_rooting_and_order_of_children_gives_the_canonical_form(n_taxa):
    rng = np.random.default_rng(n_taxa)
    for _ in range(20):
        tree = reference.random_rooted_tree(n_taxa, rng)
        expected = np.array(reference.canonical_children(tree))
        for form in (tree, reference.unroot(tree)):
            text = reference.write_newick(form, names(n_taxa))
            assert reference.read_newick(text, names(n_taxa)) == form
            children, lengths = parse_newick(text, names(n_taxa))
            assert children.dtype == np.int32
            assert np.array_equal(children, expected)
            assert lengths is None


@pytest.mark.parametrize("n_taxa", [4, 6, 30])
def test_canonicalise_carries_edge_data_by_the_relabelling(n_taxa):
    rng = np.random.default_rng(2)
    original = random_topologies(n_taxa, 40, rng)
    nodes = 2 * n_taxa - 2
    lengths = rng.exponential(size=(40, nodes - 1))
    scrambled = np.empty_like(original)
    moved = np.empty_like(lengths)
    for t in range(40):
        # Any numbers for the internal nodes below the top, and children in any order.
        number = np.arange(nodes)
        number[n_taxa : nodes - 1] = n_taxa + rng.permutation(n_taxa - 3)
        for node in range(n_taxa, nodes):
            pair = number[original[t, node - n_taxa]]
            scrambled[t, number[node] - n_taxa] = rng.permutation(pair)
        moved[t, number[1:] - 1] = lengths[t]
    canonical, relabel = canonicalise(scrambled)
    assert np.array_equal(canonical, original)
    back = np.empty_like(lengths)
    np.put_along_axis(back, relabel[:, 1:] - 1, moved, axis=1)
    assert np.array_equal(back, lengths)
    assert np.array_equal(np.sort(relabel, axis=1), np.tile(np.arange(nodes), (40, 1)))


def test_canonical_trees_are_left_as_they_are():
    listed = enumerate_topologies(6)
    canonical, relabel = canonicalise(listed)
    assert np.array_equal(canonical, listed)
    assert np.array_equal(relabel, np.tile(np.arange(10), (105, 1)))


# Distinct topologies and clades


def test_unique_topologies_agrees_with_sorting():
    rng = np.random.default_rng(8)
    children = enumerate_topologies(7)[rng.integers(0, 945, size=4000)]
    distinct, index = unique_topologies(children)
    assert np.array_equal(distinct[index], children)
    assert len(distinct) == len(np.unique(children.reshape(4000, -1), axis=0))
    first = [int(np.argmax(index == k)) for k in range(len(distinct))]
    assert first == sorted(first)


def test_unique_topologies_compares_in_full_where_slots_collide():
    # A table with hardly more slots than rows makes nearly every row meet a stranger in its slot.
    from vbpi_mix.phylo.trees.kernels.topology import index_distinct

    rows = np.ascontiguousarray(enumerate_topologies(6).reshape(105, -1))
    slots = np.full(128, -1, dtype=np.int32)
    index = np.empty(105, dtype=np.int32)
    assert index_distinct(rows, slots, np.empty(105, dtype=np.int64), index) == 105
    assert np.array_equal(index, np.arange(105))


def test_no_topologies_have_no_distinct_ones():
    distinct, index = unique_topologies(np.empty((0, 4, 2), dtype=np.int32))
    assert distinct.shape == (0, 4, 2)
    assert index.shape == (0,)


@pytest.mark.parametrize(("n_taxa", "words"), [(5, 1), (64, 1), (65, 2), (130, 3)])
def test_clade_bitsets_agree_with_sets(n_taxa, words):
    children = random_topologies(n_taxa, 3, np.random.default_rng(n_taxa))
    bits = clade_bitsets(children)
    assert bits.shape == (3, 2 * n_taxa - 2, words)
    assert bits.dtype == np.uint64
    for t in range(3):
        for node, clade in enumerate(reference.clades_of_children(children[t].tolist())):
            value = sum(int(word) << (64 * w) for w, word in enumerate(bits[t, node]))
            assert value == sum(1 << taxon for taxon in clade)


# Newick


@pytest.mark.parametrize("n_taxa", [3, 4, 27, 70])
def test_newick_round_trip_keeps_topology_and_lengths(n_taxa):
    rng = np.random.default_rng(n_taxa)
    for children in random_topologies(n_taxa, 20, rng):
        lengths = rng.exponential(0.1, size=2 * n_taxa - 3)
        found, back = parse_newick(to_newick(children, names(n_taxa), lengths), names(n_taxa))
        assert np.array_equal(found, children)
        np.testing.assert_allclose(back, lengths, rtol=5e-16)


def test_dendropy_reads_what_is_written():
    import dendropy

    taxa = ["a b", "it's", "c_d", "e(1)", "f", "g:2", "h", "i"]
    rng = np.random.default_rng(4)
    for children in random_topologies(len(taxa), 10, rng):
        lengths = rng.exponential(size=13)
        text = to_newick(children, taxa, lengths)
        tree = dendropy.Tree.get(
            data=text, schema="newick", rooting="force-unrooted", preserve_underscores=True
        )
        assert sorted(tree.taxon_namespace.labels()) == sorted(taxa)
        found = {}
        for edge in tree.preorder_edge_iter():
            if edge.length is not None:
                side = frozenset(taxa.index(leaf.taxon.label) for leaf in edge.head_node.leaf_iter())
                found[frozenset(range(8)) - side if 0 in side else side] = edge.length
        assert found == split_lengths(children.tolist(), lengths)


def test_what_dendropy_writes_is_read(tmp_path):
    import dendropy

    taxa = [f"t {k}" for k in range(12)]
    namespace = dendropy.TaxonNamespace(taxa)
    rng = np.random.default_rng(9)
    children = random_topology(12, rng)
    lengths = rng.exponential(size=21).round(6)
    tree = dendropy.Tree.get(
        data=to_newick(children, taxa, lengths), schema="newick", taxon_namespace=namespace,
        rooting="force-unrooted",
    )  # fmt: skip
    tree.reroot_at_edge(tree.find_node_with_taxon_label("t 7").edge, length1=0.25, length2=0.5)
    expected = split_lengths(children.tolist(), lengths)
    expected[frozenset([7])] = 0.75
    for text in (tree.as_string("newick"), tree.as_string("newick", unquoted_underscores=True)):
        found, back = parse_newick(text.replace("[&R]", ""), taxa)
        assert np.array_equal(found, children)
        assert split_lengths(found.tolist(), back) == pytest.approx(expected, rel=1e-12)


def test_labels_of_internal_nodes_are_written():
    children, _ = parse_newick("(a,b,(c,(d,e)));", "abcde")
    text = to_newick(children, list("abcde"), labels=["0.9", "", "x y"])
    assert text == "(a,b,(c,(d,e)0.9))'x y';"
    assert np.array_equal(parse_newick(text, "abcde")[0], children)


TAXA = ("a", "b_c", "d e", "it's")


@pytest.mark.parametrize(
    "text",
    [
        "(a,b_c,('d e','it''s'));",
        "(a,'b c',(d_e,it's));",
        "(\"a\",'b_c',('d e',\"it's\"));",
        "((a,b_c),(d_e,it's));",
        "(it's,d_e,(b_c,a));",
        "[&R] [a; comment] ( a , b_c[&x={1,2}] ,\n\t(d_e , it's)0.9 [(,;] )root ;",
        "((a,b_c)'in;ner',(d_e,it's)100[100])'';",
    ],
)
def test_ways_to_write_one_tree(text):
    children, lengths = parse_newick(text, TAXA)
    assert children.tolist() == [[2, 3], [1, 4]]
    assert lengths is None


@pytest.mark.parametrize(
    "text",
    [
        "((a:1,b_c:2):0.25,(d_e:3,it's:4):0.5);",
        "((a:1,b_c:2)x:.25[&r=2],(d_e:[&rate=1]3.,it's: 4e0)1.0:5E-1):0.1;",
        "(it's:+4,d_e:30e-1,(b_c:2.000,a:0001):0.75);",
    ],
)
def test_ways_to_write_lengths(text):
    children, lengths = parse_newick(text, TAXA)
    assert children.tolist() == [[2, 3], [1, 4]]
    assert lengths.tolist() == [2, 3, 4, 0.75, 1]


def test_a_label_that_fits_two_taxa_fits_none():
    taxa = ("a_b_c", "a b c", "y", "z")
    assert parse_newick("(a_b_c,y,('a b c',z));", taxa)[0].tolist() == [[1, 3], [4, 2]]
    with pytest.raises(TreeError, match="not in the alignment: 'a_b c'"):
        parse_newick("(a_b_c,y,('a_b c',z));", taxa)


def test_lengths_are_read_as_python_reads_them():
    rng = np.random.default_rng(0)
    numbers = [f"{x:.{d}{form}}" for d in (0, 3, 6, 14) for form in "fe" for x in rng.exponential(size=50)]
    for start in range(0, len(numbers) - 2, 3):
        written = numbers[start : start + 3]
        _, lengths = parse_newick("(a:{},b:{},c:{});".format(*written), "abc")
        assert sorted(lengths) == sorted(map(float, written))
    hard = [
        "123456789012345678901234567890",
        "0.1234567890123456789",
        "4.9e-324",
        "1e-400",
        "1e308",
        "00.5e+01",
    ]
    for text in hard:
        _, lengths = parse_newick(f"(a:{text},b:0,c:0);", "abc")
        assert math.isclose(lengths[2], float(text), rel_tol=5e-16)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the tree is cut short"),
        ("(a,b_c", "the tree is cut short"),
        ("(a,b_c,(d_e,it's))", "the tree is cut short"),
        ("(a,b_c,(d_e,'it''s", "the tree is cut short"),
        ("(a,b_c,(d_e,it's);", "the parentheses are unbalanced"),
        ("(a,b_c,(d_e,it's)));", "the parentheses are unbalanced"),
        ("((((((a", "the parentheses are unbalanced"),
        ("(a,b_c),d_e;", "the parentheses are unbalanced"),
        ("(a,b_c,d_e,it's);", "a node has more than two children"),
        ("(a,(b_c,d_e,it's));", "a node has more than two children"),
        ("((a),b_c,(d_e,it's));", "a node has a single child"),
        ("(a,b_c,(d_e,x));", "not in the alignment: 'x'; not in the tree: \"it's\""),
        ("(a,b_c,d_e);", "its taxa are not those of the alignment; not in the tree: \"it's\""),
        ("(a,b_c,(d_e,(it's,b_c)));", "taxon 'b_c' is in the tree twice"),
        ("(a:1,b_c:x,(d_e:1,it's:1):2);", "a branch length is not a finite number, at \"x,("),
        ("(a:1,b_c:,(d_e:1,it's:1):2);", "a branch length is not a finite number, at \",("),
        ("(a:1,b_c:1e,(d_e:1,it's:1):2);", "a branch length is not a finite number, at \"1e,"),
        ("(a:1,b_c:nan,(d_e:1,it's:1):2);", "a branch length is not a finite number"),
        ("(a:1,b_c:1e999,(d_e:1,it's:1):2);", "a branch length is not a finite number"),
        ("(a:1,b_c:1.2.3,(d_e:1,it's:1):2);", "a branch length is not a finite number"),
        ("(a:1,b_c:-1e-3,(d_e:1,it's:1):2);", "a branch length is negative, at \"-1e-3,("),
        ("(a:1,b_c:1,(d_e:1,it's:1));", "some branches have lengths and others have none"),
        ("(a:1:2,b_c:1,(d_e:1,it's:1):1);", "this is not Newick, at \":2,b_c"),
        ("(a b,b_c,(d_e,it's));", "this is not Newick, at \"b,b_c"),
        ("(,b_c,(d_e,it's));", "this is not Newick, at \",b_c"),
        ("(a,b_c,(d_e,it's)(a,b));", "this is not Newick, at '(a,b));'"),
        ("a;", "this is not Newick, at 'a;'"),
    ],
)  # fmt: skip
def test_a_bad_tree_is_refused_in_one_line_that_names_the_fault(text, problem):
    with pytest.raises(TreeError) as caught:
        parse_newick(text, TAXA)
    message = str(caught.value)
    assert message.startswith("Newick text, line 1, tree 1: ")
    assert problem in message
    assert "\n" not in message


def test_too_few_taxa_are_refused():
    with pytest.raises(TreeError, match="needs at least 3"):
        parse_newick("(a,b);", "ab")


def test_corrupted_text_is_read_or_refused():
    rng = np.random.default_rng(12)
    taxa = ("a", "b_c", "d e", "it's", "f")
    letters = list("()[],;:'\" \nab_1.eE-+&") + list("(),:;") * 3
    listed = enumerate_topologies(5)
    refused = 0
    for k in range(1500):
        text = list(to_newick(listed[k % 15], taxa, rng.exponential(size=7).round(3), labels=["x", "", "'"]))
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(text))
            text[at : at + rng.integers(2)] = letters[rng.integers(len(letters))] * rng.integers(2)
        try:
            children, lengths = parse_newick("".join(text), taxa)
        except TreeError:
            refused += 1
        else:
            assert np.array_equal(canonicalise(children[None])[0][0], children)
            assert lengths is None or (lengths >= 0).all()
    assert 500 < refused < 1500

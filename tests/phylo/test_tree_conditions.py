"""Tree files as programs leave them: names changed, trees cut short, polytomies, tables, taxa too many, encodings.

Judges: counts by hand, and DendroPy's pruning.
"""

import gzip
import re

import numpy as np
import pytest

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.files import read_tree_file
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, parse_newick, random_topologies, to_newick

TAXA = ("a", "b_c", "d", "e", "f")
LISTED = enumerate_topologies(5)


def newick(k, taxa=TAXA):
    return to_newick(LISTED[k], taxa)


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="sample.tree"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def numbers(sample):
    """Which of LISTED each tree is."""
    place = {children.tobytes(): k for k, children in enumerate(LISTED)}
    return [place[sample.children[k].tobytes()] for k in sample.tree_topology]


# Names


ODD = ("A@lab#1", "B(x)", "it's", "C,d", "D:e", "plain.name")


@pytest.mark.parametrize("quotes", ["", "'"])
def test_names_that_iqtree_changed_are_matched_and_said(write, quotes):
    changed = [quotes + re.sub(r"[^\w.|/-]", "_", name) + quotes for name in ODD]
    tree = enumerate_topologies(6)[40]
    text = to_newick(tree, [f"x{k}x" for k in range(6)])
    for k, name in enumerate(changed):
        text = text.replace(f"x{k}x", name)
    sample = read_tree_sample([write(2 * (text + "\n"))], ODD)
    assert np.array_equal(sample.children[0], tree)
    assert "'A@lab#1' is 'A_lab_1', 'B(x)' is 'B_x_'" in " ".join(sample.notes)


def test_names_changed_in_a_later_tree_or_in_a_translate_table_are_matched(write):
    taxa = ("a", "b+1", "d", "e", "f")
    other = ("a", "b_1", "d", "e", "f")
    sample = read_tree_sample([write(newick(4, taxa) + newick(4, other) + newick(5, other))], taxa)
    assert numbers(sample) == [4, 4, 5]
    table = "#NEXUS begin trees; translate 1 a, 2 b_1, 3 d, 4 e, 5 f; tree t = "
    text = table + newick(4, ("1", "2", "3", "4", "5")) + "end;"
    assert numbers(read_tree_sample([write(text)], taxa)) == [4]


def test_names_that_two_taxa_could_have_are_shown_on_both_sides(write):
    with pytest.raises(TreeError, match=r"not in the alignment: 'x_1'; not in the tree: 'x@1', 'x#1'"):
        read_tree_sample([write("(a,x_1,(d,e));")], ("a", "x@1", "x#1", "d", "e"))


def test_a_name_is_not_taken_for_a_taxon_that_the_tree_has(write):
    with pytest.raises(TreeError, match=r"not in the alignment: 'a_1'; not in the tree: 'f'"):
        read_tree_sample([write("(a+1,a_1,(b,(d,e)));")], ("a+1", "b", "d", "e", "f"))


# Cut short


def test_a_last_tree_cut_short_is_left_out_and_said(write):
    whole = newick(3) + "\n" + newick(7) + "\n"
    for cut in ("(", "(a,(b_c", newick(2)[:-1], "[&U] (a"):
        sample = read_tree_sample([write(whole + cut)], TAXA)
        assert numbers(sample) == [3, 7]
        assert len(sample.notes) == 1
        assert sample.notes[0].endswith("its last tree, line 3, is cut short and left out")
    nexus = "#NEXUS\nbegin trees;\ntree x = " + newick(3) + "\ntree y = " + newick(7) + "\n"
    for cut in ("tree z = [&U] (a,(b", "tree z ="):
        sample = read_tree_sample([write(nexus + cut)], TAXA)
        assert numbers(sample) == [3, 7]
        assert "its last tree, line 5, is cut short" in sample.notes[0]


def test_a_block_without_its_end_is_said(write):
    text = "#NEXUS\nbegin trees;\ntree x = " + newick(3) + "\n"
    (note,) = read_tree_sample([write(text)], TAXA).notes
    assert note.endswith("its block of trees has no END; the 1 trees before the end of the file are used")
    for end in ("end;", "ENDBLOCK;", "end", "end;\nbegin notes; x; end;"):
        assert read_tree_sample([write(text + end)], TAXA).notes == ()


def test_the_only_tree_cut_short_is_refused(write):
    with pytest.raises(TreeError, match="line 1, tree 1: the tree is cut short"):
        read_tree_sample([write("(a,(b_c,(d,e")], TAXA)


# Polytomies


def test_polytomies_are_resolved_in_every_way_with_the_same_probability(write):
    count = 6_000
    sample = read_tree_sample([write(count * "(a,b_c,d,e,f);")], TAXA, seed=3)
    found = np.bincount(numbers(sample), minlength=15)
    # Multinomial: 400 of each, standard deviation 19.3.
    assert np.abs(found - count / 15).max() < 4 * np.sqrt(count * 14 / 225)
    assert sample.notes[0].endswith("6,000 of 6,000 trees have polytomies, which are resolved at random")


@pytest.mark.parametrize("text", ["(a,b_c,(d,e,f));", "((a,b_c),(d,e,f));", "(a,((d,e,f),b_c));", "((f,e,d),a,b_c);"])
def test_what_is_resolved_stays(write, text):
    count = 900
    found = np.bincount(numbers(read_tree_sample([write(count * text)], TAXA)), minlength=15)
    expected = {newick_number(f"(a,b_c,(({x},{y}),{z}));") for x, y, z in ("def", "dfe", "efd")}
    assert set(np.flatnonzero(found)) == expected
    assert np.abs(found[sorted(expected)] - 300).max() < 4 * np.sqrt(900 * 2 / 9)


def newick_number(text):
    children, _ = parse_newick(text, TAXA)
    return next(k for k in range(15) if np.array_equal(LISTED[k], children))


def test_the_seed_decides_and_resolved_trees_are_as_without(write):
    path = write("".join(newick(k) + "(a,b_c,d,e,f);" for k in range(15)) * 20)
    one, again, other = (numbers(read_tree_sample([path], TAXA, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert one[::2] == list(range(15)) * 20


def test_new_edges_have_length_0_and_others_keep_theirs(write):
    file = read_tree_sample([write("(a:1,b_c:2,d:3,e:4,f:5);")], TAXA)
    assert sorted(file.lengths[0].tolist()) == [0, 0, 1, 2, 3, 4, 5]
    assert read_tree_sample([write("(a,b_c,d,e,f);")], TAXA).lengths is None


def test_a_fixed_topology_has_no_polytomy(write):
    path = write(newick(1) + "\n(a,b_c,(d,e,f));")
    with pytest.raises(TreeError, match=r"sample.tree, line 2, tree 2: a node has more than two children"):
        read_tree_file(path, TAXA)


# Lengths below 0


def test_lengths_just_below_0_are_0_where_topologies_are_used(write):
    path = write("(a:0.1,b_c:-0.0001,(d:0.1,(e:1,f:2):-1e-9):3);")
    sample = read_tree_sample([path], TAXA)
    assert sorted(sample.lengths[0].tolist()) == [0, 0, 0.1, 0.1, 1, 2, 3]
    assert sample.notes[0].endswith("1 of 1 trees have branch lengths just below 0, which are read as 0")
    with pytest.raises(TreeError, match=r"a branch length is negative, at '-0.0001,"):
        read_tree_file(path, TAXA)
    with pytest.raises(TreeError, match=r"a branch length is negative, at '-0.1,"):
        read_tree_sample([write("(a:0.1,b_c:-0.1,(d:0.1,(e:1,f:2):1):3);")], TAXA)


# Tables


@pytest.mark.parametrize("end", [";", ""])
@pytest.mark.parametrize("comment", ["", "# RevBayes\n#\n"])
def test_tables_of_revbayes(write, end, comment):
    trees = [newick(k)[:-1].replace("a", "a[&index=1]") + "[&index=9]" + end for k in (3, 7, 3, 8)]
    rows = "".join(f"{k * 10}\t-1.5\t-1\t-0.5\t{tree}\n" for k, tree in enumerate(trees))
    text = f"{comment}Iteration\tPosterior\tLikelihood\tPrior\tpsi\n{rows}"
    sample = read_tree_sample([write(text)], TAXA)
    assert numbers(sample) == [3, 7, 3, 8]
    assert sample.is_trace
    assert numbers(read_tree_sample([write(text + "40\t-1")], TAXA)) == [3, 7, 3, 8]
    if end:
        sample = read_tree_sample([write(text[:-20])], TAXA)
        assert numbers(sample) == [3, 7, 3]
        assert "is cut short and left out" in sample.notes[0]


def test_a_bad_tree_of_a_table_is_named_by_the_line_of_the_table(write):
    text = f"Iteration\tpsi\n0\t{newick(1)}\n1\t(a,b_c,(d,(e,g)));\n"
    with pytest.raises(TreeError, match="line 3, tree 2: its taxa are not those"):
        read_tree_sample([write(text)], TAXA)


# Taxa too many


def test_pruned_trees_are_those_of_dendropy(write):
    import dendropy

    rng = np.random.default_rng(5)
    everyone = tuple(f"t{k}" for k in range(12))
    kept = tuple(everyone[k] for k in (1, 2, 4, 5, 7, 9, 10))
    texts, expected = [], []
    for children in random_topologies(12, 60, rng):
        text = to_newick(children, everyone, rng.exponential(size=21).round(6))
        if len(texts) % 2:
            # Rooted, at another place.
            tree = dendropy.Tree.get(data=text, schema="newick", rooting="force-unrooted")
            edge = tree.edges()[5]
            tree.reroot_at_edge(edge, edge.length / 2, edge.length / 2, update_bipartitions=False)
            text = tree.as_string("newick", suppress_rooting=True)
        tree = dendropy.Tree.get(data=text, schema="newick", rooting="force-unrooted")
        tree.retain_taxa_with_labels(kept)
        texts.append(text)
        expected.append(parse_newick(tree.as_string("newick", suppress_rooting=True), kept))
    path = write("\n".join(texts))
    sample = read_tree_sample([path], kept, prune=True)
    assert np.array_equal(sample.children[sample.tree_topology], [children for children, _ in expected])
    np.testing.assert_allclose(sample.lengths, [lengths for _, lengths in expected], rtol=1e-9)
    assert "taxa that the alignment lacks are left out of 60 of 60 trees: 't" in sample.notes[0]
    with pytest.raises(TreeError, match=r"not in the alignment: 't\d+', .*; --prune leaves them out of the trees"):
        read_tree_sample([path], kept)


@pytest.mark.parametrize("text", [
    "((a,b_c,(d,(e,f))),g);", "(g,(a,b_c,(d,(e,f))));", "(((a,b_c),(d,(e,f))),(g,h));", "((g,(h,i)),((a,b_c),(d,(e,f))));",
    "(a,b_c,(d,(e,(g,(h,(i,(j,(k,(l,f)))))))));", "((g,a),(b_c,h),(d,i,(e,(f,j))));",
])  # fmt: skip
def test_pruning_leaves_the_tree_of_the_taxa(write, text):
    assert numbers(read_tree_sample([write(text)], TAXA, prune=True)) == [newick_number("(a,b_c,(d,(e,f)));")]


def test_taxa_that_a_tree_lacks_are_refused_all_the_same(write):
    for text in ("(a,b_c,(d,(e,g)));", "(g,h,(i,j));"):
        with pytest.raises(TreeError, match=r"not in the tree: .*'f'"):
            read_tree_sample([write(text)], TAXA, prune=True)


# Traces


def trace(word, count=8):
    body = "".join(f"tree {word}{100 * k} [&lnP=-1] = [&U] {newick(k)}\n" for k in range(count))
    return f"#NEXUS\nbegin trees;\n{body}end;\n"


def test_burn_in_of_traces_is_dropped_and_said_where_it_is_asked_for(write):
    for word in ("gen.", "rep.", "STATE_"):
        path = write(trace(word))
        sample = read_tree_sample([path], TAXA, trace_burn_in=0.25)
        assert numbers(sample) == [2, 3, 4, 5, 6, 7]
        assert "of which the first 25% is dropped" in sample.notes[0]
        assert read_tree_sample([path], TAXA, burn_in=1, trace_burn_in=0.25).tree_topology.size == 7
    for text in (trace("x"), "".join(map(newick, range(8))), trace("gen.").replace("[&U]", "[&W 1]")):
        sample = read_tree_sample([write(text)], TAXA, trace_burn_in=0.25)
        assert sample.tree_topology.size == 8
        assert sample.notes == ()


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_do_not_matter(write, encoding, line_end):
    taxa = ("a", "bär", "d", "e", "f")
    text = "#NEXUS\nbegin trees;\ntree x = " + newick(3, taxa) + "\ntree y = (a,bär,(d,(e,q)));\nend;\n"
    data = text.replace("\n", line_end).encode(encoding)
    for content in (data, gzip.compress(data)):
        with pytest.raises(TreeError, match=r"line 4, tree 2: .* not in the alignment: 'q'"):
            read_tree_sample([write(content)], taxa)
    data = text.replace("q", "f").replace("\n", line_end).encode(encoding)
    assert numbers(read_tree_sample([write(data)], taxa)) == [3, newick_number("(a,b_c,(d,(e,f)));")]

"""Tree samples: every format of tree file, weights, burn-in, highest-density sets, and what is refused.

Judges: DendroPy's readers, plain Python over the text of the golden MrBayes runs, and Counter.
"""

import gzip
import re
from collections import Counter

import numpy as np
import pytest
from reference import topologies as reference

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.trees.sample import expand_paths, find_tree_samples, read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, parse_newick, random_topologies, to_newick

TAXA = ("a", "b_c", "d", "e", "f")
LISTED = enumerate_topologies(5)
THREE = (3, 7, 3)


def newick(k, lengths=None, taxa=TAXA):
    return to_newick(LISTED[k], taxa, lengths)


def numbered(k, lengths=None):
    return newick(k, lengths, ("1", "2", "3", "4", "5"))


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="sample.tree"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def newick_list(topologies):
    return "".join(newick(k) + "\n" for k in topologies)


def nexus(body, translate="translate 1 a, 2 b_c, 3 d,\n 4 e, 5 f;"):
    return f"#NEXUS\n\n[ID: 1; it's a run]\nbegin trees;\n   {translate}\n{body}end;\n"


def trprobs(pairs):
    return nexus(
        "".join(
            f"   tree tree_{i} [p = 0, P = 0] = [&W {w}] {numbered(k)}\n" for i, (k, w) in enumerate(pairs)
        )
    )


def contents(sample):
    """{topology by its place in LISTED: weight}, after checking what every sample must satisfy."""
    assert sample.children.dtype == np.int32
    assert sample.tree_topology.dtype == np.int32
    assert sample.weights.sum() == pytest.approx(1)
    assert sample.tree_weights.sum() == pytest.approx(1)
    assert np.all(np.diff(sample.weights) <= 0)
    summed = np.bincount(sample.tree_topology, sample.tree_weights, sample.weights.size)
    np.testing.assert_allclose(sample.weights, summed, rtol=1e-12)
    place = {children.tobytes(): k for k, children in enumerate(LISTED)}
    found = {place[c.tobytes()]: float(w) for c, w in zip(sample.children, sample.weights, strict=True)}
    assert len(found) == sample.weights.size
    return found


# Formats


def test_a_newick_list_counts_its_topologies(write):
    topologies = np.random.default_rng(1).integers(0, 15, size=200)
    path = write(newick_list(topologies))
    sample = read_tree_sample([path], TAXA)
    expected = {int(k): count / 200 for k, count in Counter(topologies.tolist()).items()}
    assert contents(sample) == pytest.approx(expected)
    assert sample.taxa == TAXA
    assert sample.lengths is None
    assert sample.sources == (str(path),)
    assert np.array_equal(sample.children[sample.tree_topology], LISTED[topologies])


@pytest.mark.parametrize(
    "text",
    [
        newick(3) + newick(7) + " " + newick(3),
        newick(3) + "\r\n" + newick(7) + "\r\n\r\n" + newick(3) + "\r\n",
        "\ufeff[&R]" + newick(3) + "[;(]" + newick(7).replace(",", ",\n") + newick(3).replace("b_c", "'b c'"),
        nexus("tree x = [&U] {}\ntree 'y = (' = [&R] {} utree *z={}\n".format(*map(numbered, THREE))),
        nexus("\tTREE * x={}\n Tree y ={}\ntree z [a=b] [&W 1] = [&p=(2)] {}".format(*map(newick, THREE))),
        nexus("".join(f"tree t={newick(k)}\n" for k in THREE), translate=""),
        nexus("".join(f"tree t={numbered(k)}\n" for k in THREE), "translate 1 'a',2 'b c',3 d,4 [x] e,5\tf;"),
        "#NEXUS begin taxa; dimensions ntax=5; taxlabels a b_c 'd' e f; end;\n"
        + nexus("".join(f"tree t={numbered(k)}\n" for k in THREE), translate="")[6:],
        "#nexus " + nexus("".join(f"tree t={numbered(k)}\n" for k in THREE))[6:].replace("end;", ""),
    ],
    ids=["one line", "crlf", "comments", "nexus", "names", "untranslated", "quoted", "taxlabels", "no end"],
)  # fmt: skip
def test_formats_of_the_same_three_trees(write, text):
    for path in (write(text), write(gzip.compress(text.encode()), "packed")):
        sample = read_tree_sample([path], TAXA)
        assert sample.tree_topology.tolist() == [0, 1, 0]
        assert contents(sample) == pytest.approx({3: 2 / 3, 7: 1 / 3})


def test_the_translate_block_decides_which_taxon_a_number_is(write):
    path = write(nexus(f"tree t = {numbered(4)}", "translate 1 f, 2 e, 3 d, 4 b_c, 5 a;"))
    sample = read_tree_sample([path], TAXA)
    expected, _ = parse_newick(newick(4, taxa=("f", "e", "d", "b_c", "a")), TAXA)
    assert np.array_equal(sample.children[0], expected)


def test_weights_and_repeated_topologies_of_trprobs(write):
    sample = read_tree_sample([write(trprobs([(3, 0.5), (7, 0.25), (3, 0.125), (8, 0)]))], TAXA)
    assert contents(sample) == pytest.approx({3: 0.625 / 0.875, 7: 0.25 / 0.875, 8: 0})
    np.testing.assert_allclose(sample.tree_weights, np.array([0.5, 0.25, 0.125, 0]) / 0.875)


def test_weights_may_be_fractions_and_default_to_one(write):
    body = f"tree a = [&U] [&W 1/4] {numbered(3)} tree b = [&w 3/4] {numbered(7)} tree c = {numbered(8)}"
    assert contents(read_tree_sample([write(nexus(body))], TAXA)) == pytest.approx(
        {3: 1 / 8, 7: 3 / 8, 8: 1 / 2}
    )


def test_beast_annotations_and_lengths(write):
    text = nexus(
        "tree STATE_0 [&lnP=-1.5,x={1,2}] = [&R] (((1[&rate=1.0]:0.5,2[&rate=2]:1.5)[&rate=1]:0.25,3:2)"
        ":[&rate=9]1,(4:3,5:4)[&posterior=1]:0.5)[&height=9]:0;\n"
    )
    sample = read_tree_sample([write(text)], TAXA)
    children, lengths = parse_newick("(((a:0.5,b_c:1.5):0.25,d:2):1.5,e:3,f:4);", TAXA)
    assert np.array_equal(sample.children[0], children)
    assert sample.lengths.tolist() == [lengths.tolist()]


def test_lengths_follow_the_trees_and_need_every_tree(write):
    rng = np.random.default_rng(3)
    lengths = rng.exponential(size=(20, 7)).round(6)
    text = "".join(newick(k % 15, lengths[k]) + "\n" for k in range(20))
    full = write(text, "full")
    bare = write(newick_list([0]), "bare")
    sample = read_tree_sample([full], TAXA)
    assert np.array_equal(sample.lengths, lengths)
    assert read_tree_sample([full, bare], TAXA).lengths is None
    assert read_tree_sample([write(text + newick(0), "mixed")], TAXA).lengths is None
    assert np.array_equal(read_tree_sample([full], TAXA, burn_in=5).lengths, lengths[5:])


def test_dendropy_files_are_read(tmp_path):
    import dendropy

    rng = np.random.default_rng(7)
    taxa = tuple(f"taxon {k}" for k in range(9))
    children = random_topologies(9, 25, rng)
    texts = [to_newick(c, taxa, rng.exponential(size=15).round(9)) for c in children]
    trees = dendropy.TreeList.get(data="\n".join(texts), schema="newick", rooting="force-unrooted")
    trees.write(path=str(tmp_path / "x.nex"), schema="nexus", translate_tree_taxa=True)
    trees.write(path=str(tmp_path / "x.nwk"), schema="newick", suppress_rooting=False)
    for name in ("x.nex", "x.nwk"):
        sample = read_tree_sample([tmp_path / name], taxa)
        assert np.array_equal(sample.children[sample.tree_topology], children)
        np.testing.assert_allclose(
            sample.lengths, [parse_newick(text, taxa)[1] for text in texts], rtol=1e-12
        )


# Burn-in, highest density, several files


@pytest.mark.parametrize(
    ("burn_in", "kept"), [(0, 100), (0.0, 100), (29, 71), (0.29, 71), (0.999, 1), (99, 1)]
)
def test_burn_in_drops_from_the_front_of_each_file(write, burn_in, kept):
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, 15, size=(2, 100))
    paths = [write(newick_list(one), "one"), write(newick_list(other), "other")]
    sample = read_tree_sample(paths, TAXA, burn_in=burn_in)
    expected = np.concatenate([LISTED[one[-kept:]], LISTED[other[-kept:]]])
    assert np.array_equal(sample.children[sample.tree_topology], expected)
    contents(sample)


@pytest.mark.parametrize(
    ("hpd", "kept"), [(0.5, [2]), (0.51, [2, 4]), (0.8, [2, 4]), (0.801, [2, 4, 6]), (1.0, [2, 4, 6, 8])]
)
def test_hpd_keeps_the_fewest_topologies_that_reach_it(write, hpd, kept):
    weights = {2: 0.5, 4: 0.3, 6: 0.15, 8: 0.05}
    path = write(trprobs([(8, 0.05), (4, 0.3), (6, 0.15), (2, 0.5)]))
    total = sum(weights[k] for k in kept)
    sample = read_tree_sample([path], TAXA, hpd=hpd)
    assert contents(sample) == pytest.approx({k: weights[k] / total for k in kept})


def test_hpd_and_burn_in_leave_each_tree_its_lengths(write):
    """Nine trees, each of lengths of its own; the first two are burn-in, and the third's topology is the rarest."""
    places = [2, 2, 4, 6, 2, 6, 2, 6, 2]
    lengths = (np.arange(9)[:, None] + 1) / 100 + np.arange(7)[None] / 1000
    text = "".join(newick(k, row) for k, row in zip(places, lengths, strict=True))
    sample = read_tree_sample([write(text)], TAXA, burn_in=2, hpd=0.8)
    assert contents(sample) == pytest.approx({2: 0.5, 6: 0.5})
    kept = [3, 4, 5, 6, 7, 8]
    assert np.array_equal(sample.children[sample.tree_topology], LISTED[[places[k] for k in kept]])
    np.testing.assert_allclose(sample.lengths, lengths[kept], rtol=1e-12)


def test_hpd_is_taken_per_file_and_files_weigh_the_same(write):
    one = write(newick_list([2] * 60 + [4] * 36 + [6] * 4), "one")
    other = write(newick_list([6] * 9 + [8]), "other")
    everything = contents(read_tree_sample([one, other], TAXA))
    assert everything == pytest.approx({2: 0.3, 4: 0.18, 6: 0.02 + 0.45, 8: 0.05})
    trimmed = contents(read_tree_sample([one, other], TAXA, hpd=0.9))
    assert trimmed == pytest.approx({2: 60 / 96 / 2, 4: 36 / 96 / 2, 6: 0.5})


def test_part_of_a_sample_is_a_sample(write):
    text = "".join(newick(k, np.full(7, 0.1 * (k + 1))) for k in (2, 4, 2, 6, 2, 4, 8, 2, 6, 2))
    sample = read_tree_sample([write(text)], TAXA)
    part = sample.only(np.array([np.array_equal(each, LISTED[2]) or np.array_equal(each, LISTED[6]) for each in sample.children]))
    assert contents(part) == pytest.approx({2: 5 / 7, 6: 2 / 7})
    np.testing.assert_allclose(part.lengths[:, 0], [0.3, 0.3, 0.7, 0.3, 0.3, 0.7, 0.3])


def test_lengths_just_below_zero_are_zero(write):
    sample = read_tree_sample([write("(a:-0.0009,b_c:1,(d:1,(e:1,f:1):1):1);")], TAXA)
    assert sorted(sample.lengths[0]) == [0.0, 1, 1, 1, 1, 1, 1]
    with pytest.raises(TreeError, match="negative"):
        read_tree_sample([write("(a:-0.0012,b_c:1,(d:1,(e:1,f:1):1):1);")], TAXA)


def test_polytomies_are_resolved_by_seed_0_unless_another_is_given(write):
    path = write(20 * "(a,b_c,d,e,f);")
    found, *others = (read_tree_sample([path], TAXA, **seed).tree_topology.tolist() for seed in ({}, {"seed": 0}, {"seed": 1}))
    assert found == others[0] != others[1]


# Golden samples


def judged_trprobs(path, taxa):
    """{splits: weight} of a .trprobs file, by regular expressions and nested tuples."""
    with gzip.open(path, "rt") as stream:
        text = stream.read()
    label = dict(re.findall(r"^\s+(\d+) (\S+)[,;]$", text, flags=re.MULTILINE))
    tokens = [label_name for _, label_name in sorted(label.items(), key=lambda item: int(item[0]))]
    order = [taxa.index(name) for name in tokens]
    trees = {}
    for weight, tree in re.findall(r"\[&W ([\d.]+)\] (\(.*;)", text):
        nested = reference.read_newick(tree, [str(k + 1) for k in range(len(taxa))])
        key = frozenset(frozenset(order[k] for k in side) for side in reference.splits(nested))
        trees[key] = trees.get(key, 0.0) + float(weight)
    return trees


def test_golden_run_of_ds1(benchmark_data):
    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.fasta").taxa
    path = folder / "golden" / "rep_1.trprobs.gz"
    sample = read_tree_sample([path], taxa)
    expected = judged_trprobs(path, taxa)
    assert len(sample.weights) == len(expected) == 1209
    total = sum(expected.values())
    everyone = frozenset(range(27))
    for children, weight in zip(sample.children.tolist(), sample.weights, strict=True):
        below = reference.clades_of_children(children)
        assert below[-1] == everyone - {0}
        assert expected[frozenset(below[1:])] / total == pytest.approx(weight)
    # The file itself says 0.281014 and 0.199961 for its first two trees.
    assert sample.weights[:2] == pytest.approx([0.281014 / total, 0.199961 / total])


def test_dendropy_judges_the_credible_set_of_ds1(benchmark_data):
    import dendropy

    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.fasta").taxa
    paths = expand_paths([folder / "golden" / "rep_*.trprobs.gz"])
    sample = read_tree_sample(paths, taxa)
    namespace = dendropy.TaxonNamespace([name.replace("_", " ") for name in taxa])
    with gzip.open(folder / "credible_set" / "DS1.credible_set.tsv.gz", "rt") as stream:
        lines = [line.split("\t") for line in stream]
    known = {}
    for weight, text in lines:
        tree = dendropy.Tree.get(
            data=text, schema="newick", taxon_namespace=namespace, rooting="force-unrooted"
        )
        tree.encode_bipartitions()
        known[frozenset(b.split_bitmask for b in tree.bipartition_encoding)] = float(weight)
    for children, weight in zip(sample.children[:10], sample.weights[:10], strict=True):
        text = to_newick(children, taxa)
        tree = dendropy.Tree.get(
            data=text, schema="newick", taxon_namespace=namespace, rooting="force-unrooted"
        )
        tree.encode_bipartitions()
        other = known[frozenset(b.split_bitmask for b in tree.bipartition_encoding)]
        # Other runs of the same posterior, by another group.
        assert weight == pytest.approx(other, rel=0.15)


def test_ufboot_replicates_of_ds1(benchmark_data):
    folder = benchmark_data / "DS1"
    taxa = read_alignment(folder / "DS1.fasta").taxa
    paths = find_tree_samples(folder / "DS1.fasta")[:2]
    assert [path.name for path in paths] == ["rep_1.ufboot.gz", "rep_2.ufboot.gz"]
    sample = read_tree_sample(paths, taxa)
    assert sample.tree_topology.size == 20_000
    place = {}
    for path in paths:
        with gzip.open(path, "rt") as stream:
            for line in stream:
                place[line] = place.get(line, 0) + 1
    # IQ-TREE writes one topology in one way, so lines are topologies.
    assert sample.weights.size == len(place)
    assert sample.weights[0] == pytest.approx(max(place.values()) / 20_000)
    assert np.array_equal(np.sort(sample.weights * 20_000).round(), np.sort(list(place.values())))


def test_all_families_of_a_benchmark_are_read(benchmark_data):
    for name, family, count in (
        ("DS5", "mb_10M/DS5.trprobs.gz", 7252),
        ("DS8", "mrbayes_short/rep_1.trprobs.gz", 3151),
    ):
        taxa = read_alignment(benchmark_data / name / f"{name}.nex").taxa
        sample = read_tree_sample([benchmark_data / name / family], taxa)
        assert sample.weights.size == count
    taxa = read_alignment(benchmark_data / "DS1" / "DS1.fasta").taxa
    paup = read_tree_sample([benchmark_data / "DS1" / "bootstrap_nj" / "rep_1.tre.gz"], taxa)
    assert paup.tree_topology.size == 8000
    parsimony = read_tree_sample([benchmark_data / "DS1" / "bootstrap_mp" / "rep_1.tre.gz"], taxa)
    assert "have polytomies, which are resolved at random" in " ".join(parsimony.notes)


# Finding files


def test_patterns_expand_in_natural_order_and_once(write, tmp_path):
    for k in (1, 2, 10):
        write("x", f"rep_{k}.t")
    names = [path.name for path in expand_paths([tmp_path / "rep_*.t", str(tmp_path / "rep_1.t")])]
    assert names == ["rep_1.t", "rep_2.t", "rep_10.t"]
    write("x", "odd[1].t")
    assert expand_paths([tmp_path / "odd[1].t"]) == [tmp_path / "odd[1].t"]
    with pytest.raises(TreeError, match=r"none\*: no file matches this pattern"):
        expand_paths([tmp_path / "none*"])
    with pytest.raises(TreeError, match="none: no such file"):
        expand_paths([tmp_path / "none"])


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], []),
        (["x.fasta.ufboot", "x.trprobs"], ["x.fasta.ufboot"]),
        (["ufboot/r2.ufboot", "ufboot/r10.ufboot.gz", "ufboot/log", "x.t"], ["r2.ufboot", "r10.ufboot.gz"]),
        (["ufboot/log.txt", "x.fasta.trprobs.gz", "x.fasta.run1.t"], ["x.fasta.trprobs.gz"]),
        (["x.fasta.run1.t", "x.run2.t.gz", "x.tre"], ["x.fasta.run1.t", "x.run2.t.gz"]),
        (["x.t"], ["x.t"]),
        (["x.trees", "x.trees.gz", "x.tre"], ["x.trees"]),
        (["x.tre"], ["x.tre"]),
        (["xy.t", "y.x.t", "x.run.t", "x.con.tre", "x.treefile", "ax.fasta.t"], []),
    ],
)  # fmt: skip
def test_samples_beside_an_alignment(write, tmp_path, files, found):
    for name in files:
        write("x", name)
    assert [path.name for path in find_tree_samples(tmp_path / "x.fasta")] == found
    assert [path.name for path in find_tree_samples(tmp_path / "x.fasta.gz")] == found


# Refusals


def complaint(path, **options):
    with pytest.raises(TreeError) as caught:
        read_tree_sample([path], TAXA, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": the file is empty"),
        (gzip.compress(newick_list(range(15)).encode())[:-9], ": the gzip file is damaged or cut short"),
        (bytes(range(256)), ", line 1: this is not a tree"),
        (">a\nACGT\n>b\nACGT\n", ", line 1: this is not a tree; give a list of Newick trees or a NEXUS file"),
        (newick(1) + "\nprose\n", ", line 2: this is not a tree"),
        ("#NEXUS\nbegin data; end;\n", ": the file holds no tree"),
        (newick(2)[:-4], ", line 1, tree 1: the tree is cut short"),
        (newick(1) + "\n" + newick(2)[1:], ", line 2: this is not a tree"),
        (newick(1) + "\n((a,b_c),(d,(e,f));", ", line 2, tree 2: the parentheses are unbalanced"),
        ("\n\n(a,b_c,(d,(e,a)));", ", line 3, tree 1: taxon 'a' is in the tree twice"),
        ("(a,b_c,(d,(e,g)));", "not in the alignment: 'g'; not in the tree: 'f'"),
        (nexus(f"tree t = {numbered(1)}", "translate 1 p,2 q,3 r,4 s,5 t;"),
         "line 6, tree 1: its taxa are not those of the alignment; not in the alignment: 'p', 'q'"),
        (nexus(f"tree t = {numbered(1)}", ""), "not in the alignment: '1', '2'"),
        (nexus(f"tree t = {numbered(1)}", "translate 1 a 2 b_c;"), "TRANSLATE is malformed at '1 a 2 b_c'"),
        (nexus(f"tree t = {numbered(1)}", "translate 1 a, 1 d;"), "TRANSLATE is malformed at '1 d'"),
        (nexus("translate 1 b_c;"), "two TRANSLATE commands that differ"),
        (nexus("tree t = 5;"), "this is not Newick, at '5;"),
        (trprobs([(1, 0.5), (2, -0.25)]), "line 8, tree 2: the weight [&W ..] is not a finite number"),
        (trprobs([(1, "nan")]), "tree 1: the weight [&W ..] is not a finite number"),
        (trprobs([(1, "1e999")]), "tree 1: the weight [&W ..] is not a finite number"),
        (trprobs([(1, "1/0")]), "tree 1: the weight [&W ..] is not a finite number"),
        (trprobs([(1, "0.5x")]), "tree 1: the weight [&W ..] is not a finite number"),
        (trprobs([(1, 0), (2, 0)]), "the weights of its trees add up to 0.0"),
        (newick(1, np.full(7, -0.5)), "a branch length is negative"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line_that_names_the_fault(write, text, expected):
    path = write(text)
    message = complaint(path)
    assert message.startswith(str(path))
    assert expected in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in complaint(tmp_path / "none.t")
    assert "this is a folder" in complaint(tmp_path)


@pytest.mark.parametrize("burn_in", [-1, -0.1, 1.0, 1.5, float("nan"), True, "0.1"])
def test_burn_in_out_of_range_is_refused(write, burn_in):
    assert "give a fraction in [0, 1) or a whole number" in complaint(write(newick(1)), burn_in=burn_in)


@pytest.mark.parametrize("hpd", [0, -0.5, 1.01, float("nan")])
def test_hpd_out_of_range_is_refused(write, hpd):
    assert "must be above 0 and at most 1" in complaint(write(newick(1)), hpd=hpd)


def test_burn_in_of_all_trees_or_of_weighted_trees_is_refused(write):
    assert "drops all of its 2 trees" in complaint(write(newick_list([1, 2])), burn_in=2)
    assert "its trees have weights, so none is burn-in" in complaint(write(trprobs([(1, 1)])), burn_in=0.1)


def test_no_file_and_one_file_twice_are_refused(write, tmp_path):
    with pytest.raises(TreeError, match="no tree file is given"):
        read_tree_sample([], TAXA)
    path = write(newick(1))
    with pytest.raises(TreeError, match="the file is given twice"):
        read_tree_sample([path, tmp_path / "." / path.name], TAXA)

"""NEXUS around trees: quoted words, labels that stand for names, and names that survive writing and reading."""

from __future__ import annotations

import io
import re
from pathlib import Path

import dendropy
import numpy as np
import pytest

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.data.alignment import Alignment, read_alignment, write_nexus
from vbpi_mix.phylo.report.rooting import tree_of
from vbpi_mix.phylo.trees.files import read_tree_taxa
from vbpi_mix.phylo.trees.newick import newick_word, newick_words, parse_newick, unquote
from vbpi_mix.phylo.trees.nexus import nexus_word, nexus_words, read_labels, trprobs
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("plain_1.x", "it's", "a b", "x-y+z", "p,q;r", "(c)[d]", 'say "so"')


@pytest.mark.parametrize(
    ("name", "newick", "nexus"),
    [
        ("plain_1.x", "plain_1.x", "plain_1.x"),
        ("it's", "'it''s'", "'it''s'"),
        ("x-y", "x-y", "'x-y'"),
        ("a b", "'a b'", "'a b'"),
        ("", "''", "''"),
    ],
)
def test_words_are_quoted_where_the_format_needs_it(name, newick, nexus):
    assert (newick_word(name), nexus_word(name)) == (newick, nexus)
    assert unquote(newick) == unquote(nexus) == name or name == ""


def test_names_survive_every_file(tmp_path):
    """The own reader and another library read what is written."""
    children = enumerate_topologies(len(NAMES))[:3]
    weights = np.array([0.5, 0.3, 0.2])
    path = tmp_path / "x.trprobs"
    path.write_text(trprobs(children, weights, NAMES, "a [comment]"))
    assert read_tree_taxa(path) == NAMES
    sample = read_tree_sample([path], NAMES)
    assert np.array_equal(sample.children, children)
    np.testing.assert_allclose(sample.weights, weights)
    trees = dendropy.TreeList.get(path=str(path), schema="nexus", preserve_underscores=True)
    assert {taxon.label for taxon in trees.taxon_namespace} == set(NAMES)
    assert np.array_equal(parse_newick(to_newick(children[1], NAMES), NAMES)[0], children[1])
    write_nexus(Alignment(NAMES, np.ones((len(NAMES), 3), dtype=np.uint8)), tmp_path / "x.nex")
    matrix = dendropy.DnaCharacterMatrix.get(
        path=str(tmp_path / "x.nex"), schema="nexus", preserve_underscores=True
    )
    assert [taxon.label for taxon in matrix] == list(NAMES)


ALIKE = ("a b", "a_b", "c_d", "E f g", "e_F_g", "e_f g", "x")


def test_names_alike_but_for_blanks_are_told_apart(tmp_path):
    """By DendroPy as it reads of itself, an unquoted `_` as a blank and capitals alike, and by the own reader."""
    assert newick_words(ALIKE)["c_d"] == nexus_words(ALIKE)["c_d"] == "c_d"
    assert newick_words(ALIKE)["a_b"] == nexus_words(ALIKE)["a_b"] == "'a_b'"
    children, weights = enumerate_topologies(len(ALIKE))[:3], np.array([0.5, 0.3, 0.2])
    seen = {name.replace("_", " ") if name == "c_d" else name for name in ALIKE}
    path = tmp_path / "x.trprobs"
    path.write_text(trprobs(children, weights, ALIKE, ""))
    trees = dendropy.TreeList.get(path=str(path), schema="nexus")
    assert {taxon.label for taxon in trees.taxon_namespace} == seen
    assert read_tree_taxa(path) == ALIKE
    assert np.array_equal(read_tree_sample([path], ALIKE).children, children)

    lengths = np.arange(1, 12) / 8
    majority = tree_of(children[1], lengths, ALIKE)
    for text in (to_newick(children[1], ALIKE, lengths), majority.newick()):
        tree = dendropy.Tree.get(data=text, schema="newick")
        assert {leaf.taxon.label for leaf in tree.leaf_node_iter()} == seen
        path.write_text(text)
        read = read_tree_sample([path], ALIKE)
        assert np.array_equal(read.children, children[1:2])

    write_nexus(Alignment(ALIKE, np.ones((len(ALIKE), 3), dtype=np.uint8)), tmp_path / "x.nex")
    matrix = dendropy.DnaCharacterMatrix.get(path=str(tmp_path / "x.nex"), schema="nexus")
    assert {taxon.label for taxon in matrix} == seen
    assert read_alignment(tmp_path / "x.nex").taxa == ALIKE


def test_labels_of_both_commands():
    commands = [b"#NEXUS begin taxa;", b"TaxLabels b 'c d' [x;] a;", b"end;"]
    labels = read_labels(commands, Path("x"))
    assert labels.names == ("b", "c d", "a")
    assert labels.tokens == {"1": "b", "2": "c d", "3": "a"}
    labels = read_labels([*commands, b"translate 7 a, 'e,f' 'c d', 3 b;"], Path("x"))
    assert labels.names == ("a", "c d", "b")
    assert labels.tokens == {"7": "a", "e,f": "c d", "3": "b"}
    assert read_labels([b"taxlabels 2 1;"], Path("x")).tokens == {}


def test_a_malformed_table_is_refused_by_whoever_reads_it(tmp_path):
    path = tmp_path / "x.t"
    path.write_text("#NEXUS\nbegin trees; translate 1 a, 2 b, 3 c d; tree t = (1,2,3); end;\n")
    for read in (read_tree_taxa, lambda path: read_tree_sample([path], ("a", "b", "c"))):
        with pytest.raises(TreeError, match="TRANSLATE is malformed at '3 c d'"):
            read(path)


def test_one_module_knows_the_label_commands_and_one_doubles_quotes():
    for pattern, home in [(r"""["'(]taxlabels""", "nexus.py"), (r"""replace\(["']'["'], ["']''["']\)""", "newick.py")]:
        found = [
            path.relative_to(ROOT / "vbpi_mix").as_posix()
            for path in (ROOT / "vbpi_mix").rglob("*.py")
            if re.search(pattern, path.read_text(encoding="utf-8"), re.IGNORECASE)
        ]
        assert found == [f"phylo/trees/{home}"]


def test_biopython_reads_what_is_written(tmp_path):
    from Bio import Phylo
    from Bio.Nexus.Nexus import Nexus

    children = enumerate_topologies(len(NAMES))[7]
    tree = Phylo.read(io.StringIO(to_newick(children, NAMES)), "newick")
    assert {leaf.name for leaf in tree.get_terminals()} == set(NAMES)
    tree = Phylo.read(io.StringIO(trprobs(children[None], np.ones(1), NAMES, "x")), "nexus")
    # It leaves the quotes of a TRANSLATE command around the names.
    assert {unquote(leaf.name) for leaf in tree.get_terminals()} == set(NAMES)
    # Its reader of matrices knows no names with marks of the format in them, quoted or not.
    plain = ("plain_1.x", "x-y", "a+b", "c/d")
    write_nexus(Alignment(plain, np.ones((4, 3), dtype=np.uint8)), tmp_path / "x.nex")
    assert [unquote(name) for name in Nexus(str(tmp_path / "x.nex")).taxlabels] == list(plain)

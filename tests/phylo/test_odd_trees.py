"""Trees that the own reader refuses are tried by DendroPy; what both refuse, or DendroPy reads amiss, stays refused."""

from __future__ import annotations

import dendropy
import numpy as np
import pytest

from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.phylo.models.constraints import parse_constraints
from vbpi_mix.phylo.trees import files
from vbpi_mix.phylo.trees.by_dendropy import plain_newick
from vbpi_mix.phylo.trees.files import read_tree_file, read_tree_taxa, read_tree_texts
from vbpi_mix.phylo.trees.newick import leaf_labels, parse_newick, without_comments

TAXA = ("a", "b", "x[1](2)", "d e", "it's")
PLAIN = "((a:1,b:2):3,('x[1](2)':4,'d e':5):6,'it''s':7);"
NUMBERED = "((1:1,2:2):3,(3:4,4:5):6,5:7);"
NAMES = "translate 1 a, 2 b, 3 'x[1](2)', 4 'd e', 5 'it''s';"
SWAPPED = "translate 2 a, 1 b, 3 'x[1](2)', 4 'd e', 5 'it''s';"

OWN = {
    "rooted": f"[&R] {PLAIN}\n[&u]{PLAIN}",
    "annotated": "((a[&rate={1,2},n=\"(;\"]:[&x]1,b:2)[&prob=1]:3,('x[1](2)':4,'d e'[it's;]:5)0.9:6[95],'it''s':7)[&R];",
    "labels of inner nodes": "((a:1,b:2)'95/0.9':3,('x[1](2)':4,'d e':5)100/1:6,'it''s':7)root:0;",
    "two blocks": f"#NEXUS\nbegin trees;\n{NAMES}\ntree x = [&R] {NUMBERED}\nend;\nbegin trees;\ntree * 'y (z' = {PLAIN}\nend;\n",
    "a comment before the first word": f"[made by\nhand]\n#nexus\nbegin trees;\n{NAMES}\ntree x = {NUMBERED}\nend;\n",
    "comments in the table": f"#NEXUS\nbegin trees; [a; b]\n{NAMES.replace(' 2', '[a; (b)] 2')}\nutree x={NUMBERED}\nend;\n",
}
BY_DENDROPY = {
    "two blocks whose labels differ": (
        f"#NEXUS\nbegin trees;\n{NAMES}\ntree x = {NUMBERED}\nend;\n"
        f"begin trees;\n{SWAPPED}\ntree y = {NUMBERED.replace('1:1,2:2', '2:1,1:2')}\nend;\n"
    ),
    "a node with a single child": "(((a:0.5):0.5,b:2):3,('x[1](2)':4,'d e':5):6,'it''s':7);",
    "parentheses around all": f"(({PLAIN[:-1]}));",
    "NeXML": dendropy.Tree.get(data=PLAIN, schema="newick").as_string("nexml"),
}


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "odd.tre"
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


def check(path):
    children, lengths = parse_newick(PLAIN, TAXA)
    found = read_tree_file(path, TAXA)
    for k in range(found.children.shape[0]):
        np.testing.assert_array_equal(found.children[k], children)
        np.testing.assert_allclose(found.lengths[k], lengths)
    return found


@pytest.mark.parametrize("name", OWN)
def test_odd_trees_of_the_own_reader(write, monkeypatch, name):
    monkeypatch.setattr(files, "plain_newick", None)
    check(write(OWN[name]))


@pytest.mark.parametrize("name", BY_DENDROPY)
def test_what_the_own_reader_refuses_dendropy_reads(write, monkeypatch, name):
    path = write(BY_DENDROPY[name])
    found = check(path)
    assert found.weights is None
    assert set(read_tree_taxa(path)) == set(TAXA)
    assert parse_constraints([], TAXA, PLAIN).fixed
    if len(found.children) == 1:
        prior = parse_constraints([], TAXA, str(path))
        assert prior.splits == parse_constraints([], TAXA, PLAIN).splits
    with monkeypatch.context() as patch:
        patch.setattr(files, "plain_newick", lambda data: None)
        with pytest.raises(TreeError):
            read_tree_file(path, TAXA)


def test_weights_come_along(write):
    text = BY_DENDROPY["two blocks whose labels differ"]
    text = text.replace("x = ", "x = [&W 1/4] ").replace("y = ", "y = [&W 0.5] ")
    np.testing.assert_allclose(check(write(text)).weights, [0.25, 0.5])


REFUSED = {
    # DendroPy takes 0.8 for the length of the branch.
    "extended Newick": "((a:1,b:2):3:0.9:0.8,('x[1](2)':4,'d e':5):6,'it''s':7);",
    "other letters": PLAIN.replace("a", "A"),
    "cut short": PLAIN[:-9],
    "a taxon twice": PLAIN.replace("b", "a"),
    "a length below zero": PLAIN.replace(":3", ":-3"),
    "a polytomy": "(a:1,b:2,'x[1](2)':4,'d e':5,'it''s':7);",
    "NeXML cut short": BY_DENDROPY["NeXML"][:-100],
    "no tree": "#NEXUS\nbegin trees;\nend;\n",
    "one taxon": "a;",
    # DendroPy passes over these words.
    "prose at the end": f"({PLAIN[:-1]});\nprose\n",
    "prose between": f"({PLAIN[:-1]});\nprose;\n{PLAIN}",
    "a last tree cut short": BY_DENDROPY["two blocks whose labels differ"][:-30],
    "a block cut short": BY_DENDROPY["two blocks whose labels differ"].rpartition("tree y")[0] + "tree y = [&R]",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_neither_reads_rightly_is_refused_in_the_own_words(write, monkeypatch, name):
    path = write(REFUSED[name])
    with pytest.raises(TreeError) as refused:
        read_tree_file(path, TAXA)
    monkeypatch.setattr(files, "plain_newick", lambda data: None)
    with pytest.raises(TreeError) as alone:
        read_tree_file(path, TAXA)
    assert str(refused.value) == str(alone.value)


def test_a_long_file_is_not_given_to_the_slow_reader():
    assert plain_newick(PLAIN.encode()) is not None
    assert plain_newick(PLAIN.encode() + b" " * 10_000_000) is None


def test_brackets_in_quotes_are_a_name(write):
    text = "(('x[1](2)'[&a='b']:1,\"q[,\"[x[y]z]:2)[it's]:3,it's:4,(a:1,b:2)n:1);"
    assert without_comments(text) == "(('x[1](2)':1,\"q[,\":2):3,it's:4,(a:1,b:2)n:1);"
    assert leaf_labels(text) == ["'x[1](2)'", '"q[,"', "it's", "a", "b"]
    assert read_tree_taxa(write(PLAIN)) == tuple(sorted(TAXA))
    assert parse_constraints([], TAXA, PLAIN).fixed
    assert parse_constraints([], TAXA, str(write(PLAIN))).fixed


def test_a_file_without_a_tree_fixes_no_topology(write):
    with pytest.raises((TreeError, ConfigError), match="holds no tree"):
        read_tree_texts(write("#NEXUS\nbegin data;\nend;\n"))

"""What lies beside an alignment and is no sample, what is dropped of one that nobody named, and what is said of it."""

import pytest

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.config import FitConfig
from vbpi_mix.phylo.inputs import find_files_beside, read_data
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick

TAXA = ("a", "b", "c", "d", "e")
TREES = [to_newick(tree, TAXA) for tree in enumerate_topologies(5)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nACGT\n>b\nACGA\n>c\nACGC\n>d\nACGG\n>e\nAAAA\n")
    return tmp_path


def trace(count):
    body = "".join(f"tree gen.{100 * k} = [&U] {TREES[k]}\n" for k in range(count))
    return f"#NEXUS\nbegin trees;\n{body}end;\n"


def read(folder, trees=None, **choices):
    """The data of a fit, and the notes that are told."""
    told = []
    data = read_data(folder / "x.fasta", trees, FitConfig.of(**choices).resolve(), 1, lambda event: told.append(event.text))
    return data, " | ".join(told)


def test_a_single_tree_beside_the_alignment_is_no_sample(folder):
    told = []
    for text in (TREES[0], "(a,b,c,d,e);", f"#NEXUS begin trees; tree x = {TREES[0]} end;"):
        (folder / "x.tre").write_text(text)
        assert find_files_beside(folder / "x.fasta", told.append) == []
        assert "holds a single tree, which is no sample of trees, and is not used; name it by --trees" in told[-1].text
    (folder / "x.tre").write_text(TREES[0] + TREES[1])
    (folder / "x.trees").write_text(TREES[0])
    assert find_files_beside(folder / "x.fasta", told.append) == [folder / "x.tre"]
    (folder / "x.trees").write_text(TREES[0] + TREES[1])
    assert find_files_beside(folder / "x.fasta", told.append) == [folder / "x.trees"]


def test_a_single_tree_that_is_named_is_one(folder):
    (folder / "x.tre").write_text(TREES[3])
    data, _ = read(folder, folder / "x.tre")
    assert data.sample.weights.tolist() == [1]


def test_traces_that_are_found_lose_their_first_quarter(folder):
    (folder / "x.run1.t").write_text(trace(8))
    (folder / "x.run2.t").write_text(trace(12))
    data, told = read(folder)
    assert data.sample.tree_topology.size == 6 + 9
    assert data.burn_in == 0.25
    assert told.count("of which the first 25% is dropped; --burn-in says otherwise") == 2
    for choices, left in (({"burn_in": 0.0}, 20), ({"burn_in": 0.5}, 10), ({"burn_in": 1}, 18)):
        data, told = read(folder, **choices)
        assert data.sample.tree_topology.size == left
        assert data.burn_in == choices["burn_in"]
        assert "first 25%" not in told
    data, told = read(folder, [folder / "x.run1.t"])
    assert (data.sample.tree_topology.size, data.burn_in) == (8, 0)


def test_other_samples_that_are_found_are_used_whole(folder):
    (folder / "x.trees").write_text("".join(TREES))
    data, _ = read(folder)
    assert (data.sample.tree_topology.size, data.burn_in) == (15, 0)


def test_taxa_that_the_alignment_lacks_are_pruned_if_that_is_asked_for(folder):
    (folder / "x.trees").write_text(TREES[0].replace("a", "(a,z)") + TREES[1])
    with pytest.raises(TreeError, match=r"not in the alignment: 'z'; --prune leaves them out of the trees"):
        read(folder)
    data, told = read(folder, prune=True)
    assert data.sample.weights.tolist() == [0.5, 0.5]
    assert "left out of 1 of 2 trees: 'z'" in told


def test_polytomies_and_copies_are_said(folder):
    (folder / "x.fasta").write_text(">a\nACGT\n>b\nACGA\n>c\nACGC\n>d\nACGC\n>e\nACGC\n")
    (folder / "x.trees").write_text("(a,b,(c,d,e));" * 4)
    data, told = read(folder)
    assert data.sample.weights.tolist() == pytest.approx([1 / 3] * 3)
    assert "4 of 4 trees have polytomies, which are resolved at random" in told
    assert "3 sequences are identical: 'c', 'd', 'e'" in told

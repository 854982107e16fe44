"""Trees as pictures in files: who draws them, what is in them, and what is refused before anything is drawn."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.report import tree_drawing
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.ete3_page import consensus_of
from vbpi_mix.phylo.report.rooting import Rooted, Rooting, root, tree_of
from vbpi_mix.phylo.report.tree_drawing import check_picture, draw_picture
from vbpi_mix.phylo.report.tree_figure import draw_on, draw_tree
from vbpi_mix.phylo.trees.topology import random_topologies

SVG = "{http://www.w3.org/2000/svg}"
BEGINS = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
NAMES = ("Homo sapiens", "$x_1$", "it's", "[b](c)", "Größe_ä")
needs_ete3 = pytest.mark.skipif(find_spec("ete3") is None or find_spec("PyQt5") is None, reason="ete3 and PyQt5 not installed")


@pytest.fixture
def tree():
    """Rooted at an edge of probability 0.75; 0.9 is the other split of two taxa."""
    leaves = [ConsensusClade(name, 1.0, 0.2 + 0.1 * k) for k, name in enumerate(NAMES)]
    pair = ConsensusClade("", 0.9, 0.3, tuple(leaves[:2]))
    three = ConsensusClade("", 0.75, 0.1, (pair, leaves[2]))
    return Consensus((three, ConsensusClade("", 0.75, 0.1, tuple(leaves[3:]))))


@pytest.mark.parametrize("form", tree_drawing.FORMATS)
@pytest.mark.parametrize("drawer", ["matplotlib", pytest.param("ete3", marks=needs_ete3)])
def test_a_picture_of_each_format(tree, tmp_path, form, drawer, monkeypatch):
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    done = draw_picture(Rooted(tree), tmp_path / f"tree.{form}", drawer)
    assert (done.drawer, done.remarks) == (drawer, ())
    content = (tmp_path / f"tree.{form}").read_bytes()
    assert content.startswith(BEGINS[form])
    assert [path.name for path in tmp_path.iterdir()] == [f"tree.{form}"]
    assert "QT_QPA_PLATFORM" not in os.environ
    if form == "png":
        picture = matplotlib.image.imread(io.BytesIO(content))
        assert picture.shape[1] == 1920
        assert 0.005 < (picture[..., :3].mean(axis=-1) < 0.5).mean() < 0.2
    if form == "svg":
        words = {"".join(each.itertext()).strip() for each in ElementTree.fromstring(content).iter(f"{SVG}text")}
        assert words >= {*NAMES, "0.2 substitutions per site"}


@needs_ete3
def test_ete3_says_the_probability_of_each_split_once(tree, tmp_path):
    draw_picture(Rooted(tree), tmp_path / "tree.svg", "ete3")
    found = ElementTree.parse(tmp_path / "tree.svg").iter(f"{SVG}text")
    words = [word for each in found if (word := "".join(each.itertext()).strip()) not in NAMES]
    assert sorted(words) == ["0.2 substitutions per site", "0.75", "0.90"]


@needs_ete3
def test_ete3_draws_branches_to_scale(tmp_path):
    """Of a random tree the ends of branches, in pixels, are those of their lengths."""
    rng = np.random.default_rng(5)
    taxa = [f"taxon {k}" for k in range(30)]
    tree = root(tree_of(random_topologies(30, 1, rng)[0], rng.exponential(0.1, 57), taxa), Rooting()).tree
    draw_picture(Rooted(tree), tmp_path / "tree.svg", "ete3")
    places = {}
    for group in ElementTree.parse(tmp_path / "tree.svg").iter(f"{SVG}g"):
        for text in group.findall(f"{SVG}text"):
            numbers = group.get("transform").removeprefix("matrix(").removesuffix(")").split(",")
            places["".join(text.itertext()).strip()] = float(numbers[4]) + float(numbers[0]) * float(text.get("x"))
    depth = {}

    def walk(clade, above):
        here = above + clade.length
        if not clade.clades:
            depth[clade.name] = here
        for inner in clade.clades:
            walk(inner, here)

    for clade in tree.clades:
        walk(clade, 0.0)
    x, length = np.array([(places[name], depth[name]) for name in taxa]).T
    slope, offset = np.polyfit(length, x, 1)
    np.testing.assert_allclose(slope * length + offset, x, atol=1.5)


def test_matplotlib_has_every_word_of_the_page_where_it_stands(tree):
    drawn = draw_on(tree, tree_drawing._Sheet).figure.axes[0].texts
    page = ElementTree.fromstring(draw_tree(tree)).iter(f"{SVG}text")
    expected = sorted((each.text, float(each.get("x")), float(each.get("y"))) for each in page)
    found = sorted((each.get_text(), *each.get_position()) for each in drawn)
    assert [each[0] for each in found] == [each[0] for each in expected]
    np.testing.assert_allclose([each[1:] for each in found], [each[1:] for each in expected], atol=0.01)
    assert {"0.75", "0.90"} <= {each[0] for each in found}


def test_the_same_tree_is_the_same_file(tree, tmp_path):
    for form in tree_drawing.FORMATS:
        one, other = (draw_picture(Rooted(tree), tmp_path / f"{k}.{form}", "matplotlib").path for k in (1, 2))
        assert one.read_bytes() == other.read_bytes()


def test_remarks_on_roots_and_letters_are_handed_on(tree, tmp_path):
    odd = Consensus((*tree.clades, ConsensusClade("漢字", 1.0, 0.1)))
    done = draw_picture(Rooted(odd, "the outgroup is apart"), tmp_path / "tree.pdf", "matplotlib")
    assert done.remarks[0] == "the outgroup is apart"
    assert "lacks letters" in done.remarks[1]


def test_the_tree_goes_whole_to_the_other_process(tree):
    assert consensus_of(json.loads(json.dumps(dataclasses.asdict(tree)))) == tree


def test_where_ete3_fails_matplotlib_draws_unless_ete3_was_asked_for(tree, tmp_path, monkeypatch):
    def end(command, **choices):
        assert choices["env"]["QT_QPA_PLATFORM"] == "offscreen"
        return subprocess.CompletedProcess(command, -6, "", "first\nno Qt platform plugin could be initialized\n")

    monkeypatch.setattr(tree_drawing, "_has_ete3", lambda: True)
    monkeypatch.setattr(subprocess, "run", end)
    done = draw_picture(Rooted(tree), tmp_path / "tree.png")
    assert done.drawer == "matplotlib"
    assert done.remarks == ("ETE 3 cannot draw here (no Qt platform plugin could be initialized)",)
    with pytest.raises(ConfigError, match="no Qt platform plugin"):
        draw_picture(Rooted(tree), tmp_path / "other.png", "ete3")
    assert [path.name for path in tmp_path.iterdir()] == ["tree.png"]


def test_without_ete3_matplotlib_draws(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(tree_drawing, "find_spec", lambda name: None)
    assert draw_picture(Rooted(tree), tmp_path / "tree.png").drawer == "matplotlib"
    with pytest.raises(ConfigError, match=r"pip install 'vbpi-mix\[ete3\]'"):
        check_picture(tmp_path / "other.png", "ete3", False)


@pytest.mark.parametrize(
    ("name", "drawer", "message"),
    [
        ("tree.jpg", None, "PDF, PNG or SVG"),
        ("tree", None, "PDF, PNG or SVG"),
        ("tree.pdf", "hand", "draws no trees"),
        ("taken.pdf", None, "exists"),
        ("nowhere/tree.pdf", None, "does not exist"),
        ("folder.pdf", None, "is a folder"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, name, drawer, message):
    (tmp_path / "taken.pdf").write_text("mine")
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(ConfigError, match=message):
        check_picture(tmp_path / name, drawer, False)
    check_picture(tmp_path / "taken.pdf", None, True)
    check_picture(Path(tmp_path / "NEW.PDF"), "matplotlib", False)

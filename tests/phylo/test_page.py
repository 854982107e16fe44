"""report.html: what it says is true, all of it stands in the one file, and a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import vbpi_mix
from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.report.charts import curve, density, scatter, weighted_density
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.rooting import Rooting, root, tree_of
from vbpi_mix.phylo.report.svg import escape, ticks
from vbpi_mix.phylo.report.tree_figure import draw_tree
from vbpi_mix.phylo.trees.topology import random_topologies

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
SVG = "{http://www.w3.org/2000/svg}"
EVIL = ("<script>alert(1)</script>", "a&b", "o'Neill\"x\"", "[1]", "Äöü", "</svg><b>", "x" * 70, "&lt;")


class Reader(HTMLParser):
    """The elements of a page that are not closed, what it fetches, and its text."""

    VOID = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.names, self.words = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short fit of eight taxa whose names a page might take for its own words."""
    folder = tmp_path_factory.mktemp("page")
    rows = re.findall(r"^\s*(t0\d)\s+([ACGT]+)\s*$", (ROOT / "examples" / "eight.nex").read_text(), re.MULTILINE)
    (folder / "evil.fasta").write_text("".join(f">{name}\n{row}\n" for name, (_, row) in zip(EVIL, rows, strict=True)))
    alignment = vbpi_mix.read_alignment(folder / "evil.fasta")
    return vbpi_mix.fit(
        alignment, out=folder / "<i>evil.vbpi", iterations=200, threads=1, trees_seconds=2.0, substitution="HKY", seed=2
    )


def test_the_page_is_whole_and_fetches_nothing(run):
    page = (run.path / "report.html").read_text(encoding="utf-8")
    reader = read(page)
    assert reader.fetched == []
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "@import" not in page
    assert "url(" not in page
    assert "script" not in reader.names
    assert "b" in reader.names
    assert page == run.report()


def test_names_are_shown_as_they_are(run):
    words = "".join(read(run.report()).words)
    for name in run.taxa:
        assert name[:30] in words
    assert "<i>evil.vbpi" in words


def test_the_page_says_what_the_run_found(run):
    words, facts = " ".join(read(run.report()).words), run.summary
    assert f"Verdict: {facts['verdict']}" in words
    evidence = facts["marginal_log_likelihood"][0]
    assert f"{evidence['mean']:.2f} ± {evidence['error']:.2f}" in words
    assert f"{facts['effective_sample_size']:,.0f}" in words
    assert f"{facts['pareto_k']:.2f}" in words
    assert "HKY" in words
    assert "kappa" in words
    assert facts["versions"]["torch"] in words
    for reason in facts["reasons"]:
        assert reason.split(". ")[0] in words
    found = run.certainty()
    assert f"{found.entropy:.3f} nats" in words
    assert facts["certainty"]["entropy"] == found.entropy
    assert facts["certainty"]["most_probable_of_the_fit"]["proven"] is True


def test_the_digest_of_the_data_is_in_the_page(tmp_path):
    import hashlib

    made = vbpi_mix.fit(
        ROOT / "examples" / "eight.nex", ROOT / "examples" / "eight.nwk", iterations=3, threads=1, out=tmp_path / "e.vbpi"
    )
    digest = hashlib.sha256((ROOT / "examples" / "eight.nex").read_bytes()).hexdigest()
    assert digest in made.report()


def test_it_says_what_was_typed(run, monkeypatch):
    """And by whom it was called else; of runs from before this was kept, nothing is made up."""
    assert run.summary["commands"] == ["called from Python"]
    assert "called from Python" in run.report()
    given = {**run.summary, "commands": ["vbpi-mix fit 'a <b>.nex'", "vbpi-mix fit --resume a.vbpi"]}
    monkeypatch.setattr(type(run.directory), "read_summary", lambda self: given)
    words = "".join(read(run.report()).words)
    assert "vbpi-mix fit 'a <b>.nex'" in words
    assert "vbpi-mix fit --resume a.vbpi" in words
    del given["commands"]
    assert "not recorded" in run.report()


def test_a_rooted_page(run):
    page = run.report(outgroup=[EVIL[1]])
    assert "The root is beside the outgroup a&amp;b." in page
    assert "midpoint" in run.report(midpoint=True)
    with pytest.raises(ConfigError, match="not among the 8"):
        run.report(outgroup="nobody")


def test_every_picture_is_svg_that_a_parser_takes(run):
    pictures = re.findall(r"<svg.*?</svg>", run.report(), re.DOTALL)
    # The tree, densities of the tree length and of HKY's kappa and frequencies, the tree sample, training.
    assert len(pictures) == 1 + 6 + 1 + 1
    for picture in pictures:
        ElementTree.fromstring(picture)


@pytest.mark.parametrize("n_taxa", [4, 27, 200])
def test_a_tree_is_drawn_to_scale(n_taxa):
    """Every taxon has a row of its own, and stands as far to the right as it is from the root."""
    rng = np.random.default_rng(n_taxa)
    taxa = tuple(f"taxon {k}" for k in range(n_taxa))
    tree = root(tree_of(random_topologies(n_taxa, 1, rng)[0], rng.exponential(0.1, 2 * n_taxa - 3), taxa), Rooting()).tree
    depth = {}

    def walk(clade, above):
        here = above + clade.length
        if clade.clades:
            for inner in clade.clades:
                walk(inner, here)
        else:
            depth[clade.name] = here

    for clade in tree.clades:
        walk(clade, 0.0)
    drawn = ElementTree.fromstring(draw_tree(tree))
    places = {text.text: (float(text.get("x")), float(text.get("y"))) for text in drawn.iter(f"{SVG}text") if text.text in depth}
    assert len(places) == n_taxa
    rows = np.sort([y for _, y in places.values()])
    assert np.diff(rows).min() > 14
    x, length = np.array([(places[name][0], depth[name]) for name in taxa]).T
    slope, offset = np.polyfit(length, x, 1)
    np.testing.assert_allclose(slope * length + offset, x, atol=0.02)
    assert x.max() < 960


@pytest.mark.parametrize("n_taxa", [27, 200])
def test_numbers_at_nodes_do_not_hide_each_other(n_taxa):
    """Short branches crowd them; what is certain gives way, and the others stand below where above is taken."""
    rng = np.random.default_rng(n_taxa)
    clades = [ConsensusClade(f"t{k}", 1.0, 0.01) for k in range(n_taxa)]
    while len(clades) > 3:
        inner = (clades.pop(rng.integers(len(clades))), clades.pop(rng.integers(len(clades))))
        clades.append(ConsensusClade("", float(rng.choice([1.0, 0.6])), 0.002, inner))
    drawn = ElementTree.fromstring(draw_tree(Consensus(tuple(clades))))
    texts = [(text.text, float(text.get("x")), float(text.get("y"))) for text in drawn.iter(f"{SVG}text")]
    numbers = [each for each in texts if each[0] in ("1", "0.60")]
    assert sum(words == "0.60" for words, _, _ in numbers) > n_taxa / 4
    hidden = [
        (one, other)
        for k, one in enumerate(numbers)
        for other in numbers[:k]
        if abs(one[1] - other[1]) < 20 and abs(one[2] - other[2]) < 8
    ]
    assert len(hidden) <= len(numbers) / 20


def test_a_density_is_that_of_the_draws():
    """Of two halves of a normal sample with other shares: the weighted mean and spread, and an integral of one."""
    rng = np.random.default_rng(1)
    values = rng.normal(3.0, 0.5, 40_000)
    shares = np.exp(values - 3.0)
    shares /= shares.sum()
    low, high, drawn = weighted_density(values, shares)
    grid = np.linspace(low, high, drawn.size)
    total = np.trapezoid(drawn, grid)
    mean = np.trapezoid(drawn * grid, grid)
    # A normal density times exp(x) is one with its mean moved by the variance.
    assert total == pytest.approx(1.0, abs=0.005)
    assert mean == pytest.approx(3.25, abs=0.02)
    assert np.sqrt(np.trapezoid(drawn * (grid - mean) ** 2, grid)) == pytest.approx(0.5, abs=0.03)


def test_charts_of_what_does_not_vary_are_drawn():
    for picture in (
        density(np.ones(100), np.full(100, 0.01), (1.0, 1.0), "constant"),
        curve(np.arange(3.0), np.full(3, -5.0), "x", "y"),
        scatter(np.ones(1), np.ones(1), ["a"], "x", "y"),
    ):
        ElementTree.fromstring(picture)
        assert "nan" not in picture


def test_ticks_are_round_and_inside():
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-7109.2, -7108.1) == pytest.approx([-7109.0, -7108.5])
    assert ticks(2.0, 2.0) == [2.0]


def test_letters_that_no_page_may_hold_are_left_out():
    assert escape("a\x00<b>\x1b\"'") == "a&lt;b&gt;&quot;&#x27;"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 420])
def test_a_browser_shows_it_without_sideways_scrolling(run, tmp_path, width):
    """The page is no wider than the window; what is wider scrolls by itself. And no script of a name has run."""
    probe = (
        "<script>addEventListener('load', () => {const d = document.documentElement;"
        "document.title = `${d.scrollWidth <= d.clientWidth} ${document.querySelectorAll('svg text').length}`})</script>"
    )
    place = tmp_path / "probed.html"
    place.write_text(run.report().replace("</body>", f"{probe}</body>"), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
        f"--user-data-dir={tmp_path}/c", "--virtual-time-budget=2000", "--dump-dom", place.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    fits, texts = re.search(r"<title>(\w+) (\d+)</title>", done.stdout).groups()
    assert fits == "true"
    assert int(texts) > 40

"""`vbpi-mix draw`, and what it and `report` refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vbpi_mix
from vbpi_mix.files import check_writable

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that was trained a little, given an outgroup."""
    place = tmp_path_factory.mktemp("drawn") / "eight.vbpi"
    vbpi_mix.fit(
        EXAMPLES / "eight.nex", EXAMPLES / "eight.nwk", iterations=30, threads=1, answer_draws=500, outgroup="t05", out=place
    )
    return place


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder, made the current one, with a copy of the run as eight.vbpi."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "eight.vbpi")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_of_the_newest_run(run, here):
    done = run("draw", "--out", "tree.svg", "--by", "matplotlib", "--outgroup", "t03")
    assert done.status == 0, done.err
    assert done.out == "wrote tree.svg, drawn by matplotlib\n"
    assert "newest run: eight.vbpi" in done.err
    assert names(here) == ["eight.vbpi", "tree.svg"]
    text = (here / "tree.svg").read_text(encoding="utf-8")
    assert all(f">t0{k}<" in text for k in range(1, 9))
    assert "exists" in run("draw", "eight.vbpi", "--out", "tree.svg").error_line()
    assert (here / "tree.svg").read_text(encoding="utf-8") == text
    again = run("draw", "eight.vbpi", "--out", "tree.svg", "--by", "matplotlib", "--midpoint", "--force")
    assert again.status == 0
    assert (here / "tree.svg").read_text(encoding="utf-8") != text


def test_without_a_root_of_its_own_a_picture_has_that_of_the_fit(here):
    loaded = vbpi_mix.load(here / "eight.vbpi")
    assert loaded.tree_picture() == loaded.tree_picture(outgroup="t05")
    plain, asked = (loaded.draw(here / f"{k}.svg", outgroup, by="matplotlib").path for k, outgroup in enumerate([None, "t05"]))
    assert plain.read_bytes() == asked.read_bytes()


@pytest.mark.parametrize("command", [("draw", "--out", "tree.pdf"), ("report", "--out", "page.html")])
@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--outgroup", "Pan"], "'Pan' is not among the 8"),
        (["--outgroup", "t01,t02,t03,t04,t05,t06,t07,t08"], "all 8 taxa"),
        (["--outgroup", "t01", "--midpoint"], "either --outgroup or --midpoint"),
        (["--outgroup", ","], "no taxon is named"),
        (["--out", "nowhere/deep.svg"], "does not exist"),
        (["--out", "eight.vbpi/config.yaml/x.svg"], "eight.vbpi/config.yaml is a file and no folder"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(run, here, command, options, word):
    assert word in run(command[0], "eight.vbpi", *command[1:], *options).error_line()
    assert names(here) == ["eight.vbpi"]


@pytest.mark.parametrize("command", [("draw", "--out", "tree.pdf"), ("report", "--tree", "tree.pdf"), ("report",), ("export",)])
def test_a_run_that_was_never_trained(run, here, command):
    before = (here / "eight.vbpi" / "report.html").read_bytes()
    (here / "eight.vbpi" / "trace.csv").unlink()
    summary = here / "eight.vbpi" / "summary.json"
    summary.write_text(summary.read_text().replace('"iterations"', '"other"'))
    assert "never trained" in run(command[0], "eight.vbpi", *command[1:]).error_line()
    assert names(here) == ["eight.vbpi"]
    assert (here / "eight.vbpi" / "report.html").read_bytes() == before


@pytest.mark.parametrize("command", ["draw", "report", "export"])
def test_a_place_that_cannot_be_written_is_found_before_any_work(run, here, monkeypatch, command):
    """A user who owns everything may write everywhere, so that the disk says no here."""

    def full(*arguments, **choices):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(Exception, match="Read-only"):
        check_writable(here)
    (here / "eight.vbpi" / "report.html").unlink()
    out = {"draw": "tree.pdf", "report": "page.html", "export": "out"}[command]
    assert "Read-only file system" in run(command, "eight.vbpi", "--out", out).error_line()
    assert names(here) == ["eight.vbpi"]


def test_report_replaces_files_with_force_alone(run, here):
    (here / "page.html").write_text("mine")
    assert "page.html exists" in run("report", "eight.vbpi", "--out", "page.html").error_line()
    assert (here / "page.html").read_text() == "mine"

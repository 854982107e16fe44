"""`vbpi-mix export`: what it says, and what it refuses."""

from __future__ import annotations

import pytest

from vbpi_mix.phylo.report.export_files import ENDINGS, endings


@pytest.fixture
def fitted(run, six):
    """A folder with six.vbpi, a run that was trained a little."""
    options = ["--iterations", 30, "--threads", 1, "--quiet", "--answer-draws", 500]
    assert run("fit", "six.nex", "--trees", "all.ufboot", *options).status == 0
    return six


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", list(ENDINGS))
def test_all_files_of_a_format_are_written_beside_the_run(run, fitted, form):
    before = names(fitted)
    done = run("export", "six.vbpi", "--format", form, "--trees", 20, "--threads", 1)
    assert done.status == 0, done.err
    assert names(fitted) == sorted([*before, *(f"six{ending}" for ending in endings(form))])
    assert done.out.startswith("20 trees, ")
    assert f"six{ENDINGS[form][0]}" in done.out


def test_the_newest_run_into_a_new_folder(run, fitted):
    done = run("export", "--out", "for-beast", "--trees", 5, "--midpoint", "--threads", 1)
    assert done.status == 0
    assert "newest run: six.vbpi" in done.err
    assert len(names(fitted / "for-beast")) == 7


def test_an_outgroup_that_is_apart_is_said(run, fitted):
    """Of all pairs of six taxa at most three are groups."""
    apart = 0
    for first in range(1, 4):
        for second in range(first + 1, 5):
            done = run(
                "export", "six.vbpi", "--outgroup", f"t0{first},t0{second}", "--trees", 2, "--force", "--threads", 1,
            )  # fmt: skip
            assert done.status == 0, done.err
            apart += "consensus: the outgroup" in done.out
    assert apart >= 3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--outgroup", "Pan"], "'Pan' is not among the 6"),
        (["--outgroup", "t01,t02,t03,t04,t05,t06"], "all 6 taxa"),
        (["--outgroup", "t01", "--midpoint"], "either --outgroup or --midpoint"),
        (["--outgroup", ","], "no taxon is named"),
        (["--trees", 0], "--trees must be a whole number of at least 1, not 0"),
        (["--out", "nowhere/deep"], "does not exist"),
        (["--out", "six.nex"], "is not a folder"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(run, fitted, options, word):
    before = names(fitted)
    assert word in run("export", "six.vbpi", *options).error_line()
    assert names(fitted) == before


def test_files_are_replaced_with_force_alone(run, fitted):
    (fitted / "six.map.tre").write_text("mine")
    assert "six.map.tre exists" in run("export", "six.vbpi", "--trees", 5).error_line()
    assert (fitted / "six.map.tre").read_text() == "mine"
    assert not (fitted / "six.t").exists()
    assert run("export", "six.vbpi", "--trees", 5, "--force", "--threads", 1).status == 0
    assert (fitted / "six.map.tre").read_text().startswith("#NEXUS")


def test_a_folder_that_is_no_run_and_a_run_that_was_never_trained(run, fitted):
    assert "is not a run" in run("export", ".").error_line()
    (fitted / "six.vbpi" / "checkpoint.pt").unlink()
    assert "checkpoint" in run("export", "six.vbpi").error_line()

"""`vbpi-mix support`: what it writes, prints and refuses."""

from __future__ import annotations

import io
import math
import re

import numpy as np
import pytest

from vbpi_mix.phylo.models.constraints import parse_constraints
from vbpi_mix.phylo.sampling.sampler import McmcReport
from vbpi_mix.phylo.trees.sample import read_tree_sample
from vbpi_mix_cli.main import main
from vbpi_mix_cli.progress import SamplerProgress

TAXA = ("a", "b", "c", "d", "e", "f")
FAST = ("--generations", "3000", "--threads", "1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    rows = "".join(f">{name}\n{''.join(rng.choice(list('ACGT'), 40))}\n" for name in TAXA)
    (tmp_path / "some.fasta").write_text(rows)
    return tmp_path


def run(*arguments):
    try:
        main(["support", *arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_it_writes_a_sample_beside_where_it_is_called(folder, capsys):
    assert run("some.fasta", *FAST) == 0
    out, err = capsys.readouterr()
    sample = read_tree_sample(["some.trprobs"], TAXA)
    assert f"{len(sample.weights):,} topologies" in out
    assert re.search(r"elements \(\d+ splits\)", out)
    assert re.search(r"ASDSF 0\.\d{4}", out)
    assert "took" in out
    assert "some.trprobs" in out
    assert err.startswith("nucleotides under JC69, as no other model is named")
    assert "\nstarting the sampler" in err
    assert err.splitlines()[2].startswith("generation 3,0")
    assert len(err.splitlines()) == 3


def test_the_same_seed_gives_the_same_file(folder):
    assert run("some.fasta", *FAST, "--out", "x", "--seed", "2", "--quiet") == 0
    assert run("some.fasta", *FAST, "--out", "y", "--seed", "2", "--threads", "2", "--quiet") == 0
    assert (folder / "x").read_bytes() == (folder / "y").read_bytes()


def test_a_file_is_replaced_only_on_request(folder, capsys):
    (folder / "some.trprobs").write_text("mine")
    assert run("some.fasta", *FAST) == 2
    assert capsys.readouterr().err == (
        "error: some.trprobs exists; choose another name, or replace it with --force\n"
    )
    assert (folder / "some.trprobs").read_text() == "mine"
    assert run("some.fasta", *FAST, "--force", "--quiet") == 0
    assert (folder / "some.trprobs").read_text().startswith("#NEXUS")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DS11"], "did you mean DS1"),
        (["nowhere/x.fasta"], "no such file"),
        (["some.fasta", "--out", "no/such/place"], "does not exist"),
        (["some.fasta", "--out", "."], "is a folder"),
    ],
)
def test_faults_are_one_line(folder, capsys, arguments, message):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_an_interruption_leaves_nothing(folder, capsys, monkeypatch):
    def interrupt(self, report):
        raise KeyboardInterrupt

    monkeypatch.setattr(SamplerProgress, "__call__", interrupt)
    assert run("some.fasta", "--seconds", "60") == 130
    assert sorted(path.name for path in folder.iterdir()) == ["some.fasta"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def reports():
    yield McmcReport(0, 0.0, math.nan, math.nan, 0.0)
    yield McmcReport(500, 0.5, 0.3, math.nan, 0.02)
    for second in range(1, 25):
        yield McmcReport(1000 * second, float(second), 0.02, 0.9, second / 25)
    yield McmcReport(25_000, 25.0, 0.01, 0.98, 1.0, finished=True)


def test_piped_progress_is_plain_lines():
    stream = io.StringIO()
    with SamplerProgress(stream=stream) as progress:
        for report in reports():
            progress(report)
    assert stream.getvalue().splitlines() == [
        "starting the sampler (the first time, its kernels are compiled)",
        "generation 10,000  0:10  ASDSF 0.0200  agreement 0.900",
        "generation 20,000  0:20  ASDSF 0.0200  agreement 0.900",
        "generation 25,000  0:25  ASDSF 0.0100  agreement 0.980",
    ]


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with SamplerProgress(stream=stream) as progress:
        for report in reports():
            progress(report)
    assert "generation 25,000" in stream.getvalue()
    assert "\r" in stream.getvalue()


def test_constraints_and_priors_are_honoured(folder, capsys):
    groups = ("--constraint", "(a,b)", "--constraint", "constraint x = 4 5;", "--prior-lengths", "gammadir:1,1,1,1")
    assert run("some.fasta", *FAST, *groups) == 0
    sample = read_tree_sample(["some.trprobs"], TAXA)
    assert parse_constraints(["(a,b)", "(d,e)"], TAXA).allows(sample.children).all()
    assert run("some.fasta", "--fix-topology", "((a,b),c,(d,(e,f)));", "--out", "one.trprobs") == 0
    assert "fixed topology" in capsys.readouterr().out
    assert len(read_tree_sample(["one.trprobs"], TAXA).weights) == 1
    assert run("some.fasta", *FAST, "--constraint", "(a,x)", "--out", "no.trprobs") == 2
    assert "taxon 'x' is not in the alignment" in capsys.readouterr().err

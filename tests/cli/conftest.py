"""A small alignment with its tree sample, and a way to run the command line in the process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from vbpi_mix.phylo.alignment import write_nexus
from vbpi_mix.phylo.simulate import simulate_alignment
from vbpi_mix.phylo.topology import enumerate_topologies, to_newick
from vbpi_mix_cli.main import main


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    def error_line(self):
        """The one line that an expected error prints; status 2."""
        assert self.status == 2, (self.status, self.out, self.err)
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def run(capsys):
    """run("fit", "x.nex", ...) -> Outcome."""

    def call(*arguments):
        try:
            main([str(a) for a in arguments])
            status = 0
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture
def six(tmp_path, monkeypatch):
    """A folder, made the current one, with six.nex of 6 taxa and six.trees, all 105 topologies."""
    monkeypatch.chdir(tmp_path)
    alignment, children, lengths = simulate_alignment(6, 120, seed=3)
    write_nexus(alignment, tmp_path / "six.nex")
    (tmp_path / "six.nwk.txt").write_text(to_newick(children, alignment.taxa, lengths) + "\n")
    rng = np.random.default_rng(1)
    topologies = enumerate_topologies(6)[rng.permutation(105)]
    lines = [to_newick(tree, alignment.taxa) + "\n" for tree in topologies]
    (tmp_path / "all.ufboot").write_text("".join(lines))
    return tmp_path

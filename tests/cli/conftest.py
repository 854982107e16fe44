"""A small alignment with its tree sample."""

from __future__ import annotations

import numpy as np
import pytest

from vbpi_mix.phylo.data.alignment import write_nexus
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick


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

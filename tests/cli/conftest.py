"""A small alignment with its tree sample."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch

from vbpi_mix.phylo.data.alignment import write_nexus
from vbpi_mix.phylo.models.simulate import simulate_alignment
from vbpi_mix.phylo.trees.topology import enumerate_topologies, to_newick

# log p(Y) of six.nex under JC69 with Exp(10) lengths and equally probable topologies: the sum of the marginal likelihoods of
# all 105, each by importance sampling of gamma approximations, 40,000 draws (approximation.py; no mixture in it).
EVIDENCE_OF_SIX = -497.80


@pytest.fixture
def evidence_of_six():
    """To 0.03 nats."""
    return EVIDENCE_OF_SIX


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


@pytest.fixture
def trace_without_seconds():
    """The rows of a run's trace, its folder given, without what a clock says."""

    def read(folder):
        rows = [line.split(",") for line in (folder / "trace.csv").read_text().splitlines()]
        kept = [k for k, name in enumerate(rows[0]) if "seconds" not in name]
        return [[row[k] for k in kept] for row in rows]

    return read


@pytest.fixture
def cut_and_resumed(run, six, monkeypatch, trace_without_seconds):
    """cut_and_resumed("fit", ...): the folders of a fit, and of the same with Ctrl-C in iteration 31 and --resume. Their traces,
    parameters and trees are the same, and `parts` of the problem's state, of which it returns those of the whole.
    """
    from vbpi_mix.phylo.problem import PhyloProblem

    def fit_twice(*arguments, parts):
        whole, cut = six / "whole.vbpi", six / "cut.vbpi"
        outcome = run(*arguments, "--out", whole)
        assert outcome.status == 0, outcome.err
        objective = PhyloProblem.objective

        def interrupted(self, iteration, beta, generator):
            if iteration == 31:
                signal.raise_signal(signal.SIGINT)
            return objective(self, iteration, beta, generator)

        with monkeypatch.context() as patch:
            patch.setattr(PhyloProblem, "objective", interrupted)
            assert "interrupted after 31 iterations" in run(*arguments, "--out", cut).out
        outcome = run("fit", "--resume", cut, "--quiet")
        assert outcome.status == 0, outcome.err
        assert trace_without_seconds(whole) == trace_without_seconds(cut)
        states = [torch.load(each / "checkpoint.pt", weights_only=True)["problem"] for each in (whole, cut)]
        for name in parts:
            one, other = (_tensors(state[name]) for state in states)
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[key]) for key, value in one.items())
        assert (whole / "consensus.nwk").read_text() == (cut / "consensus.nwk").read_text()
        return whole, cut, states[0]

    return fit_twice


def _tensors(state):
    return {"": state} if isinstance(state, torch.Tensor) else state

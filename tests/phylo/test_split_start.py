"""The warm start of features of splits alone, on one topology, where each edge has a feature that no other has."""

from __future__ import annotations

import numpy as np
import pytest
from small_posteriors import small_data

from vbpi_mix.phylo.approximation import approximate
from vbpi_mix.phylo.branches.base import make_base
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.problem import build_problem
from vbpi_mix.phylo.trees.sample import TreeSample
from vbpi_mix.phylo.trees.topology import enumerate_topologies


class Data:
    """What `build_problem` asks of the data."""

    def __init__(self, posterior):
        self.posterior, self.theta, self.taxa, self.parts = posterior, None, ("a", "b", "c", "d", "e"), ()


@pytest.mark.parametrize("branch", ["split", "psp"])
def test_the_features_of_an_edge_add_up_to_its_own_approximation(branch):
    """Of splits alone nearly all is theirs; the rest is what half a pseudo-observation pulls to the mean of their kind."""
    _, posterior = small_data(5, 400)
    tree = enumerate_topologies(5)[1:2]
    sample = TreeSample(Data(posterior).taxa, tree, np.ones(1), np.zeros(1, np.int32), np.ones(1), None, ())
    model = ModelConfig(components=2, branch=branch, init="warm", lengths="gamma").resolve()
    problem, start = build_problem(Data(posterior), sample, model, seed=1, growing=False)
    base, found = make_base("gamma"), approximate(tree, posterior, np.random.default_rng(1))
    rows = problem.support.encode(tree).rows[0]
    features = start.features
    used = len(features) if branch == "psp" else problem.support.n_splits
    sums = np.array([sum(features[r] for r in edge if 0 <= r < used) for edge in rows])
    wanted = base.features_of(found)[0]
    kind = [problem.support.pendant_features[edge[0]] for edge in rows]
    usual = np.array([wanted[[k == own for k in kind]].mean(axis=0) for own in kind])
    if branch == "split":
        np.testing.assert_allclose(sums, usual + (wanted - usual) / 1.5, atol=0.02)
        assert problem.trees.features.shape == (2, problem.support.n_splits, 2)
        assert np.abs(problem.trees.features.detach().numpy() - features[: problem.support.n_splits]).max() < 0.1
    else:
        assert np.abs(sums - wanted).max() < np.abs(usual + (wanted - usual) / 1.5 - wanted).max()

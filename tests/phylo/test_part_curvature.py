"""The curvature of many parts at once against moving every parameter by itself."""

import numpy as np
import pytest

from vbpi_mix.phylo import parameter_start
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.partitions import Part
from vbpi_mix.phylo.part_curvature import curvature_by_parts
from vbpi_mix.phylo.parts import data_parts, posterior_of
from vbpi_mix.phylo.prior_choices import Priors
from vbpi_mix.phylo.sbn.support import build_support
from vbpi_mix.phylo.simulation import simulate
from vbpi_mix.phylo.trees.topology import enumerate_topologies


def mode_of(link):
    """Of three parts, one of which has no parameters, on the best topology, all of whose edges the data know well."""
    made = simulate(taxa=6, sites=900, mean_length=0.2, model="HKY{3}+F{0.3,0.2,0.2,0.3}+G4{0.6}", seed=2)
    sites, dna = np.arange(900), made.alignment.alphabets[0]
    named = [("a", sites[:400], "HKY+G4"), ("b", sites[400:700], "GTR+G4"), ("c", sites[700:], "JC")]
    parts = data_parts(made.alignment, None, [Part(name, own, dna, model) for name, own, model in named])
    posterior = posterior_of(parts, ModelConfig(link=link), Priors.default(6))
    topologies = enumerate_topologies(6)
    best = np.argsort(-posterior.at(None).log_joint(topologies, np.full((105, 9), -2.0)))[:1]
    return posterior, parameter_start.find_mode(posterior, topologies[best], np.random.default_rng(1)), topologies


@pytest.mark.parametrize("link", ["", "alpha", "multipliers"])
def test_starts_of_both_ways_agree(monkeypatch, link):
    posterior, mode, topologies = mode_of(link)
    support = build_support(topologies)
    one = parameter_start.parameter_start(posterior, mode, support)
    monkeypatch.setattr(parameter_start, "MOST_MOVED", 0)
    all_at_once = parameter_start.parameter_start(posterior, mode, support)
    assert len(one.scale) == len(all_at_once.scale) == (2 if link == "multipliers" else 3)
    for first, second in zip(one.scale, all_at_once.scale, strict=True):
        covariances = first @ first.T, second @ second.T
        scale = np.sqrt(np.outer(*2 * [np.diagonal(covariances[0])]))
        np.testing.assert_allclose(covariances[1] / scale, covariances[0] / scale, atol=0.06)
    assert np.corrcoef(one.drift.ravel(), all_at_once.drift.ravel())[0, 1] > 0.98


def test_curvature_is_that_of_the_joint_density():
    """Where lengths are held so firmly that they cannot follow, it is minus the second differences in theta alone."""
    posterior, mode, _ = mode_of("alpha")
    firm = np.full_like(mode.precisions, 1e12)
    found = curvature_by_parts(posterior, mode.theta, mode.children, mode.log_lengths, firm).profile
    size, step = mode.theta.size, 0.1
    slopes = [
        posterior.joint_slopes(mode.children, mode.log_lengths, (mode.theta + sign * step * unit)[None])[2].mean(axis=0)
        for unit in np.eye(size)
        for sign in (1.0, -1.0)
    ]
    expected = -(np.array(slopes[::2]) - np.array(slopes[1::2])) / (2.0 * step)
    scale = np.sqrt(np.outer(*2 * [np.diagonal(expected)]))
    np.testing.assert_allclose(found / scale, 0.5 * (expected + expected.T) / scale, atol=0.01)

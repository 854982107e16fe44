"""Where model parameters start: on which topologies, and near what the data were made with."""

import numpy as np
import pytest

import vbpi_mix
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.parameter_start import TOPOLOGIES, find_mode, probable_topologies
from vbpi_mix.phylo.parts import data_parts, posterior_of
from vbpi_mix.phylo.prior_choices import Priors
from vbpi_mix.phylo.trees.topology import enumerate_topologies

MODEL = "HKY{4}+F{0.4,0.1,0.2,0.3}+G4{0.5}"


@pytest.fixture(scope="module")
def posterior():
    alignment = vbpi_mix.simulate(6, 1500, seed=3, model=MODEL, mean_length=0.2).alignment
    return posterior_of(data_parts(alignment, "HKY+G4"), ModelConfig(), Priors.default(6))


def test_trees_of_equal_weight_are_told_apart_by_their_posterior(posterior):
    topologies = enumerate_topologies(6)[::-1].copy()
    chosen = probable_topologies(posterior.at(None), topologies, np.full(105, 1 / 105))
    assert chosen.size == TOPOLOGIES
    found = find_mode(posterior, topologies[chosen], np.random.default_rng(1))
    characters = posterior.characters
    values = {each.name: value for each, value in zip(characters.names, characters.values(found.theta[None])[0], strict=True)}
    assert values["kappa"] == pytest.approx(4.0, rel=0.25)
    assert values["alpha"] == pytest.approx(0.5, rel=0.25)
    assert values["pi(A)"] == pytest.approx(0.4, abs=0.03)


def test_frequencies_that_differ_say_which(posterior):
    weights = np.linspace(1.0, 2.0, 105)
    chosen = probable_topologies(posterior.at(None), enumerate_topologies(6), weights / weights.sum())
    np.testing.assert_array_equal(chosen, np.arange(104, 104 - TOPOLOGIES, -1))

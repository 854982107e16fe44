"""What a substitution model promises: transitions, likelihoods against IQ-TREE and JC69's kernels, simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.reversible import ReversibleModel
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import parse_newick, random_topologies

FREQUENCIES = np.array([0.31, 0.19, 0.22, 0.28])


class Fixed(ReversibleModel):
    """Any reversible model with fixed parameters; rates AC, AG, AT, CG, CT, GT."""

    name, iqtree, mrbayes = "fixed", "fixed", ()

    def __init__(self, frequencies=(0.25,) * 4, rates=(1.0,) * 6):
        self.pi, self.rates = np.array(frequencies), rates

    def frequencies(self):
        return self.pi

    def exchangeabilities(self):
        s = np.zeros((4, 4))
        s[np.triu_indices(4, 1)] = self.rates
        return s + s.T


MODELS = [JukesCantor(), Fixed(FREQUENCIES), Fixed(FREQUENCIES, (1.2, 3.4, 0.7, 0.9, 4.1, 1.0))]


def random_patterns(n_taxa, n_patterns, seed):
    rng = np.random.default_rng(seed)
    states = rng.choice(np.array([1, 2, 4, 8, 15, 5, 10, 7], np.uint8), (n_taxa, n_patterns))
    return SitePatterns(states, rng.integers(1, 5, n_patterns).astype(float))


@pytest.mark.parametrize("model", MODELS)
def test_transition_matrices_are_those_of_a_stationary_process(model):
    p = model.transition_matrices(np.array([[0.0, 0.1], [0.4, 0.5]]))
    np.testing.assert_allclose(p[0, 0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(p[0, 1] @ p[1, 0], p[1, 1], atol=1e-12)
    np.testing.assert_allclose(model.frequencies() @ p[1, 1], model.frequencies(), atol=1e-12)
    # One substitution per unit of length.
    rates = (model.transition_matrices(1e-7) - np.eye(4)) / 1e-7
    assert -model.frequencies() @ rates.diagonal() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(expm(0.4 * rates), p[1, 0], atol=1e-6)


def test_pruning_of_matrices_equals_the_kernel_of_jc69():
    rng = np.random.default_rng(1)
    children, patterns = random_topologies(30, 3, rng), random_patterns(30, 40, seed=2)
    lengths = rng.exponential(0.2, (3, 57))
    slow, fast = Fixed(), JukesCantor()
    expected = slow.evaluate(children, lengths, slow.pack(patterns))
    found = fast.evaluate(children, lengths, fast.pack(patterns))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    np.testing.assert_allclose(found.length_slopes, expected.length_slopes, rtol=1e-9, atol=1e-9)


def test_length_slopes_of_a_reversible_model_equal_differences():
    model, rng = MODELS[2], np.random.default_rng(3)
    children, packed = random_topologies(7, 2, rng), model.pack(random_patterns(7, 9, seed=4))
    lengths = rng.exponential(0.2, (2, 11)) + 0.01
    slopes = model.evaluate(children, lengths, packed).length_slopes
    for edge in range(11):
        shift = np.zeros_like(lengths)
        shift[:, edge] = 1e-5
        above, below = (model.log_likelihoods(children, lengths + s * shift, packed) for s in (1, -1))
        np.testing.assert_allclose(slopes[:, edge], (above - below) / 2e-5, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["K80", "HKY85", "GTR"])
def test_reversible_models_equal_iqtree(benchmark_data, name):
    oracle = Path(benchmark_data).parent / "oracles" / "likelihood_iqtree.json"
    if not oracle.exists():
        pytest.skip(f"no oracle file {oracle}")
    alignment = read_alignment(benchmark_data / "DS1" / "DS1.fasta")
    rows = [r for r in json.loads(oracle.read_text()) if (r["dataset"], r["model"]) == ("DS1", name)]
    assert rows
    for row in rows:
        given = row["parameters"]
        kappa = given.get("kappa")
        rates = given.get("rates_AC_AG_AT_CG_CT_GT") or (1, kappa, 1, 1, kappa, 1)
        model = Fixed(given.get("frequencies_ACGT", (0.25,) * 4), rates)
        children, lengths = parse_newick(row["newick"], alignment.taxa)
        (value,) = model.log_likelihoods(children[None], lengths[None], model.pack(compress(alignment)))
        assert value == pytest.approx(row["log_likelihood"], abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_simulated_pairs_of_states_have_the_joint_probabilities_of_the_model(model):
    """At two neighbouring taxa of a tree, 0.3 + 0.2 apart; five standard errors."""
    sites = 40_000
    children, lengths = np.array([[1, 2]], np.int32), np.array([0.2, 0.1, 0.3])
    states = np.log2(simulate_states(children, lengths, sites, np.random.default_rng(5), model)).astype(int)
    counts = np.bincount(4 * states[0] + states[1], minlength=16).reshape(4, 4) / sites
    expected = model.frequencies()[:, None] * model.transition_matrices(0.5)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected / sites)).all()


def test_a_posterior_takes_any_model_and_the_sampler_says_what_it_cannot_do():
    posterior = Posterior(random_patterns(5, 6, seed=6), MODELS[1])
    children = random_topologies(5, 2, np.random.default_rng(7))
    assert np.isfinite(posterior.log_joint(children, np.full((2, 7), -2.0))).all()
    with pytest.raises(ConfigError, match="does not know the model fixed"):
        sample_trees(posterior, tuple("abcde"), McmcOptions(generations=10))

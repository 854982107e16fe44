"""The moves of the sampler: partials that are updated in place, Hastings ratios, and the exact posterior of 5
taxa."""

from __future__ import annotations

import numpy as np
import pytest
from chain_helpers import LETTERS, SingleChain, missing_patterns, random_patterns, target_of

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.sampling.kernels import chains as kernels
from vbpi_mix.phylo.sampling.kernels.moves import uniform
from vbpi_mix.phylo.sampling.sampler import McmcOptions, sample_trees
from vbpi_mix.phylo.trees.topology import enumerate_topologies, random_topology, unique_topologies


def mrg32k3a(state, count):
    """The recursion as published, in whole numbers."""
    x, y = [int(s) for s in state[:3]], [int(s) for s in state[3:]]
    numbers = []
    for _ in range(count):
        x.append((1403580 * x[-2] - 810728 * x[-3]) % (2**32 - 209))
        y.append((527612 * y[-1] - 1370589 * y[-3]) % (2**32 - 22853))
        numbers.append(((x[-1] - y[-1] - 1) % (2**32 - 209) + 1) / (2**32 - 208))
    return numbers


def test_the_generator_is_mrg32k3a():
    state = np.full(6, 12345, np.int64)
    first = [uniform(state) for _ in range(1000)]
    assert first == pytest.approx(mrg32k3a(np.full(6, 12345), 1000), rel=1e-15, abs=0)
    # The first number of L'Ecuyer's published implementation for this state.
    assert first[0] == pytest.approx(0.127011122046577, abs=1e-14)
    many = np.array([uniform(state) for _ in range(20_000)])
    assert 0 < many.min() < many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * many.size))


@pytest.mark.parametrize("n_taxa", [3, 4, 5, 9, 70])
def test_half_edges_hold_the_tree(n_taxa):
    rng = np.random.default_rng(n_taxa)
    chain = SingleChain(missing_patterns(n_taxa))
    children, lengths = random_topology(n_taxa, rng), rng.exponential(0.1, 2 * n_taxa - 3)
    kernels.hang(children, lengths, chain.tree)
    read, read_lengths = chain.read()
    np.testing.assert_array_equal(read, children)
    np.testing.assert_array_equal(read_lengths, lengths)


@pytest.mark.parametrize(("n_taxa", "regraft_share"), [(4, 0.5), (5, 0.0), (5, 1.0), (12, 0.3), (70, 0.3)])
def test_every_state_has_the_likelihood_of_its_tree(n_taxa, regraft_share):
    chain = SingleChain(random_patterns(n_taxa, 45, np.random.default_rng(n_taxa)), seed=3)
    seen = set()
    for _ in range(300):
        chain.step(regraft_share)
        assert chain.log_likelihood == pytest.approx(chain.full_log_likelihood(), rel=1e-11)
        seen.add(chain.read()[0].tobytes())
    assert len(seen) > 1


def test_every_state_has_the_likelihood_of_its_tree_on_ds1(benchmark_data):
    alignment = read_alignment(benchmark_data / "DS1" / "DS1.nex")
    chain = SingleChain(compress(alignment), seed=4)
    for _ in range(3000):
        chain.step(0.05)
        assert chain.log_likelihood == pytest.approx(chain.full_log_likelihood(), rel=1e-11)
    assert chain.counters[1::2].min() > 10


@pytest.mark.parametrize(
    ("n_taxa", "regraft_share", "beta"), [(5, 0.0, 1.0), (5, 1.0, 1.0), (6, 0.3, 0.5), (7, 0.3, 1.0)]
)
def test_without_data_the_prior_is_sampled(n_taxa, regraft_share, beta):
    """Uniform topologies and independent Exp(10) lengths; any wrong proposal ratio shows here."""
    chain = SingleChain(missing_patterns(n_taxa), seed=n_taxa, beta=beta, window=3.0)
    draws, apart = 40_000, 25
    children, lengths = [], []
    for _ in range(draws):
        chain.step(regraft_share, apart)
        topology, length = chain.read()
        children.append(topology)
        lengths.append(length)
    every = enumerate_topologies(n_taxa)
    distinct, index = unique_topologies(np.concatenate([every, np.array(children)]))
    counts = np.bincount(index[len(every) :], minlength=len(every))
    assert len(distinct) == len(every)
    # Draws are nearly, not quite, independent: five standard deviations are widened by half.
    expected = draws / len(every)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = len(every) - 1
    assert chi_square < 1.5 * (freedom + 5 * np.sqrt(2 * freedom))
    lengths = np.array(lengths)
    np.testing.assert_allclose(lengths.mean(axis=0), 0.1, atol=7.5 * 0.1 / np.sqrt(draws))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = (lengths < -np.log1p(-share) / 10.0).mean(axis=0)
        np.testing.assert_allclose(below, share, atol=7.5 * np.sqrt(share * (1 - share) / draws))
    correlation = np.corrcoef(lengths.T) - np.eye(lengths.shape[1])
    assert np.abs(correlation).max() < 7.5 / np.sqrt(draws)


def simulated_patterns(n_sites, rng):
    """Five taxa on ((0,1),(2,3),4) with some missing and ambiguous characters."""
    root = rng.integers(0, 4, n_sites)

    def descend(states, t):
        changed = rng.random(n_sites) < 0.75 * -np.expm1(-4.0 / 3.0 * t)
        return np.where(changed, (states + rng.integers(1, 4, n_sites)) % 4, states)

    left, right = descend(root, 0.03), descend(root, 0.05)
    rows = [descend(node, t) for node, t in ((left, 0.2), (left, 0.3), (right, 0.1), (right, 0.4), (root, 0.2))]
    states = LETTERS[np.array(rows)]
    states[rng.random(states.shape) < 0.05] = 15
    states[0, 0] = 5
    return SitePatterns(states, np.ones(n_sites))


def exact_posterior(target, power=14, repeats=8):
    """Posterior of all 15 topologies and its standard error, by scrambled Sobol points on the prior of
    lengths."""
    from scipy.stats import qmc

    topologies = enumerate_topologies(5)
    marginals = np.empty((repeats, len(topologies)))
    for repeat in range(repeats):
        points = qmc.Sobol(7, rng=np.random.default_rng(repeat)).random_base2(power)
        lengths = -np.log1p(-points) / 10.0
        for t, children in enumerate(topologies):
            values = log_likelihoods(np.repeat(children[None], len(lengths), 0), lengths, target.patterns)
            marginals[repeat, t] = np.logaddexp.reduce(values) - power * np.log(2)
    shares = np.exp(marginals - marginals.max())
    shares /= shares.sum(axis=1, keepdims=True)
    return topologies, shares.mean(axis=0), shares.std(axis=0, ddof=1) / np.sqrt(repeats)


@pytest.fixture(scope="module")
def five_taxa():
    """A target whose posterior is spread over topologies, all topologies, their posterior and its error."""
    target = target_of(simulated_patterns(30, np.random.default_rng(8)))
    topologies, exact, error = exact_posterior(target)
    assert exact.max() < 0.9
    assert error.max() < 3e-3
    return target, topologies, exact, error


@pytest.mark.parametrize(("temperatures", "heating", "regraft_share"), [(1, 0.0, 0.05), (3, 0.5, 0.3)])
def test_five_taxa_have_their_exact_posterior(five_taxa, temperatures, heating, regraft_share):
    target, topologies, exact, error = five_taxa
    options = McmcOptions(
        generations=400_000, temperatures=temperatures, heating=heating, regraft_share=regraft_share, seed=5,
        runs=4, steps=50, keep=40_000,
    )  # fmt: skip
    result = sample_trees(target, ("a", "b", "c", "d", "e"), options)
    sample = result.sample
    frequencies = np.zeros((4, len(topologies)))
    order = [int(np.flatnonzero((topologies == each).all(axis=(1, 2)))[0]) for each in sample.children]
    of_run = np.split(np.arange(sample.tree_weights.size), 4)
    for run, trees in enumerate(of_run):
        np.add.at(frequencies[run], np.array(order)[sample.tree_topology[trees]], 4 * sample.tree_weights[trees])
    found = frequencies.mean(axis=0)
    # The standard error of four runs is itself uncertain; that of independent draws is a floor.
    draws = sample.tree_weights.size / 2
    floor = np.sqrt(exact * (1 - exact) / draws)
    spread = np.maximum(frequencies.std(axis=0, ddof=1) / 2, floor)
    assert (np.abs(found - exact) < 5 * np.hypot(spread, error) + 1e-4).all()
    assert 0.5 * np.abs(found - exact).sum() < 0.01

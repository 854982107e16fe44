"""The moves of the sampler: partials that are updated in place, Hastings ratios, and the exact posterior of 5
taxa."""

from __future__ import annotations

import numpy as np
import pytest
from chain_helpers import LETTERS, SingleChain, missing_patterns, random_patterns, target_of

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.likelihood import log_likelihoods
from vbpi_mix.phylo.models.priors import GammaDirichletLengths
from vbpi_mix.phylo.models.topology_prior import TopologyPrior
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
    local_share = 0.7 if n_taxa > 50 else 0.0
    chain = SingleChain(random_patterns(n_taxa, 45, np.random.default_rng(n_taxa)), seed=3, local_share=local_share)
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
    ("n_taxa", "regraft_share", "beta", "local_share"),
    [(5, 0.0, 1.0, 0.0), (5, 1.0, 1.0, 0.0), (6, 0.3, 0.5, 0.0), (7, 0.3, 1.0, 0.0), (6, 1.0, 1.0, 1.0)],
)
def test_without_data_the_prior_is_sampled(n_taxa, regraft_share, beta, local_share):
    """Uniform topologies and independent Exp(10) lengths; any wrong proposal ratio shows here."""
    chain = SingleChain(missing_patterns(n_taxa), seed=n_taxa, beta=beta, window=3.0, local_share=local_share)
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


def draws_of(chain, draws, apart, regraft_share):
    """Topologies int32 [draws, n-2, 2] and lengths [draws, E], so many generations apart."""
    children, lengths = [], []
    for _ in range(draws):
        chain.step(regraft_share, apart)
        topology, length = chain.read()
        children.append(topology)
        lengths.append(length)
    return np.array(children), np.array(lengths)


@pytest.mark.parametrize(("n_taxa", "regraft_share"), [(5, 0.0), (5, 1.0), (6, 0.3)])
@pytest.mark.parametrize("prior", [GammaDirichletLengths(2.0, 4.0, 1.5, 0.6), GammaDirichletLengths(3.0, 2.0, 2.0, 1.5)])
def test_without_data_the_compound_prior_is_sampled(prior, n_taxa, regraft_share):
    """Topologies stay uniform, and tree length, shares and their second moments are those of independent draws."""
    chain = SingleChain(missing_patterns(n_taxa), seed=n_taxa, window=3.0, branch_prior=prior)
    draws, apart, edges = 30_000, 40, 2 * n_taxa - 3
    children, lengths = draws_of(chain, draws, apart, regraft_share)
    every = enumerate_topologies(n_taxa)
    counts = np.bincount(unique_topologies(np.concatenate([every, children]))[1][len(every) :], minlength=len(every))
    expected = draws / len(every)
    freedom = len(every) - 1
    assert counts.size == len(every)
    assert ((counts - expected) ** 2 / expected).sum() < 2.0 * (freedom + 5 * np.sqrt(2 * freedom))
    wanted = prior.draw((400_000, edges), np.random.default_rng(1))
    for statistic in (
        lambda b: b, lambda b: b**2, lambda b: b / b.sum(1, keepdims=True), lambda b: np.log(b),
        lambda b: b.sum(1, keepdims=True) ** 2, lambda b: b[:, :-1] * b[:, 1:],
    ):  # fmt: skip
        found, exact = statistic(lengths), statistic(wanted)
        # Successive draws are dependent: batch means give the error.
        batches = found.reshape(50, -1, found.shape[1]).mean(1)
        error = np.hypot(batches.std(0, ddof=1) / np.sqrt(50), exact.std(0) / np.sqrt(len(exact)))
        assert (np.abs(found.mean(0) - exact.mean(0)) < 5 * error).all()


GROUPS = [[{1, 2}], [{1, 2}, {0, 3}], [{1, 2, 3}, {1, 2}], [{2, 4, 5}], [{1, 2}, {3, 4}, {1, 2, 3, 4}]]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize(("regraft_share", "beta", "local_share"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (0.3, 0.5, 0.8)])
def test_a_constrained_chain_is_uniform_over_all_allowed_trees(groups, regraft_share, beta, local_share):
    prior = TopologyPrior.of(6, [frozenset(group) for group in groups])
    chain = SingleChain(missing_patterns(6), seed=2, beta=beta, window=3.0, topology_prior=prior, local_share=local_share)
    draws = 20_000
    children, lengths = draws_of(chain, draws, 25, regraft_share)
    every = enumerate_topologies(6)
    allowed = every[prior.allows(every)]
    distinct, index = unique_topologies(np.concatenate([allowed, children]))
    assert len(distinct) == len(allowed) == prior.count
    counts = np.bincount(index[len(allowed) :])
    expected, freedom = draws / len(allowed), len(allowed) - 1
    assert ((counts - expected) ** 2 / expected).sum() <= 1.5 * (freedom + 5 * np.sqrt(2 * freedom))
    np.testing.assert_allclose(lengths.mean(axis=0), 0.1, atol=7.5 * 0.1 / np.sqrt(draws))


@pytest.mark.parametrize("n_taxa", [9, 70])
def test_barred_edges_are_those_that_have_the_splits(n_taxa):
    """After any number of moves, on data, the marks are where the tree read anew has its constraints."""
    rng = np.random.default_rng(3)
    some = TopologyPrior(n_taxa).draw(1, rng)
    clades = [frozenset(np.flatnonzero(row).tolist()) for row in members_of(some[0])]
    prior = TopologyPrior.of(n_taxa, [clade for clade in clades if 2 <= len(clade) <= n_taxa - 2][::3])
    chain = SingleChain(random_patterns(n_taxa, 20, rng), topology_prior=prior)
    seen = set()
    for _ in range(300):
        chain.step(0.5, 5)
        children, _ = chain.read()
        assert prior.allows(children[None])[0]
        assert chain.log_likelihood == pytest.approx(chain.full_log_likelihood(), rel=1e-11)
        assert chain.tree.barred.sum() == 2 * len(prior.splits)
        assert (chain.tree.barred == chain.tree.barred[chain.tree.twin]).all()
        assert barred_groups(chain) == set(prior.splits)
        seen.add(children.tobytes())
    assert len(seen) > 20


def members_of(children):
    """Taxa below each internal node, bool [n-2, n]."""
    n = len(children) + 2
    below = np.concatenate([np.eye(n, dtype=bool), np.zeros((n - 2, n), bool)])
    for k, (left, right) in enumerate(children):
        below[n + k] = below[left] | below[right]
    return below[n:]


def barred_groups(chain):
    """The sides without taxon 0 of the splits of barred edges, found by walking the half-edges."""
    n, twin = chain.data.n_taxa, chain.tree.twin

    def side(h):
        """Taxa at the node of a half-edge and beyond, away from its edge."""
        if h >= 3 * (n - 2):
            return {int(h) - 3 * (n - 2)}
        others = [3 * (h // 3) + port for port in range(3) if 3 * (h // 3) + port != h]
        return set().union(*(side(twin[other]) for other in others))

    return {frozenset(side(h)) for h in np.flatnonzero(chain.tree.barred) if 0 not in side(h)}


def test_a_fixed_topology_moves_its_lengths_only():
    prior = TopologyPrior.of(6, [frozenset({1, 2}), frozenset({1, 2, 3}), frozenset({4, 5})])
    assert prior.fixed
    options = McmcOptions(generations=4000, seed=3)
    sample = sample_trees(target_of(missing_patterns(6), topology_prior=prior), tuple("abcdef"), options).sample
    np.testing.assert_array_equal(sample.children, prior.draw(1, np.random.default_rng(0)))
    assert sample.lengths is not None
    assert len(np.unique(sample.lengths[:, 0])) > 50


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


def lengths_at(points, prior):
    """Lengths [N, 7] of a prior from points in the unit cube [N, 8]."""
    from scipy.special import gammaincinv

    if not isinstance(prior, GammaDirichletLengths):
        return -np.log1p(-points[:, :7]) / 10.0
    shares = gammaincinv(prior.concentrations(7), points[:, :7])
    total = gammaincinv(prior.shape, points[:, 7:]) / prior.rate
    return total * shares / shares.sum(1, keepdims=True)


def exact_posterior(target, power=14, repeats=8):
    """Posterior of all topologies that are allowed and its standard error, by scrambled Sobol points on the prior of
    lengths."""
    from scipy.stats import qmc

    topologies = enumerate_topologies(5)
    topologies = topologies[target.topology_prior.allows(topologies)]
    marginals = np.empty((repeats, len(topologies)))
    for repeat in range(repeats):
        points = qmc.Sobol(8, rng=np.random.default_rng(repeat)).random_base2(power)
        lengths = lengths_at(points, target.branch_prior)
        for t, children in enumerate(topologies):
            values = log_likelihoods(np.repeat(children[None], len(lengths), 0), lengths, target.patterns)
            marginals[repeat, t] = np.logaddexp.reduce(values) - power * np.log(2)
    shares = np.exp(marginals - marginals.max())
    shares /= shares.sum(axis=1, keepdims=True)
    return topologies, shares.mean(axis=0), shares.std(axis=0, ddof=1) / np.sqrt(repeats)


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"branch_prior": GammaDirichletLengths(2.0, 3.0, 1.5, 0.5)},
        {"topology_prior": TopologyPrior.of(5, [frozenset({0, 3})])},
    ],
    ids=["default", "compound lengths", "constrained"],
)
def five_taxa(request):
    """A target whose posterior is spread over topologies, all that are allowed, their posterior and its error."""
    target = target_of(simulated_patterns(30, np.random.default_rng(8)), **request.param)
    topologies, exact, error = exact_posterior(target)
    assert exact.max() < 0.9
    assert error.max() < 3e-3
    return target, topologies, exact, error


@pytest.mark.parametrize(
    ("temperatures", "heating", "regraft_share", "local_share"), [(1, 0.0, 0.05, 0.0), (3, 0.5, 0.3, 0.0), (1, 0.0, 0.5, 1.0)]
)
def test_five_taxa_have_their_exact_posterior(five_taxa, temperatures, heating, regraft_share, local_share):
    target, topologies, exact, error = five_taxa
    options = McmcOptions(
        generations=400_000, temperatures=temperatures, heating=heating, regraft_share=regraft_share,
        local_share=local_share, seed=5, runs=4, steps=50, keep=40_000,
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

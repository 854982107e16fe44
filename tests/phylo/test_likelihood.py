"""The likelihood kernel against IQ-TREE, a sum over all internal states, and finite differences."""

import json
from pathlib import Path

import numba
import numpy as np
import pytest
from reference import jukes_cantor

from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.likelihood import log_likelihoods, log_likelihoods_and_gradients, pack_patterns
from vbpi_mix.phylo.models.simulate import simulate_states
from vbpi_mix.phylo.trees.topology import enumerate_topologies, parse_newick, random_topologies

CODES = np.array([1, 2, 4, 8, 15, 5, 10, 7], np.uint8)


def random_patterns(n_taxa, n_patterns, seed):
    rng = np.random.default_rng(seed)
    states = rng.choice(CODES, size=(n_taxa, n_patterns))
    return SitePatterns(states, rng.integers(1, 5, n_patterns).astype(float))


@pytest.mark.parametrize("dataset", ["DS1", "DS4", "DS7"])
def test_equals_iqtree(benchmark_data, dataset):
    oracle = Path(benchmark_data).parent / "oracles" / "likelihood_iqtree.json"
    if not oracle.exists():
        pytest.skip(f"no oracle file {oracle}")
    alignment = read_alignment(benchmark_data / dataset / f"{dataset}.fasta")
    patterns = pack_patterns(compress(alignment))
    rows = [r for r in json.loads(oracle.read_text()) if r["dataset"] == dataset and r["model"] == "JC69"]
    assert rows
    for row in rows:
        children, lengths = parse_newick(row["newick"], alignment.taxa)
        (value,) = log_likelihoods(children[None], lengths[None], patterns)
        assert value == pytest.approx(row["log_likelihood"], abs=1e-3)


@pytest.mark.parametrize("n_taxa", [4, 5])
def test_equals_the_sum_over_internal_states(n_taxa):
    patterns = random_patterns(n_taxa, 7, seed=n_taxa)
    topologies = enumerate_topologies(n_taxa)
    lengths = np.random.default_rng(1).exponential(0.2, (len(topologies), 2 * n_taxa - 3))
    values = log_likelihoods(topologies, lengths, pack_patterns(patterns))
    for children, row, value in zip(topologies, lengths, values, strict=True):
        expected = jukes_cantor.log_likelihood_by_summation(children, row, patterns.states, patterns.weights)
        assert value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("n_taxa", "n_patterns"), [(4, 3), (9, 40), (40, 70)])
def test_gradients_equal_central_differences(n_taxa, n_patterns):
    rng = np.random.default_rng(n_taxa)
    packed = pack_patterns(random_patterns(n_taxa, n_patterns, seed=3))
    children = random_topologies(n_taxa, 2, rng)
    lengths = rng.exponential(0.1, (2, 2 * n_taxa - 3)) + 0.01
    values, gradients = log_likelihoods_and_gradients(children, lengths, packed)
    np.testing.assert_allclose(values, log_likelihoods(children, lengths, packed), rtol=1e-14)
    step = 1e-5
    for edge in range(2 * n_taxa - 3):
        shift = np.zeros_like(lengths)
        shift[:, edge] = step
        above, below = (log_likelihoods(children, lengths + s * shift, packed) for s in (1, -1))
        np.testing.assert_allclose(gradients[:, edge], (above - below) / (2 * step), rtol=1e-6, atol=1e-5)


def test_any_rooting_gives_the_same_value():
    n_taxa = 12
    rng = np.random.default_rng(5)
    taxa = tuple(f"t{k}" for k in range(n_taxa))
    patterns = random_patterns(n_taxa, 30, seed=6)
    children = random_topologies(n_taxa, 1, rng)
    lengths = rng.exponential(0.1, (1, 2 * n_taxa - 3))
    expected = log_likelihoods(children, lengths, pack_patterns(patterns))[0]
    from vbpi_mix.phylo.trees.topology import to_newick

    newick = to_newick(children[0], taxa, lengths[0])
    for _ in range(6):
        # Another taxon comes first, so that the tree is held as if it hung from it.
        order = rng.permutation(n_taxa)
        moved, moved_lengths = parse_newick(newick, tuple(taxa[k] for k in order))
        again = pack_patterns(SitePatterns(np.ascontiguousarray(patterns.states[order]), patterns.weights))
        assert log_likelihoods(moved[None], moved_lengths[None], again)[0] == pytest.approx(expected, abs=1e-9)


def test_compression_and_site_order_change_nothing():
    rng = np.random.default_rng(7)
    n_taxa, sites = 6, 200
    columns = rng.choice(CODES, size=(n_taxa, 15))[:, rng.integers(0, 15, sites)]
    children = random_topologies(n_taxa, 1, rng)
    lengths = rng.exponential(0.1, (1, 2 * n_taxa - 3))
    from vbpi_mix.phylo.data.alignment import Alignment

    taxa = tuple(f"t{k}" for k in range(n_taxa))
    compressed = compress(Alignment(taxa, columns))
    assert compressed.weights.size == 15
    shuffled = compress(Alignment(taxa, columns[:, rng.permutation(sites)]))
    plain = SitePatterns(np.ascontiguousarray(columns), np.ones(sites))
    values = [log_likelihoods(children, lengths, pack_patterns(p))[0] for p in (compressed, shuffled, plain)]
    assert values[0] == values[1]
    assert values[0] == pytest.approx(values[2], abs=1e-9)


@pytest.mark.parametrize("mean_length", [1e-6, 0.1, 5.0])
def test_five_hundred_taxa_do_not_underflow(mean_length):
    """Also very short and very long branches: the value is finite and the gradient that of differences."""
    n_taxa = 500
    rng = np.random.default_rng(8)
    children = random_topologies(n_taxa, 1, rng)
    states = simulate_states(children[0], np.full(2 * n_taxa - 3, 0.3), 40, rng)
    packed = pack_patterns(SitePatterns(states, np.ones(40)))
    lengths = np.full((1, 2 * n_taxa - 3), mean_length)
    values, gradients = log_likelihoods_and_gradients(children, lengths, packed)
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()
    assert values[0] < -1000
    for edge in rng.integers(0, 2 * n_taxa - 3, 5):
        shift = np.zeros_like(lengths)
        shift[0, edge] = 1e-4 * mean_length
        difference = (
            log_likelihoods(children, lengths + shift, packed) - log_likelihoods(children, lengths - shift, packed)
        )[0]
        assert gradients[0, edge] == pytest.approx(difference / (2e-4 * mean_length), rel=1e-4, abs=1e-4)


def test_caterpillar_of_many_taxa_equals_its_logarithmic_twin():
    """Rescaling along one long path, against the same recursion in plain numpy with its own scaling."""
    n_taxa = 120
    rng = np.random.default_rng(9)
    children = np.empty((1, n_taxa - 2, 2), np.int32)
    children[0, 0] = 1, 2
    for k in range(1, n_taxa - 2):
        children[0, k] = n_taxa + k - 1, k + 2
    lengths = rng.exponential(0.5, (1, 2 * n_taxa - 3))
    patterns = random_patterns(n_taxa, 9, seed=10)
    value = log_likelihoods(children, lengths, pack_patterns(patterns))[0]
    decays = np.exp(-4.0 / 3.0 * lengths)
    # 120 taxa at these lengths stay above 1e-308 without any scaling.
    direct = np.log(jukes_cantor.likelihoods_by_pruning(children[0], decays, patterns.states))[0]
    assert value == pytest.approx(direct @ patterns.weights, abs=1e-8)


def test_impossible_data_have_log_likelihood_minus_infinity():
    states = np.array([[1], [2], [1], [1]], np.uint8)
    packed = pack_patterns(SitePatterns(states, np.ones(1)))
    children = enumerate_topologies(4)[:1]
    values, gradients = log_likelihoods_and_gradients(children, np.zeros((1, 5)), packed)
    assert values[0] == -np.inf
    assert not np.isnan(gradients).any()


def test_threads_change_no_digit():
    rng = np.random.default_rng(11)
    packed = pack_patterns(random_patterns(20, 100, seed=12))
    children = random_topologies(20, 7, rng)
    lengths = rng.exponential(0.1, (7, 37))
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append(log_likelihoods_and_gradients(children, lengths, packed))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])

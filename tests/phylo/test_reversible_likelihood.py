"""The kernels of reversible models against sums over all internal states, pruning in numpy, and differences of both."""

import json
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from reference import reversible as twin

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.rates import Rates
from vbpi_mix.phylo.models.reversible_likelihood import evaluate, join, log_likelihoods, pack
from vbpi_mix.phylo.trees.topology import parse_newick, random_topologies

STATES = [2, 4, 20]


def random_model(states, categories, invariant, rng):
    """A twin model with random parameters."""
    frequencies = rng.dirichlet(np.full(states, 3.0))
    exchangeabilities = rng.exponential(1.0, (states, states))
    return twin.Model(
        twin.reversible_matrix(frequencies, exchangeabilities + exchangeabilities.T),
        frequencies,
        rng.gamma(2.0, 0.5, categories),
        (1.0 - invariant) * rng.dirichlet(np.full(categories, 4.0)),
        invariant,
    )


def rates_of(*models):
    """Rates of several models, by the symmetric eigenproblem."""
    columns = []
    for model in models:
        root = np.sqrt(model.frequencies)
        values, vectors = np.linalg.eigh(root[:, None] * model.matrix / root)
        columns.append(
            (vectors / root[:, None], vectors.T * root, values, model.frequencies, model.rates, model.weights, model.invariant)
        )
    return Rates(*(np.array(column) for column in zip(*columns, strict=True)))


def random_sets(n_taxa, n_patterns, states, rng, constant=True):
    """Sets of which most are single states; a few columns are constant unless that is ruled out."""
    single = np.uint64(1) << rng.integers(0, states, (n_taxa, n_patterns)).astype(np.uint64)
    other = np.uint64(1) << rng.integers(0, states, (n_taxa, n_patterns)).astype(np.uint64)
    missing = np.uint64((1 << states) - 1)
    kind = rng.random((n_taxa, n_patterns))
    sets = np.where(kind < 0.7, single, np.where(kind < 0.85, single | other, missing))
    if constant:
        sets[:, ::7] = single[0, ::7] | np.where(kind[:, ::7] < 0.3, other[:, ::7], np.uint64(0))
        return sets
    # Two taxa that share no state.
    sets[0], sets[1] = 1, 2
    return sets


def patterns_of(sets, states, rng):
    dtype = np.uint8 if states <= 8 else np.uint64
    return SitePatterns(sets.astype(dtype), rng.integers(1, 5, sets.shape[1]).astype(float))


def problem(n_taxa, n_patterns, states, categories, invariant, seed, constant=True, trees=3, models=2):
    """Trees, patterns and several parameter vectors, of which the trees have one or the other."""
    rng = np.random.default_rng(seed)
    patterns = patterns_of(random_sets(n_taxa, n_patterns, states, rng, constant), states, rng)
    children = random_topologies(n_taxa, trees, rng)
    lengths = rng.exponential(0.2, (trees, 2 * n_taxa - 3)) + 0.01
    made = [random_model(states, categories, invariant, rng) for _ in range(models)]
    return children, lengths, patterns, made, rng.permutation(np.arange(trees) % models)


@pytest.mark.parametrize(("states", "ascertainment"), [(2, False), (2, True), (3, False), (4, False), (4, True)])
@pytest.mark.parametrize("invariant", [0.0, 0.3])
def test_equals_the_sum_over_internal_states(states, ascertainment, invariant):
    children, lengths, patterns, models, which = problem(4, 4, states, 2, invariant, 1, constant=not ascertainment)
    found = log_likelihoods(children, lengths, pack(patterns, ascertainment, states), rates_of(*models), which)
    for t, value in enumerate(found):
        expected = twin.log_likelihood_by_summation(
            children[t], lengths[t], patterns.states, patterns.weights, models[which[t]], ascertainment
        )
        assert value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("states", [2, 3, 4, 5, 8, 9, 20, 33, 64])
@pytest.mark.parametrize("ascertainment", [False, True])
def test_equals_pruning_in_numpy(states, ascertainment):
    children, lengths, patterns, models, which = problem(9, 75, states, 3, 0.2, states, constant=not ascertainment)
    packed = pack(patterns, ascertainment, states)
    found = log_likelihoods(children, lengths, packed, rates_of(*models), which)
    np.testing.assert_array_equal(found, evaluate(children, lengths, packed, rates_of(*models), which)[0])
    for t, value in enumerate(found):
        expected = twin.log_likelihood(
            children[t], lengths[t], patterns.states, patterns.weights, models[which[t]], ascertainment
        )
        assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize(("invariant", "ascertainment"), [(0.2, False), (0.0, False), (0.1, True)])
def test_gradients_equal_central_differences(states, invariant, ascertainment):
    children, lengths, patterns, models, which = problem(5, 12, states, 2, invariant, 3, constant=not ascertainment, trees=2)
    packed, rates = pack(patterns, ascertainment, states), rates_of(*models)
    values, length_slopes, slopes = evaluate(children, lengths, packed, rates, which)
    fewer = evaluate(children, lengths, packed, rates, which, parameters=False)
    np.testing.assert_allclose(fewer[0], values, rtol=1e-14)
    np.testing.assert_allclose(fewer[1], length_slopes, rtol=1e-11, atol=1e-11)
    assert fewer[2] is None

    for t in range(len(children)):
        model = models[which[t]]
        point = [lengths[t], model.matrix, model.frequencies, model.rates, model.weights, np.array([invariant])]

        def value(arrays, t=t):
            moved = twin.Model(*arrays[1:5], arrays[5][0])
            return twin.log_likelihood(
                children[t], arrays[0], patterns.states, patterns.weights, moved, ascertainment
            )

        found = [length_slopes[t], *(slope[t] for slope in slopes[:4]), slopes.invariant[t : t + 1]]
        # A share of zero lies on the border.
        for k, slope in enumerate(found if invariant else found[:5]):
            expected = differences(value, point, k)
            # Of all entries of Q in 20 states, as many as the others have.
            chosen = np.isfinite(expected)
            np.testing.assert_allclose(slope[chosen], expected[chosen], rtol=1e-6, atol=1e-6 * np.abs(slope).max())


def differences(value, point, k, most=20):
    """Central differences in every entry of point[k], or in `most` of them; the others are NaN. The step is in the middle
    between rounding and curvature, and the second difference takes most of the curvature away.
    """
    found = np.full(point[k].shape, np.nan)
    indices = list(np.ndindex(point[k].shape))
    for index in indices[:: max(1, len(indices) // most)]:
        estimates = []
        for step in (2e-4, 1e-4):
            step *= max(abs(point[k][index]), 0.05)
            moved = []
            for sign in (1, -1):
                arrays = [array.copy() for array in point]
                arrays[k][index] += sign * step
                moved.append(value(arrays))
            estimates.append((moved[0] - moved[1]) / (2 * step))
        found[index] = (4 * estimates[1] - estimates[0]) / 3
    return found


@pytest.mark.parametrize("states", [4, 20])
def test_padding_and_order_of_patterns_change_nothing_but_rounding(states):
    children, lengths, patterns, models, which = problem(6, 130, states, 2, 0.2, 4)
    rng, rates = np.random.default_rng(5), rates_of(*models)
    whole = evaluate(children, lengths, pack(patterns, n_states=states), rates, which)
    halves = []
    order = rng.permutation(130)
    for part in (order[:1], order[1:66], order[66:]):
        some = SitePatterns(np.ascontiguousarray(patterns.states[:, part]), patterns.weights[part])
        halves.append(evaluate(children, lengths, pack(some, n_states=states), rates, which))
    np.testing.assert_allclose(sum(part[0] for part in halves), whole[0], rtol=1e-12)
    np.testing.assert_allclose(sum(part[1] for part in halves), whole[1], rtol=1e-9, atol=1e-9)
    for k, slope in enumerate(whole[2]):
        np.testing.assert_allclose(sum(part[2][k] for part in halves), slope, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("states", STATES)
def test_jukes_cantor_and_degenerate_eigenvalues(states):
    """All eigenvalues but one are the same: no gap to divide by, and for four states JC69's own kernels to agree with."""
    children, lengths, patterns, _, _ = problem(7, 40, states, 1, 0.0, 6)
    equal = np.full(states, 1.0 / states)
    model = twin.Model(twin.reversible_matrix(equal, np.ones((states, states))), equal, np.ones(1), np.ones(1), 0.0)
    which = np.zeros(3, np.int64)
    values, length_slopes, slopes = evaluate(children, lengths, pack(patterns, n_states=states), rates_of(model), which)
    if states == 4:
        own = JukesCantor()
        expected = own.evaluate(children, lengths, own.pack(patterns))
        np.testing.assert_allclose(values, expected.values, rtol=1e-12)
        np.testing.assert_allclose(length_slopes, expected.length_slopes, rtol=1e-9, atol=1e-9)

    def value(arrays):
        moved = twin.Model(arrays[0], equal, np.ones(1), np.ones(1), 0.0)
        return twin.log_likelihood(children[0], lengths[0], patterns.states, patterns.weights, moved)

    expected = differences(value, [model.matrix], 0)
    chosen = np.isfinite(expected)
    np.testing.assert_allclose(slopes.matrix[0][chosen], expected[chosen], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("states", STATES)
def test_zero_lengths(states):
    """Slopes on the border of the parameters are those of differences to one side."""
    children, lengths, patterns, models, which = problem(5, 9, states, 2, 0.2, 7, trees=1, models=1)
    # A tree of which only two edges have no length, so that all data are possible.
    lengths[:, [0, 5]] = 0.0
    packed, rates = pack(patterns, n_states=states), rates_of(*models)
    values, slopes, _ = evaluate(children, lengths, packed, rates, which)
    expected = twin.log_likelihood(children[0], lengths[0], patterns.states, patterns.weights, models[0])
    assert values[0] == pytest.approx(expected, rel=1e-12)
    for edge in (0, 5):
        moved, step = [lengths.copy() for _ in range(2)], 1e-4 / max(1.0, abs(slopes[0, edge]))
        moved[0][0, edge], moved[1][0, edge] = step, 2 * step
        one, two = (log_likelihoods(children, each, packed, rates, which)[0] for each in moved)
        assert slopes[0, edge] == pytest.approx((4 * one - two - 3 * values[0]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("states", STATES)
def test_impossible_data_have_log_likelihood_minus_infinity(states):
    rng = np.random.default_rng(8)
    patterns = SitePatterns(np.array([[1], [2], [1], [1]], np.uint8), np.ones(1))
    rates, which = rates_of(random_model(states, 2, 0.2, rng)), np.zeros(1, np.int64)
    children = random_topologies(4, 1, rng)
    for ascertainment in (False, True):
        packed = pack(patterns, ascertainment, states)
        values, length_slopes, slopes = evaluate(children, np.zeros((1, 5)), packed, rates, which)
        assert values[0] == -np.inf
        assert not np.isnan(length_slopes).any()
        assert not any(np.isnan(slope).any() for slope in slopes)


@pytest.mark.parametrize("states", STATES)
def test_impossible_patterns_of_weight_zero_count_for_nothing(states):
    rates, which = rates_of(random_model(states, 2, 0.2, np.random.default_rng(12))), np.zeros(1, np.int64)
    children, lengths = random_topologies(4, 1, np.random.default_rng(13)), np.zeros((1, 5))
    sets, weights = np.array([[1, 1], [2, 1], [1, 1], [1, 1]], np.uint8), np.array([0.0, 2.0])
    both, one = (
        evaluate(children, lengths, pack(SitePatterns(sets[:, k:].copy(), weights[k:]), n_states=states), rates, which)
        for k in (0, 1)
    )
    assert np.isfinite(one[0]).all()
    for with_it, without in zip((*both[:2], *both[2]), (*one[:2], *one[2]), strict=True):
        np.testing.assert_array_equal(with_it, without)
    if states == 4:
        own = JukesCantor()
        values = [own.evaluate(children, lengths, own.pack(SitePatterns(sets[:, k:].copy(), weights[k:]))) for k in (0, 1)]
        np.testing.assert_array_equal(values[0].values, values[1].values)
        assert np.isfinite(values[0].values).all()


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("ascertainment", [False, True])
def test_parts_in_one_call_are_the_parts_one_by_one(states, ascertainment):
    """Parts that fill blocks, parts that fill a vector or less, and sets of states that only some of the parts have."""
    children, lengths, patterns, models, which = problem(6, 79, states, 2, 0.2, 14, constant=not ascertainment)
    parts = [
        pack(SitePatterns(np.ascontiguousarray(patterns.states[:, its]), patterns.weights[its]), ascertainment, states)
        for its in (slice(0, 1), slice(1, 67), slice(67, 79))
    ]
    rates = rates_of(*models)
    rows = (which[:, None] + np.arange(3)) % 2
    together = evaluate(children, lengths, join(parts), rates, rows.ravel())
    for g, part in enumerate(parts):
        alone = evaluate(children, lengths, part, rates, rows[:, g])
        for joined, own in zip((*together[:2], *together[2]), (*alone[:2], *alone[2]), strict=True):
            np.testing.assert_array_equal(joined[g::3], own)


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize(
    ("invariant", "mean_length", "slow"), [(0.2, 1e-6, 1e-3), (0.0, 0.1, 0.0), (0.2, 0.1, 1e-3), (0.0, 5.0, 1e-3)]
)
def test_five_hundred_taxa_do_not_underflow(states, invariant, mean_length, slow):
    """Categories of very different rates: one underflows long before the other, or has no likelihood at all."""
    n_taxa, rng = 500, np.random.default_rng(9)
    model = random_model(states, 2, invariant, rng)
    model.rates = np.array([slow, 2.0])
    patterns = patterns_of(random_sets(n_taxa, 9, states, rng), states, rng)
    children, lengths = random_topologies(n_taxa, 1, rng), np.full((1, 2 * n_taxa - 3), mean_length)
    packed, rates, which = pack(patterns, n_states=states), rates_of(model), np.zeros(1, np.int64)
    values, length_slopes, slopes = evaluate(children, lengths, packed, rates, which)
    expected = twin.log_likelihood(children[0], lengths[0], patterns.states, patterns.weights, model)
    assert values[0] == pytest.approx(expected, rel=1e-10)
    assert values[0] < -1000
    for edge in rng.integers(0, 2 * n_taxa - 3, 3):
        shift = np.zeros_like(lengths)
        shift[0, edge] = 1e-4 * mean_length
        above, below = (log_likelihoods(children, lengths + s * shift, packed, rates, which)[0] for s in (1, -1))
        assert length_slopes[0, edge] == pytest.approx((above - below) / (2e-4 * mean_length), rel=1e-4, abs=1e-3)
    assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("states", STATES)
def test_threads_change_no_digit(states):
    children, lengths, patterns, models, which = problem(8, 70, states, 2, 0.1, 11, trees=7)
    packed, rates, before = pack(patterns, n_states=states), rates_of(*models), numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            values, length_slopes, slopes = evaluate(children, lengths, packed, rates, which)
            results.append((values, length_slopes, *slopes))
    finally:
        numba.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ascertainment_refuses_constant_patterns():
    states = np.array([[1, 1, 2, 1], [1, 3, 1, 3], [1, 1, 3, 15]], np.uint8)
    with pytest.raises(AlignmentError, match=r"^6 sites in 2 patterns may be constant"):
        pack(SitePatterns(states[:, [0, 2, 3]], np.array([1.0, 3.0, 5.0])), ascertainment=True)
    pack(SitePatterns(states[:, [2]], np.ones(1)), ascertainment=True)


def test_kernels_are_imported_when_they_are_used():
    code = (
        "import sys, vbpi_mix.phylo.models.reversible_likelihood\n"
        "print([name for name in ('spectra', 'four_states', 'any_states')"
        " if f'vbpi_mix.phylo.models.kernels.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_gtr_equals_iqtree(benchmark_data):
    oracle = Path(benchmark_data).parent / "oracles" / "likelihood_iqtree.json"
    if not oracle.exists():
        pytest.skip(f"no oracle file {oracle}")
    alignment = read_alignment(benchmark_data / "DS1" / "DS1.fasta")
    packed = pack(compress(alignment))
    rows = [r for r in json.loads(oracle.read_text()) if (r["dataset"], r["model"]) == ("DS1", "GTR")]
    assert rows
    for row in rows:
        given = row["parameters"]
        exchangeabilities = np.zeros((4, 4))
        exchangeabilities[np.triu_indices(4, 1)] = given["rates_AC_AG_AT_CG_CT_GT"]
        frequencies = np.array(given["frequencies_ACGT"])
        matrix = twin.reversible_matrix(frequencies, exchangeabilities + exchangeabilities.T)
        rates = rates_of(twin.Model(matrix, frequencies, np.ones(1), np.ones(1), 0.0))
        children, lengths = parse_newick(row["newick"], alignment.taxa)
        (value,) = log_likelihoods(children[None], lengths[None], packed, rates, np.zeros(1, np.int64))
        assert value == pytest.approx(row["log_likelihood"], abs=1e-3)

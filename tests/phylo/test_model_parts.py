"""The model of a part: theta to rates and back, priors, what is reported, and models that hold one another."""

import itertools

import numpy as np
import pytest
from model_cases import MODELS, patterns_of
from scipy import integrate, special, stats
from scipy.linalg import expm

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, STANDARD_SYMBOLS, standard
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models import reversible
from vbpi_mix.phylo.models.given import tree_log_likelihood
from vbpi_mix.phylo.models.kernels.gamma_rates import mean_rates
from vbpi_mix.phylo.models.parameters import DEFAULT_PRIORS, make_parameter
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.trees.topology import random_topologies

BOUNDS = (1e-4, 1e4)


def problem(text, alphabet, seed=1, spread=0.7):
    """A part, two parameter vectors, a tree with lengths for each, and patterns packed."""
    patterns = patterns_of(alphabet, varying="ASC" in text)
    part, rng = make_part(text, patterns), np.random.default_rng(seed)
    theta = rng.normal(scale=spread, size=(2, part.size))
    trees = (random_topologies(6, 2, rng), rng.exponential(0.3, (2, 9)))
    return part, theta, trees, reversible.pack(patterns, part.spec.ascertainment)


def differences(function, point, step=1e-5):
    """Central differences of function [M] in every coordinate of point [M, D]."""
    slopes = np.empty_like(point)
    for d in range(point.shape[1]):
        shift = np.zeros_like(point)
        shift[:, d] = step
        slopes[:, d] = (function(point + shift) - function(point - shift)) / (2 * step)
    return slopes


@pytest.mark.parametrize(("text", "alphabet"), MODELS, ids=[text for text, _ in MODELS])
def test_slopes_equal_differences(text, alphabet):
    part, theta, (children, lengths), packed = problem(text, alphabet)
    which = np.arange(2)

    def value(theta, lengths):
        return reversible.log_likelihoods(children, lengths, packed, part.rates(theta), which)

    values, length_slopes, slopes = reversible.evaluate(children, lengths, packed, part.rates(theta), which)
    np.testing.assert_array_equal(values, value(theta, lengths))
    expected = differences(lambda moved: value(moved, lengths), theta)
    np.testing.assert_allclose(part.pull_back(theta, slopes), expected, atol=1e-6 * np.abs(expected).max(initial=0))
    expected = differences(lambda moved: value(theta, moved), lengths, step=1e-6)
    np.testing.assert_allclose(length_slopes, expected, atol=1e-6 * np.abs(expected).max())
    expected = differences(lambda moved: part.log_prior(moved)[0], theta)
    np.testing.assert_allclose(part.log_prior(theta)[1], expected, atol=1e-7)


@pytest.mark.parametrize(("text", "alphabet"), MODELS, ids=[text for text, _ in MODELS])
def test_rates_are_those_of_a_stationary_reversible_process(text, alphabet):
    part, theta, _, _ = problem(text, alphabet)
    rates = part.rates(theta)
    q = (rates.vectors * rates.values[:, None, :]) @ rates.inverse
    flow = rates.frequencies[:, :, None] * q
    np.testing.assert_allclose(flow, np.swapaxes(flow, 1, 2), atol=1e-12)
    np.testing.assert_allclose(q.sum(axis=2), 0.0, atol=1e-11)
    np.testing.assert_allclose(-np.einsum("mii->m", flow), 1.0, rtol=1e-12)
    np.testing.assert_allclose(rates.frequencies.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(rates.weights.sum(axis=1) + rates.invariant, 1.0, rtol=1e-12)
    np.testing.assert_allclose((rates.weights * rates.rates).sum(axis=1), 1.0, rtol=1e-12)


def test_likelihoods_equal_sums_over_all_states_of_inner_nodes():
    """Four taxa, three states, gamma categories, invariant sites."""
    alphabet = standard("012")
    patterns = patterns_of(alphabet, n_taxa=4, n_patterns=7, seed=3)
    part = make_part("MK+FO+I+G3", patterns)
    rates = part.rates(np.array([[0.4, -0.3, -0.5, -1.0]]))
    children, lengths = np.array([[[2, 3], [1, 4]]], np.int32), np.array([[0.2, 0.3, 0.4, 0.1, 0.5]])
    total = 0.0
    q = (rates.vectors[0] * rates.values[0]) @ rates.inverse[0]
    for pattern, weight in zip(patterns.states.T, patterns.weights, strict=True):
        tips = [[s for s in range(3) if pattern[taxon] >> s & 1] for taxon in range(4)]
        likelihood = rates.invariant[0] * sum(
            rates.frequencies[0, s] for s in range(3) if all(s in states for states in tips)
        )
        for rate, share in zip(rates.rates[0], rates.weights[0], strict=True):
            p = [expm(q * rate * length) for length in lengths[0]]
            for a, b, c, d in itertools.product(*tips):
                for inner, top in itertools.product(range(3), range(3)):
                    likelihood += share * rates.frequencies[0, a] * p[4][a, top] * p[0][top, b] * p[3][top, inner] * (
                        p[1][inner, c] * p[2][inner, d]
                    )  # fmt: skip
        total += weight * np.log(likelihood)
    packed = reversible.pack(patterns)
    (value,) = reversible.log_likelihoods(children, lengths, packed, rates, np.zeros(1, int))
    assert value == pytest.approx(total, rel=1e-12)


def test_ascertainment_divides_by_the_probability_to_vary():
    patterns = patterns_of(BINARY, varying=True)
    part, rng = make_part("GTR2+G4+ASC", patterns), np.random.default_rng(5)
    theta, which = np.array([[0.3, 0.1]]), np.zeros(1, int)
    tree = (random_topologies(6, 1, rng), rng.exponential(0.3, (1, 9)))
    (value,) = reversible.log_likelihoods(*tree, reversible.pack(patterns, True), part.rates(theta), which)
    (plain,) = reversible.log_likelihoods(*tree, reversible.pack(patterns), part.rates(theta), which)
    constant = [SitePatterns(np.full((6, 1), state, np.uint8), np.ones(1), BINARY) for state in (1, 2)]
    lost = sum(
        np.exp(reversible.log_likelihoods(*tree, reversible.pack(each), part.rates(theta), which)[0]) for each in constant
    )
    assert value == pytest.approx(plain - patterns.weights.sum() * np.log(1 - lost), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "prior", "density"),
    [
        ("kappa", "beta:1,1", None),
        ("rates", "dirichlet:1,2,0.5", None),
        ("frequencies", "dirichlet:3", None),
        ("alpha", "exp:1", stats.expon()),
        ("alpha", "gamma:2,3", stats.gamma(2, scale=1 / 3)),
        ("pinvar", "uniform:0,1", stats.uniform()),
        ("pinvar", "beta:2,5", stats.beta(2, 5)),
    ],
)
def test_priors_integrate_to_one(name, prior, density):
    parameter = make_parameter(name, prior, {"kappa": 2, "rates": 3, "frequencies": 2}.get(name, 1), BOUNDS)

    def at(*z):
        return float(np.exp(parameter.log_prior(np.array([z]))[0][0]))

    if parameter.size == 1:
        assert integrate.quad(at, -60, 60, limit=200, points=(0,))[0] == pytest.approx(1.0, abs=1e-6)
    else:
        grid = np.linspace(-70, 70, 1401)
        points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        assert np.exp(parameter.log_prior(points)[0]).sum() * 0.1**2 == pytest.approx(1.0, abs=1e-6)
    if density is not None:
        z = np.array([[-1.3], [0.4]])
        x = parameter.values(z)
        jacobian = x if name == "alpha" else x * (1 - x)
        np.testing.assert_allclose(parameter.log_prior(z)[0], (density.logpdf(x) + np.log(jacobian))[:, 0], rtol=1e-12)


def test_the_dirichlet_is_that_of_scipy():
    parameter = make_parameter("rates", "dirichlet:1,2,0.5,4", 4, BOUNDS)
    z = np.random.default_rng(1).normal(size=(3, 3))
    x = parameter.values(z)
    expected = [stats.dirichlet([1, 2, 0.5, 4]).logpdf(each) + np.log(each).sum() for each in x]
    np.testing.assert_allclose(parameter.log_prior(z)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("categories", [2, 4, 6, 16])
def test_categories_are_means_of_gamma_variables(categories):
    shapes = np.array([0.05, 0.1, 0.45, 1.0, 2.5, 30.0, 1000.0])
    rates, slopes = np.empty((2, shapes.size, categories))
    mean_rates(shapes, rates, slopes)
    bounds = stats.gamma.ppf(np.arange(categories + 1) / categories, shapes[:, None])
    expected = categories * np.diff(special.gammainc(shapes[:, None] + 1, bounds))
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-11)
    above, below, unused = np.empty((3, shapes.size, categories))
    mean_rates(shapes * (1 + 1e-5), above, unused)
    mean_rates(shapes * (1 - 1e-5), below, unused)
    differences = (above - below) / (2e-5 * shapes[:, None])
    np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=1e-7)


def test_categories_of_extreme_shapes():
    rates, slopes = np.empty((2, 2, 4))
    mean_rates(np.array([1e-4, 1e4]), rates, slopes)
    np.testing.assert_allclose(rates[0], [0, 0, 0, 4], atol=1e-12)
    np.testing.assert_allclose(rates[1], 1.0, atol=0.02)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize(("text", "alphabet"), MODELS, ids=[text for text, _ in MODELS])
def test_what_is_reported_says_theta(text, alphabet):
    part, theta, _, _ = problem(text, alphabet)
    values = part.values(theta)
    assert values.shape == (2, len(part.names))
    np.testing.assert_allclose(part.unconstrain(values), theta, rtol=1e-12, atol=1e-12)
    assert part.lacking() == part.spec.free
    start = part.start()
    assert start.shape == (part.size,)
    assert np.isfinite(start).all()


def test_names_and_values_are_mrbayess():
    part = make_part("GTR+I+G4", patterns_of(DNA))
    assert part.names == (
        "r(A<->C)", "r(A<->G)", "r(A<->T)", "r(C<->G)", "r(C<->T)", "r(G<->T)", "pi(A)", "pi(C)", "pi(G)", "pi(T)",
        "alpha", "pinvar",
    )  # fmt: skip
    values = part.values(np.zeros((1, 10)))[0]
    np.testing.assert_allclose(values, [*[1 / 6] * 6, *[0.25] * 4, 1.0, 0.5])
    part = make_part("HKY", patterns_of(DNA))
    assert part.names[0] == "kappa"
    assert part.values(np.array([[np.log(3.0), 0, 0, 0]]))[0, 0] == pytest.approx(3.0)
    part = make_part("TN", patterns_of(DNA))
    np.testing.assert_allclose(part.values(np.log([[2, 3, 1, 1, 1]]))[0, :6], np.array([1, 2, 1, 1, 3, 1]) / 9)
    assert make_part("LG+FO", patterns_of(PROTEIN)).names[1] == "pi(Arg)"
    assert make_part("GTR2", patterns_of(BINARY)).names == ("pi(0)", "pi(1)")


def test_frequencies_are_counted():
    states = np.array([[1, 1, 2, 4], [1, 8, 15, 5]], np.uint8)
    part = make_part("F81+F", SitePatterns(states, np.array([1.0, 2.0, 1.0, 1.0]), DNA))
    # A 4, C 1, G 1, T 2 and one that is A or G: x of it is A, with x = a / (a + g), a = (4 + x) / 9, g = (2 - x) / 9.
    x = 4 / 5
    expected = np.array([4 + x, 1, 2 - x, 2]) / 9
    np.testing.assert_allclose(part.rates(np.empty((1, 0))).frequencies[0], expected, atol=1e-9)
    bare = SitePatterns(np.ones((2, 1), np.uint8), np.ones(1), DNA)
    frequencies = make_part("F81+F", bare).rates(np.empty((1, 0))).frequencies[0]
    assert frequencies[1:] == pytest.approx(1e-4, rel=1e-3)


NESTED = [
    ("GTR{1,1,1,1,1}+F{0.25,0.25,0.25,0.25}", DNA, "JC", DNA),
    ("HKY{2}+F{0.25,0.25,0.25,0.25}", DNA, "012340{2,1,1,2}+FQ", DNA),
    ("GTR{1,2,1,1,2}+F{0.1,0.2,0.3,0.4}", DNA, "HKY{2}+F{0.1,0.2,0.3,0.4}", DNA),
    ("TVM{1,2,1,1}+F", DNA, "HKY{2}+F", DNA),
    ("HKY{2}+F+I{0}+G4{1}", DNA, "HKY{2}+F+G4{1}", DNA),
    ("Poisson", PROTEIN, "MK", standard(STANDARD_SYMBOLS[:20])),
    ("ORDERED", BINARY, "JC2", BINARY),
    ("MK", BINARY, "GTR2+FQ", BINARY),
]


@pytest.mark.parametrize(("wide", "of_wide", "narrow", "of_narrow"), NESTED, ids=[case[0] for case in NESTED])
def test_nested_models_agree(wide, of_wide, narrow, of_narrow):
    """By the kernels, of which JC69 has its own; the wide one by pruning in numpy as well."""
    rng = np.random.default_rng(2)
    children, lengths = random_topologies(6, 1, rng), rng.exponential(0.3, (1, 9))
    found = [
        tree_log_likelihood(text, patterns_of(alphabet), children[0], lengths[0])
        for text, alphabet in ((wide, of_wide), (narrow, of_narrow))
    ]
    patterns = patterns_of(of_wide)
    rates, packed = make_part(wide, patterns).rates(np.empty((1, 0))), reversible.pack(patterns)
    found += reversible.log_likelihoods(children, lengths, packed, rates, np.zeros(1, int)).tolist()
    assert found[2] == pytest.approx(found[0], rel=1e-12)
    assert found[0] == pytest.approx(found[1], rel=1e-11)


def test_a_large_alpha_is_no_gamma():
    rng, patterns = np.random.default_rng(2), patterns_of(DNA)
    children, lengths = random_topologies(6, 1, rng), rng.exponential(0.3, (1, 9))
    plain, near, far = (
        tree_log_likelihood(text, patterns, children[0], lengths[0])
        for text in ("HKY{2}+F", "HKY{2}+F+G4{1000}", "HKY{2}+F+G4{1}")
    )
    assert near == pytest.approx(plain, abs=2e-3)
    assert abs(far - plain) > 0.1


@pytest.mark.parametrize("size", [8.0, 300.0])
@pytest.mark.parametrize(("text", "alphabet"), MODELS, ids=[text for text, _ in MODELS])
def test_nothing_overflows_far_out(text, alphabet, size):
    part, _, trees, packed = problem(text, alphabet)
    theta = size * np.sign(np.random.default_rng(4).normal(size=(2, part.size)))
    rates = part.rates(theta)
    assert all(np.isfinite(each).all() for each in rates)
    assert all(np.isfinite(each).all() for each in part.log_prior(theta))
    assert np.isfinite(part.values(theta)).all()
    if size < 10:
        values, length_slopes, slopes = reversible.evaluate(*trees, packed, rates, np.arange(2))
        assert np.isfinite(values).all()
        assert np.isfinite(length_slopes).all()
        assert np.isfinite(part.pull_back(theta, slopes)).all()


@pytest.mark.parametrize(
    ("name", "density", "words"),
    [
        ("alpha", "exp", "not a density"),
        ("alpha", "exp:0", "not a density"),
        ("alpha", "exp:1,2", "not a density"),
        ("alpha", "dirichlet:1", "alpha takes exp:1 or gamma:1,1"),
        ("pinvar", "beta:1", "not a density"),
        ("pinvar", "uniform:0,0.5", "not a density"),
        ("kappa", "beta:-1,1", "not a density"),
        ("rates", "dirichlet:", "not a density"),
        ("frequencies", "dirichlet:1,nan", "not a density"),
        ("multipliers", "exp:1", "multipliers takes dirichlet:1,1,..."),
    ],
)
def test_priors_that_are_none(name, density, words):
    with pytest.raises(ConfigError, match=words) as caught:
        make_parameter(name, density, 2, (0.1, 10.0))
    assert "\n" not in str(caught.value)


def test_priors_go_where_their_parameters_are():
    part = make_part("HKY+G4", patterns_of(DNA), {"alpha": "gamma:2,1"})
    assert part.priors == {**{name: DEFAULT_PRIORS[name] for name in ("kappa", "frequencies")}, "alpha": "gamma:2,1"}
    z = np.array([[0.0, 0.0, 0.0, 0.0, 0.5]])
    change = part.log_prior(z)[0] - make_part("HKY+G4", patterns_of(DNA)).log_prior(z)[0]
    expected = stats.gamma(2).logpdf(np.exp(0.5)) - stats.expon().logpdf(np.exp(0.5))
    assert change[0] == pytest.approx(expected, rel=1e-12)
    for name, words in (("rates", "not free in HKY"), ("pinvar", "not free"), ("beta", "not a parameter")):
        with pytest.raises(ConfigError, match=words):
            make_part("HKY+G4", patterns_of(DNA), {name: "exp:1"})
    with pytest.raises(ConfigError, match="6 numbers are wanted"):
        make_part("GTR", patterns_of(DNA), {"rates": "dirichlet:1,2"})


def test_constant_characters_are_none_for_ascertainment():
    with pytest.raises(ConfigError, match="2 of 5 characters do not vary"):
        make_part("MK+ASC", SitePatterns(np.array([[1, 1, 1], [2, 1, 3]], np.uint8), np.array([3.0, 1, 1]), BINARY))

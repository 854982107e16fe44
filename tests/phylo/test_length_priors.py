"""Priors of branch lengths: densities that integrate to one, slopes by differences, moments of draws, and their texts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.kernels import priors as kernels
from vbpi_mix.phylo.models.priors import ExponentialLengths, GammaDirichletLengths, parse_length_prior

PRIORS = [ExponentialLengths(7.0), GammaDirichletLengths(), GammaDirichletLengths(2.0, 4.0, 1.5, 0.6)]
EDGES = 7


def full_log_density(prior, x):
    """By the formula of the papers, edge by edge."""
    b = np.exp(x)
    if isinstance(prior, ExponentialLengths):
        return sum(math.log(prior.rate) - prior.rate * each for each in b) + sum(x)
    n = (len(b) + 3) // 2
    a = [prior.pendant] * (n - 1) + [prior.pendant * prior.ratio] * (n - 3) + [prior.pendant]
    total = sum(b)
    value = prior.shape * math.log(prior.rate) - math.lgamma(prior.shape) - prior.rate * total
    value += (prior.shape - sum(a)) * math.log(total) + math.lgamma(sum(a))
    return value + sum((ae - 1) * math.log(be) - math.lgamma(ae) for ae, be in zip(a, b, strict=True)) + sum(x)


@pytest.mark.parametrize("prior", PRIORS)
def test_density_and_slopes_of_every_method_agree(prior):
    rng = np.random.default_rng(4)
    x = np.log(prior.draw((3, EDGES), rng))
    lengths = np.exp(x)
    expected = np.array([full_log_density(prior, row) for row in x])
    constant = prior.log_constant(EDGES)
    np.testing.assert_allclose(prior.log_density(x, lengths) + constant, expected, rtol=1e-12)
    value = np.empty(3)
    kernels.log_densities(x, lengths, prior.kernel, constant, value)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    slopes = np.empty_like(x)
    for e in range(EDGES):
        step = np.zeros(EDGES)
        step[e] = 1e-5
        above, below = ([full_log_density(prior, row + sign * step) for row in x] for sign in (1, -1))
        slopes[:, e] = (np.array(above) - np.array(below)) / 2e-5
    np.testing.assert_allclose(prior.log_length_slopes(lengths), slopes, rtol=1e-7, atol=1e-7)
    of_likelihood = rng.normal(size=x.shape)
    np.testing.assert_allclose(prior.add_slopes(of_likelihood, lengths), of_likelihood * lengths + slopes, rtol=1e-7, atol=1e-7)
    points, outer, inner = of_likelihood.copy(), np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.3, -2.0])
    kernels.pull_back_to_log_lengths(points, lengths, prior.kernel, outer, inner)
    wanted = outer[:, None] * of_likelihood * lengths + inner[:, None] * slopes
    np.testing.assert_allclose(points, wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prior", PRIORS)
def test_ratios_are_those_of_densities(prior):
    rng = np.random.default_rng(5)
    lengths = prior.draw((EDGES,), rng)
    for e in range(EDGES):
        changed = lengths.copy()
        changed[e] *= 1.7
        expected = full_log_density(prior, np.log(changed)) - full_log_density(prior, np.log(lengths)) - math.log(1.7)
        pendant = e in (0, 1, 2, 3, EDGES - 1)
        found = kernels.log_ratio(prior.kernel, pendant, lengths.sum(), EDGES, lengths[e], changed[e])
        assert found == pytest.approx(expected, rel=1e-10)


def test_the_ratio_of_a_split_edge_compares_places():
    """A stem joined in edge 0 (pendant) or in edge 5 (internal) of the rest: the densities of the two whole trees."""
    prior = GammaDirichletLengths(2.0, 4.0, 1.5, 0.6)
    a, a_internal = prior.pendant, prior.pendant * prior.ratio
    rest, u = {"pendant": 0.3, "internal": 0.2}, 0.25

    def places(kind):
        """Log density of the parts and of the edge that is left whole, of the same total."""
        other = "internal" if kind == "pendant" else "pendant"
        lower, upper = u * rest[kind], (1 - u) * rest[kind]
        low = a if kind == "pendant" else a_internal
        whole = a if other == "pendant" else a_internal
        return (low - 1) * math.log(lower) + (a_internal - 1) * math.log(upper) + (whole - 1) * math.log(rest[other])

    found = [
        kernels.log_split_ratio(prior.kernel, u * rest[kind], (1 - u) * rest[kind], kind == "pendant", False)
        for kind in ("pendant", "internal")
    ]
    assert found[0] - found[1] == pytest.approx(places("pendant") - places("internal"), rel=1e-12)
    assert kernels.log_split_ratio(ExponentialLengths().kernel, 0.1, 0.2, True, False) == 0.0


@pytest.mark.parametrize("prior", PRIORS)
def test_the_density_integrates_to_one_on_four_taxa(prior):
    """By importance sampling from independent gammas at many scales, since trees may be short as a whole."""
    rng = np.random.default_rng(0)
    edges, shape, draws = 5, 0.8, 400_000
    scales = prior.draw((100_000, edges), rng).mean() * 3.0 ** np.arange(-6, 3)
    b = rng.gamma(shape, scales[rng.integers(scales.size, size=(draws, 1))], (draws, edges))
    each = [(shape * np.log(b / s) - b / s - math.lgamma(shape)).sum(1) for s in scales]
    log_q = np.logaddexp.reduce(each, axis=0) - math.log(scales.size)
    weights = np.exp(prior.log_density(np.log(b), b) + prior.log_constant(edges) - log_q)
    error = weights.std() / math.sqrt(draws)
    assert error < 0.01
    assert weights.mean() == pytest.approx(1.0, abs=5 * error)


def test_draws_have_the_moments_of_the_compound_prior():
    prior = GammaDirichletLengths(2.0, 4.0, 1.5, 0.6)
    lengths = prior.draw((200_000, EDGES), np.random.default_rng(2))
    total = lengths.sum(1)
    assert total.mean() == pytest.approx(0.5, rel=0.01)
    assert total.var() == pytest.approx(2 / 16, rel=0.03)
    a = prior.concentrations(EDGES)
    np.testing.assert_allclose(a, [1.5, 1.5, 1.5, 1.5, 0.9, 0.9, 1.5])
    shares = lengths / total[:, None]
    np.testing.assert_allclose(shares.mean(0), a / a.sum(), rtol=0.01)
    m = a / a.sum()
    np.testing.assert_allclose(shares.var(0), m * (1 - m) / (a.sum() + 1), rtol=0.03)
    assert abs(np.corrcoef(total, shares[:, 0])[0, 1]) < 0.01


def test_moments_are_those_that_mrbayes_samples():
    """MrBayes 3.2.7a, gammadir(2,4,1.5,0.4) on 6 taxa without data (mcmc data=no, 2,000,000 generations, seed 11): mean and
    variance of the tree length 0.503 and 0.1246, mean pendant length 0.0698, internal 0.0281."""
    prior = GammaDirichletLengths(2.0, 4.0, 1.5, 0.4)
    a = prior.concentrations(9)
    means = prior.shape / prior.rate * a / a.sum()
    assert prior.shape / prior.rate == pytest.approx(0.503, rel=0.01)
    assert prior.shape / prior.rate**2 == pytest.approx(0.1246, rel=0.02)
    np.testing.assert_allclose(means, [0.0698] * 5 + [0.0281] * 3 + [0.0698], rtol=0.02)


@pytest.mark.parametrize(
    ("text", "prior", "mrbayes"),
    [
        ("exp:10", ExponentialLengths(), "unconstrained:exponential(10.0)"),
        ("exp:2.5", ExponentialLengths(2.5), "unconstrained:exponential(2.5)"),
        ("gammadir:1,0.1,1,1", GammaDirichletLengths(), "unconstrained:gammadir(1,0.1,1,1)"),
        ("gammadir:2,4,1.5,0.6", GammaDirichletLengths(2, 4, 1.5, 0.6), "unconstrained:gammadir(2,4,1.5,0.6)"),
    ],
)
def test_texts_are_read_and_written(text, prior, mrbayes):
    found = parse_length_prior(text)
    assert found == prior
    assert found.text == text
    assert found.mrbayes == mrbayes
    assert parse_length_prior(f" {text.upper()}") == prior


@pytest.mark.parametrize(
    "text",
    ["", "exp", "exp:0", "exp:-1", "exp:nan", "exp:1,2", "gammadir:1,0.1,1", "gammadir:1,0,1,1", "gamma:1", "exp:inf", "10"],
)
def test_what_is_no_density_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match=r"is no density: give exp:RATE or gammadir:AT,BT,A,C") as caught:
        parse_length_prior(text)
    assert "\n" not in str(caught.value)


def test_numbers_are_checked():
    with pytest.raises(ConfigError, match="ratio 0"):
        GammaDirichletLengths(ratio=0.0)

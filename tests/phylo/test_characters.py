"""Models of all characters: parts, multipliers, what is linked; against sums of parts, and slopes against differences."""

import numpy as np
import pytest

from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models import reversible_likelihood
from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
from vbpi_mix.phylo.models.joint import JointPosterior
from vbpi_mix.phylo.models.part import make_part
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.trees.topology import random_topologies

TAXA, EDGES = 6, 9


def part(name, model, patterns=20, seed=0, alphabet=DNA):
    rng = np.random.default_rng(seed)
    states = np.left_shift(1, rng.integers(0, alphabet.n_states, (TAXA, patterns))).astype(alphabet.dtype)
    data = SitePatterns(states, rng.integers(1, 5, patterns).astype(float), alphabet)
    return CharacterPart(name, data, make_part(model, data))


def trees(count, seed=1):
    rng = np.random.default_rng(seed)
    return random_topologies(TAXA, count, rng), rng.normal(-2.0, 0.5, (count, EDGES))


def drawn(characters, count, seed=2):
    return characters.start() + np.random.default_rng(seed).normal(0.0, 0.4, (count, characters.size))


MODELS = {
    "one": lambda: CharacterModel([part("all", "GTR+I+G4")]),
    "two": lambda: CharacterModel([part("a", "GTR+G4"), part("b", "HKY+I", 12, seed=3)]),
    "linked": lambda: CharacterModel([part("a", "HKY+G4"), part("b", "HKY+G4", 12, seed=3)], ["alpha", "kappa"]),
    "mixed": lambda: CharacterModel([part("a", "HKY"), part("b", "GTR2+G2", 9, 4, BINARY)]),
    "protein": lambda: CharacterModel([part("all", "WAG+FO+I+G4", 9, 6, PROTEIN)]),
    "binary": lambda: CharacterModel([part("all", "GTR2+I+G4", 12, 7, BINARY)]),
    "one rate": lambda: CharacterModel([part("a", "HKY"), part("b", "F81", 8, seed=5)], multipliers=None),
}


@pytest.mark.parametrize("name", MODELS)
def test_slopes_are_differences(name):
    characters = MODELS[name]()
    posterior = JointPosterior(characters)
    children, x = trees(3)
    theta = drawn(characters, 3)
    _, of_lengths, of_theta = posterior.joint_slopes(children, x, theta)
    for point, slopes in ((x, of_lengths), (theta, of_theta)):
        for d in range(point.shape[1]):
            h = 1e-5
            step = np.zeros_like(point)
            step[:, d] = h
            moved = [(x + s * step, theta) if point is x else (x, theta + s * step) for s in (1, -1)]
            above, below = (posterior.joint_slopes(children, *at)[0] for at in moved)
            expected = (above - below) / (2 * h)
            np.testing.assert_allclose(slopes[:, d], expected, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())
    np.testing.assert_allclose(posterior.length_slopes(children, x, theta), of_lengths, rtol=1e-12)


def test_likelihood_is_the_sum_over_parts_at_their_own_rates():
    parts = [part("a", "GTR+G4"), part("b", "HKY+I", 12, seed=3)]
    characters = CharacterModel(parts)
    children, x = trees(2)
    theta, lengths = drawn(characters, 2), np.exp(x)
    multipliers = characters.multipliers(theta)
    sites = np.array([each.patterns.weights.sum() for each in parts])
    np.testing.assert_allclose(multipliers @ sites, sites.sum())
    expected = np.zeros(2)
    for g, (each, own) in enumerate(zip(parts, (theta[:, :9], theta[:, 9:14]), strict=True)):
        packed = reversible_likelihood.pack(each.patterns)
        for t in range(2):
            rates = each.model.rates(own[t : t + 1])
            stretched = lengths[t : t + 1] * multipliers[t, g]
            one = (children[t : t + 1], stretched, packed, rates, np.zeros(1, int))
            expected[t] += reversible_likelihood.log_likelihoods(*one)[0]
    np.testing.assert_allclose(characters.log_likelihoods(children, lengths, theta), expected, rtol=1e-12)


def test_a_part_cut_in_two_with_all_linked_is_the_whole():
    whole = part("all", "HKY+I+G4", 20)
    data = whole.patterns
    halves = [
        CharacterPart(name, own, make_part("HKY+I+G4", own))
        for name, own in (
            ("first", SitePatterns(np.ascontiguousarray(data.states[:, :7]), data.weights[:7])),
            ("second", SitePatterns(np.ascontiguousarray(data.states[:, 7:]), data.weights[7:])),
        )
    ]
    one, two = CharacterModel([whole]), CharacterModel(halves, ["kappa", "frequencies", "alpha", "pinvar"], multipliers=None)
    assert one.size == two.size == 6
    children, x = trees(3)
    theta = drawn(one, 3)
    found = [JointPosterior(each).joint_slopes(children, x, theta) for each in (one, two)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_blocks_and_names_tell_the_parts_apart():
    characters = MODELS["two"]()
    assert characters.blocks == (9, 5, 1)
    named = [(each.name, each.part) for each in characters.names]
    assert named[0] == ("r(A<->C)", "a")
    assert ("kappa", "b") in named
    assert named[-2:] == [("m{1}", "a"), ("m{2}", "b")]
    assert characters.values(drawn(characters, 4)).shape == (4, len(named))


@pytest.mark.parametrize(("prior", "mean"), [("dirichlet:1", 0.5), ("dirichlet:2,6", 0.25)])
def test_the_prior_of_multipliers_is_a_density_of_shares(prior, mean):
    parts = [part("a", "JC"), part("b", "JC", 12, seed=3)]
    characters = CharacterModel(parts, multipliers=prior)
    at = np.linspace(-30.0, 30.0, 20_001)
    density = np.exp(characters.log_prior(at[:, None])[0])
    assert np.trapezoid(density, at) == pytest.approx(1.0, abs=1e-6)
    share = characters.multipliers(at[:, None])[:, 0] * parts[0].sites / sum(each.sites for each in parts)
    assert np.trapezoid(density * share, at) == pytest.approx(mean, abs=1e-6)


def test_parameters_held_give_the_same_density():
    characters = MODELS["two"]()
    posterior = JointPosterior(characters)
    children, x = trees(2)
    theta = drawn(characters, 1)
    held = posterior.at(theta[0])
    assert isinstance(held, Posterior)
    joint = posterior.joint_slopes(children, x, np.repeat(theta, 2, axis=0))
    prior = characters.log_prior(theta)[0]
    np.testing.assert_allclose(held.log_joint(children, x) + prior, joint[0], rtol=1e-12)
    np.testing.assert_allclose(held.log_joint_slopes(children, x), joint[1], rtol=1e-12)

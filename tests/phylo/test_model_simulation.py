"""Characters drawn under model strings: joint probabilities, rates of sites, ascertainment, files."""

import numpy as np
import pytest

import vbpi_mix
from vbpi_mix.errors import ConfigError, TreeError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, standard
from vbpi_mix.phylo.data.site_patterns import compress
from vbpi_mix.phylo.models.given import draw_characters, tree_log_likelihood

CHILDREN, LENGTHS = np.array([[1, 2]], np.int32), np.array([0.2, 0.1, 0.3])
SITES = 40_000


def drawn(text, alphabet, sites=SITES):
    """Numbers of states at three taxa."""
    sets = draw_characters(text, alphabet, CHILDREN, LENGTHS, sites, np.random.default_rng(5))
    assert sets.dtype == alphabet.dtype
    return np.log2(sets.astype(float)).astype(int)


@pytest.mark.parametrize(
    ("text", "alphabet"),
    [
        ("GTR{1.2,3.4,0.7,0.9,4.1}+F{0.31,0.19,0.22,0.28}+I{0.2}+G4{0.45}", DNA),
        ("JC", DNA),
        ("LG+G4{0.5}", PROTEIN),
        ("GTR2+F{0.3,0.7}+ASC", BINARY),
        ("ORDERED+I{0.1}", standard("012")),
    ],
)
def test_patterns_have_the_probabilities_of_the_model(text, alphabet):
    """The log-likelihood of what was drawn is its expectation, the negative entropy, within five standard errors."""
    states = drawn(text, alphabet)
    size = alphabet.n_states
    codes, counts = np.unique(states[0] * size**2 + states[1] * size + states[2], return_counts=True)
    log_p = np.array([one_site(text, alphabet, divmod_all(code, size)) for code in codes])
    assert np.exp(log_p).sum() < 1 + 1e-9
    p, often = np.exp(log_p), counts >= 20
    assert often.sum() >= 4
    expected = SITES * p[often]
    assert (np.abs(counts[often] - expected) < 5 * np.sqrt(expected + 1)).all()


def divmod_all(code, size):
    return code // size**2, code // size % size, code % size


def one_site(text, alphabet, states):
    from vbpi_mix.phylo.data.site_patterns import SitePatterns

    column = np.array([[1 << int(state)] for state in states], alphabet.dtype)
    return tree_log_likelihood(text, SitePatterns(column, np.ones(1), alphabet), CHILDREN, LENGTHS)


def test_only_characters_that_vary_are_recorded():
    states = drawn("MK+ASC", standard("0123"), sites=500)
    assert states.shape == (3, 500)
    assert (states != states[0]).any(axis=0).all()
    with pytest.raises(ConfigError, match="longer tree"):
        draw_characters("MK+ASC", BINARY, CHILDREN, 1e-9 * LENGTHS, 10, np.random.default_rng(1))


def test_a_simulated_alignment_is_read_back(tmp_path):
    (tmp_path / "tree.nwk").write_text("((b:0.1,a:0.2):0.3,(c:0.1,'d e':0.2):0.1);")
    for model, states, kind in (("WAG+I{0.2}", 2, "protein"), ("MK", 3, "standard"), ("HKY{2}+FQ", 2, "dna")):
        made = vbpi_mix.simulate(sites=200, model=model, tree=tmp_path / "tree.nwk", states=states, seed=3)
        made.write(tmp_path / "made.nex", force=True)
        again = read_alignment(tmp_path / "made.nex")
        assert again.taxa == made.alignment.taxa == ("a", "b", "c", "d e")
        assert again.alphabets[0].name == kind
        np.testing.assert_array_equal(again.states, made.alignment.states)
        assert compress(again).alphabet.n_states == {"protein": 20, "standard": 3, "dna": 4}[kind]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"model": "HKY+G4"}, "lacking for kappa, frequencies, alpha; give them as HKY{2.5}, \\+F{numbers}, \\+G4{0.5}"),
        ({"model": "HKY{2}+F"}, "no data to count frequencies"),
        ({"model": "GRT"}, "the nearest is GTR"),
        ({"model": "MK", "states": 1}, "discrete characters have 2 to"),
        ({"taxa": 5, "tree": "tree.nwk"}, "a tree says its taxa"),
        ({"sites": 0, "tree": "tree.nwk"}, "at least 1"),
    ],
)
def test_what_cannot_be_simulated(wanted, words):
    with pytest.raises(ConfigError, match=words):
        vbpi_mix.simulate(**wanted)


def test_trees_of_simulations_have_lengths_and_are_not_replaced(tmp_path):
    (tmp_path / "bare.nwk").write_text("((a,b),c,d);")
    with pytest.raises(TreeError, match="no branch lengths"):
        vbpi_mix.simulate(tree=tmp_path / "bare.nwk")
    (tmp_path / "tree.nwk").write_text("((a:1,b:1):1,c:1,d:1);")
    with pytest.raises(ConfigError, match="would be replaced"):
        vbpi_mix.simulate(tree=tmp_path / "tree.nwk").write(tmp_path / "tree.nex", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.nwk", "tree.nwk"]

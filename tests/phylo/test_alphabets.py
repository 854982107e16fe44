"""Alphabets: what each letter stands for, counted out by hand, and letters for every set."""

import numpy as np
import pytest

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, alphabet_of_name, standard, standard_of

IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT", "X": "ACGT", "-": "ACGT", "?": "ACGT",
}  # fmt: skip


def members(alphabet, state):
    return "".join(symbol for k, symbol in enumerate(alphabet.symbols) if state & (1 << k))


def test_nucleotides_are_the_bits_1_2_4_8():
    assert [DNA.state_of(letter) for letter in "ACGT"] == [1, 2, 4, 8]
    assert {letter: members(DNA, DNA.state_of(letter)) for letter in IUPAC} == IUPAC
    assert all(DNA.state_of(letter.lower()) == DNA.state_of(letter) for letter in IUPAC)
    assert (DNA.n_states, DNA.missing, DNA.dtype) == (4, 15, np.uint8)


def test_amino_acids_are_in_the_order_of_the_matrices():
    """Alanine, arginine, asparagine ...: the order of PAML's dat files and of IQ-TREE."""
    assert PROTEIN.symbols == "ARNDCQEGHILKMFPSTWYV"
    assert [members(PROTEIN, PROTEIN.state_of(letter)) for letter in "BZJ"] == ["ND", "QE", "IL"]
    assert {PROTEIN.state_of(letter) for letter in "XUO*-?x"} == {PROTEIN.missing} == {2**20 - 1}
    assert (PROTEIN.n_states, PROTEIN.dtype) == (20, np.uint64)
    assert PROTEIN.state_of("1") == 0


@pytest.mark.parametrize("alphabet", [DNA, PROTEIN, BINARY, standard("0123AB")])
def test_every_set_has_a_way_to_be_written(alphabet):
    rng = np.random.default_rng(0)
    for state in rng.integers(1, alphabet.missing + 1, 200).tolist():
        written = alphabet.letter_of(state)
        assert alphabet.state_of(written.strip("{}")) == state
        assert len(written) == 1 or written[0] == "{"
    assert alphabet.letter_of(alphabet.missing) == "?"


def test_several_letters_are_a_set_and_a_tilde_is_a_range():
    assert standard("01234").state_of("13") == 0b01010
    assert standard("01234").state_of("1~3") == 0b01110
    assert PROTEIN.state_of("BA") == PROTEIN.state_of("NDA")
    assert standard("01").state_of("02") == 0
    assert DNA.state_of("AR") == 0b0101
    assert DNA.state_of("") == 0


@pytest.mark.parametrize(
    ("met", "symbols", "expected"),
    [
        ("01", None, "01"), ("0", None, "01"), ("", None, "01"), ("3", None, "0123"), ("0b", None, "0123456789AB"),
        ("01", "0123456789", "01"), ("xy", "XYZ", "XY"), ("Z", "XYZ", "XYZ"), ("Q", "XYZ", "XY"),
    ],
)  # fmt: skip
def test_the_states_that_exist_are_those_up_to_the_highest_met(met, symbols, expected):
    found = standard_of(met) if symbols is None else standard_of(met, symbols)
    assert (found.name, found.symbols) == ("standard", expected)


def test_states_beyond_eight_need_wide_integers():
    assert (standard("01234567").dtype, standard("012345678").dtype) == (np.uint8, np.uint64)
    wide = standard("".join(map(chr, range(33, 97))))
    assert wide.missing == 2**64 - 1 == int(np.uint64(wide.missing))


def test_alphabets_are_found_by_name():
    assert alphabet_of_name("dna", "ACGT") is DNA
    assert alphabet_of_name("protein") is PROTEIN
    assert alphabet_of_name("binary") == alphabet_of_name("standard") == BINARY
    assert alphabet_of_name("standard", "012") == standard("012")
    for wrong in (lambda: alphabet_of_name("codon"), lambda: standard("00"), lambda: standard("")):
        with pytest.raises(AlignmentError):
            wrong()


@pytest.mark.parametrize("alphabet", [PROTEIN, BINARY, standard("".join(map(chr, range(33, 97))))])
def test_states_of_any_alphabet_survive_as_tensors(alphabet):
    """As a checkpoint keeps them: bit sets of 64, the highest among them, as int64."""
    from vbpi_mix.phylo.parts import as_tensor

    states = np.array([[1, alphabet.missing, 1 << (alphabet.n_states - 1)]], dtype=alphabet.dtype)
    kept = as_tensor(states)
    assert np.array_equal(kept.numpy().view(alphabet.dtype), states)

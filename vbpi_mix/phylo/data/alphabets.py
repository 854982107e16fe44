"""Alphabets: the states that a character can have, and the letters that stand for one or several of them.

A state set is an unsigned integer with one bit for each state that the character may be in, bit k for symbol k. What says
nothing, a gap or `?`, is the set of all states. The field's readings: IUPAC codes for nucleotides; for amino acids B = N or
D, Z = Q or E, J = I or L, and X, U, O and * any, as IQ-TREE has them (the last three are no states of the usual
matrices). Discrete characters have one letter a state and no ambiguity codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vbpi_mix.errors import AlignmentError

MISSING_LETTERS = "-?"
STANDARD_SYMBOLS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_STATES = 64
_AMBIGUOUS = {
    "dna": {
        "U": "T", "M": "AC", "R": "AG", "W": "AT", "S": "CG", "Y": "CT", "K": "GT", "V": "ACG", "H": "ACT", "D": "AGT",
        "B": "CGT", "N": "ACGT", "X": "ACGT",
    },
    "protein": {
        "B": "ND", "Z": "QE", "J": "IL",
        **dict.fromkeys("XUO*", "ARNDCQEGHILKMFPSTWYV"),
    },
    "standard": {},
}  # fmt: skip
# What one character of each alphabet is called, and what to write where it is not one.
_CALLED = {
    "dna": ("a nucleotide", "use IUPAC codes, - or ?"),
    "protein": ("an amino acid", "use one-letter codes, - or ?"),
    "standard": ("one of the states", "the states are {symbols}, and - or ? where nothing is known"),
}


@dataclass(frozen=True)
class Alphabet:
    """The states of a character.

    name: dna, protein or standard. symbols: one letter for each state, in the order of the states; those of amino acids
    are in the order of PAML's matrices.
    """

    name: str
    symbols: str

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.symbols)

    @property
    def missing(self) -> int:
        """The set of all states."""
        return (1 << self.n_states) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of arrays of state sets: uint8 for up to 8 states, else uint64."""
        return np.dtype(np.uint8 if self.n_states <= 8 else np.uint64)

    def state_of(self, letters: str) -> int:
        """The set of states that one letter, or several together, stand for; 0 if one of them stands for none.

        `0~3` among several letters is a range of symbols.
        """
        state = 0
        for letter in self._without_ranges(letters):
            one = self._states.get(letter) or self._states.get(letter.upper(), 0)
            if not one:
                return 0
            state |= one
        return state

    def letter_of(self, state: int) -> str:
        """What stands for a set of states: a letter where there is one, else the symbols in braces, `{01}`."""
        if state in (0, self.missing):
            return "?"
        letter = self._letters.get(state)
        return letter or "{" + "".join(s for k, s in enumerate(self.symbols) if state >> k & 1) + "}"

    def complaint(self, letters: str) -> str:
        """That these letters are none of this alphabet, and what to write."""
        called, advice = _CALLED[self.name]
        return f"{letters!r} is not {called}; {advice.format(symbols=self.symbols)}"

    def _without_ranges(self, letters: str) -> str:
        while (at := letters.find("~", 1)) > 0 and at + 1 < len(letters):
            first, last = (self.symbols.find(letters[k].upper()) for k in (at - 1, at + 1))
            if min(first, last) < 0:
                break
            letters = letters[: at - 1] + self.symbols[first : last + 1] + letters[at + 2 :]
        return letters

    @cached_property
    def _states(self) -> dict[str, int]:
        states = {letter: 1 << k for k, letter in enumerate(self.symbols)}
        for letter, several in _AMBIGUOUS[self.name].items():
            states[letter] = sum(states[one] for one in several)
        # A symbol of the file's own takes precedence over what its letter would say elsewhere.
        return {**dict.fromkeys(MISSING_LETTERS, self.missing), **states}

    @cached_property
    def _letters(self) -> dict[int, str]:
        return {state: letter for letter, state in reversed(self._states.items())}


DNA = Alphabet("dna", "ACGT")
PROTEIN = Alphabet("protein", "ARNDCQEGHILKMFPSTWYV")
BINARY = Alphabet("standard", "01")


def standard(symbols: str = "01") -> Alphabet:
    """The alphabet of discrete characters with these symbols, one a state.

    Raises AlignmentError unless they are 1 to 64 letters, each once.
    """
    if not 1 <= len(symbols) <= MOST_STATES or len(set(symbols)) < len(symbols):
        raise AlignmentError(
            f"symbols {symbols!r}: a character has 1 to {MOST_STATES} states, each with a letter of its own"
        )
    return Alphabet("standard", symbols)


def standard_of(letters: Iterable[str], symbols: str = STANDARD_SYMBOLS) -> Alphabet:
    """The alphabet of discrete characters in which these letters are met: the one place that decides which states exist.

    They are the symbols, in their order, up to the highest that is met, and at least two. So IQ-TREE has it. SYMBOLS of a
    file says which letters there may be and how they are ordered; programs list all ten digits there for characters of two
    states, so it cannot say how many states a model has.
    """
    met = [max(symbols.find(letter), symbols.find(letter.upper())) for letter in letters]
    return standard(symbols[: max([1, *met]) + 1])


def alphabet_of_name(name: str, symbols: str = "") -> Alphabet:
    """The alphabet called dna, protein, binary or standard, the last with its symbols; AlignmentError for another name."""
    known = {"dna": DNA, "protein": PROTEIN, "binary": BINARY}
    if name == "standard":
        return standard(symbols or "01")
    if name not in known:
        raise AlignmentError(f"{name!r} is no alphabet; there are dna, protein, standard and binary")
    return known[name]

"""Sequences as text, before they are states: sets in braces, the kind of data by what is met, the encoding.

A row is a string with one character for each site. Where a file has a set, `{AG}` or `(AG)`, the row has one character
from a private area of Unicode that stands for it, and `Records.meaning` says what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alphabets import BINARY, DNA, MISSING_LETTERS, PROTEIN, Alphabet, standard_of

KINDS = ("dna", "protein", "standard", "binary", "mixed")
# Among the letters of nucleotide data at least so many are A, C, G, T, U or N; among those of proteins about a quarter.
_NUCLEOTIDES_AT_LEAST = 0.8
_PRIVATE, _MOST_SETS = 0xF0000, 60_000
_SET = re.compile(r"[{(]([^{}()]*)[})]")


@dataclass
class Records:
    """Named rows of characters.

    names, rows: one of each for every taxon. meaning: of characters that stand for others, the letters they stand for.
    symbols: the letters of discrete characters, in order, if the file says them.
    """

    names: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    meaning: dict[str, str] = field(default_factory=dict)
    symbols: str | None = None
    _letter_of: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, row: str) -> None:
        """One more taxon."""
        self.names.append(name)
        self.rows.append(row)

    def characters(self, text: str) -> str:
        """The characters of a piece of a sequence, one for each site: blanks dropped, sets as single characters."""
        if "{" in text or "(" in text:
            text = _SET.sub(lambda found: self._set(found.group(1)), text)
        return "".join(text.split())

    def letters(self, sites: np.ndarray | None = None) -> dict[str, int]:
        """How often each letter is met at these sites (default: all), gaps and `?` left out; letters of sets count once."""
        counts: dict[str, int] = {}
        rows = self.rows if sites is None else ["".join(np.array(list(row))[sites].tolist()) for row in self.rows]
        for row in rows:
            for letter in set(row):
                counts[letter] = counts.get(letter, 0) + row.count(letter)
        for letter in [letter for letter in counts if letter in self.meaning]:
            del counts[letter]
            for one in self.meaning[letter].replace("~", ""):
                counts[one] = counts.get(one, 0) + 1
        return {letter: count for letter, count in counts.items() if letter not in MISSING_LETTERS}

    def shown(self, letter: str) -> str:
        """A character as the file has it."""
        return "{" + self.meaning[letter] + "}" if ord(letter) >= _PRIVATE else letter

    def _set(self, inside: str) -> str:
        inside = "".join(re.split(r"[\s,]+", inside))
        if inside not in self._letter_of:
            if len(self.meaning) >= _MOST_SETS:
                raise AlignmentError(f"the sequences have more than {_MOST_SETS:,} different sets of states in braces")
            self._letter_of[inside] = chr(_PRIVATE + len(self.meaning))
            self.meaning[self._letter_of[inside]] = inside
        return self._letter_of[inside]


def alphabet_of(records: Records, kind: str | None = None, sites: np.ndarray | None = None) -> Alphabet:
    """The alphabet of these sites (default: all): of the kind given, or of what is met.

    Nucleotides, if all letters are IUPAC codes or four fifths of them A, C, G, T, U or N; else discrete characters, if
    half of what is met is digits; else protein. A wrong character in any of these is left for `encode` to name.
    """
    if kind == "dna":
        return DNA
    if kind == "protein":
        return PROTEIN
    if kind == "binary":
        return BINARY
    counts = records.letters(sites)
    total = sum(counts.values())
    if kind is None and records.symbols is None:
        plain = sum(count for letter, count in counts.items() if letter in "ACGTUNacgtun")
        if plain >= _NUCLEOTIDES_AT_LEAST * total or all(map(DNA.state_of, counts)):
            return DNA
        if 2 * sum(count for letter, count in counts.items() if letter.isdigit()) < total:
            return PROTEIN
    return standard_of(counts, records.symbols) if records.symbols else standard_of(counts)


def misfits(records: Records, alphabet: Alphabet) -> int:
    """How many different characters are none of this alphabet."""
    return sum(not alphabet.state_of(letter) for letter in records.letters())


def encode(records: Records, alphabets: Sequence[Alphabet], of_site: np.ndarray, path: Path) -> np.ndarray:
    """State sets [n, sites], uint8 if that holds every alphabet, else uint64.

    of_site: uint8 [sites], which of the alphabets each site has. Raises AlignmentError, naming taxon and site, at the
    first character that is none of its alphabet.
    """
    met = sorted(set().union(*records.rows))
    # Sequences are ASCII, but for sets and for what is wrong: one byte a character then, else four.
    code, width = ("latin-1", np.uint8) if met[-1] < "\x80" else ("utf-32-le", np.uint32)
    number_of = np.zeros(ord(met[-1]) + 1, dtype=np.intp)
    number_of[[ord(letter) for letter in met]] = np.arange(len(met))
    dtype = np.result_type(*(alphabet.dtype for alphabet in alphabets))
    table = np.array(
        [[alphabet.state_of(records.meaning.get(letter, letter)) for letter in met] for alphabet in alphabets], dtype=np.uint64
    ).astype(dtype)
    by_code = table[:, number_of]
    states = np.empty((len(records.rows), of_site.size), dtype=dtype)
    for taxon, row in enumerate(records.rows):
        codes = np.frombuffer(row.encode(code, "surrogatepass"), dtype=width)
        states[taxon] = by_code[0, codes] if len(alphabets) == 1 else by_code[of_site, codes]
    wrong = np.argwhere(states == 0)
    if wrong.size:
        taxon, site = wrong[0]
        letter = records.rows[taxon][site]
        complaint = alphabets[of_site[site]].complaint(records.shown(letter))
        raise AlignmentError(f"{path}: taxon {records.names[taxon]!r}, site {site + 1}: character {complaint}")
    return states

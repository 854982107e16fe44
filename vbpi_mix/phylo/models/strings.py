"""Model strings as IQ-TREE writes them: HKY+I+G4, GTR{1.2,3.4,0.7,0.9,4.1}+F{0.31,0.19,0.22,0.28}+G4{0.45}, LG+F, MK+ASC.

Numbers in braces fix a parameter; without braces it is learned. Frequencies that a name leaves free are learned, as
MrBayes has it, where IQ-TREE would count them: +F counts them here too.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.models.matrices import protein_matrices
from vbpi_mix.phylo.models.named import EMPIRICAL, INDEX, NUCLEOTIDE, absent

DEFAULT_CATEGORIES = 4
MOST_CATEGORIES = 64
ALPHA_BOUNDS = (1e-4, 1e4)
HKY_CLASSES = (1, 0, 1, 1, 0, 1)
WORDS = {"dna": "nucleotides", "protein": "amino acids", "standard": "discrete characters"}


class States(Protocol):
    """What is read of an alphabet."""

    @property
    def name(self) -> str:
        """dna, protein or standard."""
        ...

    @property
    def n_states(self) -> int:
        """How many states a character has."""
        ...


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model string.

    text               canonical: parsed again it gives the same
    name               as here, or six digits
    alphabet           dna, protein or standard
    classes            the rate class of each pair of states, upper triangle row by row (nucleotides: AC AG AT CG CT GT);
                       numbered in order of appearance but for the class of the last pair, which is the last
    exchangeabilities  a number for every class, the last 1 where they were given, or None: learned
    frequencies        equal, empirical, learned, model (those that come with a matrix), or numbers
    invariant          share of invariant sites: None (no such sites), "learned" or a number
    categories         of rates; 1 if all sites have the same
    alpha              shape of the gamma distribution: None (one category), "learned" or a number
    ascertainment      only characters that vary were recorded
    """

    text: str
    name: str
    alphabet: str
    n_states: int
    classes: tuple[int, ...]
    exchangeabilities: tuple[float, ...] | None
    frequencies: str | tuple[float, ...]
    invariant: str | float | None = None
    categories: int = 1
    alpha: str | float | None = None
    ascertainment: bool = False

    @property
    def n_classes(self) -> int:
        """Of rates."""
        return max(self.classes) + 1

    @property
    def has_kappa(self) -> bool:
        """Whether transitions and transversions are the two classes of rates."""
        return self.alphabet == "dna" and self.classes == HKY_CLASSES

    @property
    def free(self) -> tuple[str, ...]:
        """What is learned, of kappa or rates, frequencies, alpha, pinvar: the names that priors have."""
        found = []
        if self.exchangeabilities is None and self.n_classes > 1:
            found.append("kappa" if self.has_kappa else "rates")
        if self.frequencies == "learned":
            found.append("frequencies")
        if self.alpha == "learned":
            found.append("alpha")
        if self.invariant == "learned":
            found.append("pinvar")
        return tuple(found)


@dataclass
class _Base:
    """What a name says before the suffixes are read."""

    name: str
    classes: tuple[int, ...]
    exchangeabilities: tuple[float, ...] | None
    frequencies: str


@dataclass(frozen=True)
class _Piece:
    """One piece of a string between plus signs: NAME or NAME{numbers}."""

    text: str
    word: str
    numbers: tuple[float, ...] | None


def alphabet_of_model(text: str) -> str | None:
    """dna, protein or standard, by the name alone; None for a name that is not known."""
    word = re.split(r"[{+]", text.strip(), maxsplit=1)[0]
    if re.fullmatch(r"\d{6}", word):
        return "dna"
    return INDEX[word.upper()][0] if word.upper() in INDEX else None


def parse_model(text: str, alphabet: States) -> ModelSpec:
    """The model that a string names, for characters of an alphabet.

    ConfigError, one line, for a name that is not known (the nearest is named), that IQ-TREE has and we do not, or that is
    for another alphabet; for numbers that cannot be meant; for suffixes that do not go together.
    """
    base, *suffixes = _pieces(text)
    found = _base(text, base, alphabet)
    facts: dict[str, Any] = {}
    for piece in suffixes:
        for name, value in _suffix(text, piece, alphabet.n_states).items():
            if name in facts:
                raise ConfigError(f"model {text}: +{piece.word} says again, or otherwise, what another suffix says")
            facts[name] = value
    if facts.get("ascertainment") and "invariant" in facts:
        raise ConfigError(f"model {text}: +I and +ASC do not go together, since +ASC says that no site is constant")
    facts.setdefault("frequencies", found.frequencies)
    name = _name(found, facts["frequencies"], alphabet)
    known = (name, alphabet.name, alphabet.n_states, found.classes, found.exchangeabilities)
    spec = ModelSpec("", *known, **facts)
    return replace(spec, text=model_text(spec))


def model_text(spec: ModelSpec, explicit: bool = False) -> str:
    """The string of a model. explicit: learned frequencies are said even where they go without saying here, as IQ-TREE
    counts them otherwise."""
    text = spec.name
    if spec.exchangeabilities is not None and spec.n_classes > 1 and spec.name not in (*EMPIRICAL, "ORDERED"):
        text += _braces(spec.exchangeabilities[:-1])
    if isinstance(spec.frequencies, tuple):
        text += "+F" + _braces(spec.frequencies)
    elif spec.frequencies != _default_frequencies(spec.name) or (explicit and spec.frequencies == "learned"):
        text += {"empirical": "+F", "equal": "+FQ", "learned": "+FO"}[spec.frequencies]
    if spec.invariant is not None:
        text += "+I" + (_braces([spec.invariant]) if isinstance(spec.invariant, float) else "")
    if spec.categories > 1:
        text += f"+G{spec.categories}" + (_braces([spec.alpha]) if isinstance(spec.alpha, float) else "")
    return text + ("+ASC" if spec.ascertainment else "")


def _braces(values: Iterable[float]) -> str:
    return "{" + ",".join(f"{value:.12g}" for value in values) + "}"


def _pieces(text: str) -> list[_Piece]:
    pieces = []
    for part in text.strip().split("+"):
        match = re.fullmatch(r"\s*([^{}\s]+)\s*(?:\{([^{}]*)\})?\s*", part)
        if match is None:
            raise ConfigError(f"model {text!r}: {part!r} is not NAME or NAME{{numbers}}; write it as in GTR+I+G4{{0.5}}")
        numbers = None if match[2] is None else _numbers(text, part, match[2])
        pieces.append(_Piece(part.strip(), match[1], numbers))
    return pieces


def _numbers(text: str, part: str, inside: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in re.split(r"[,/]", inside))
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ConfigError(f"model {text}: {part} needs numbers of at least 0 with commas between them")
    return values


def _base(text: str, piece: _Piece, alphabet: States) -> _Base:
    kind, name = _find(text, piece.word, alphabet.name)
    if kind != alphabet.name:
        raise ConfigError(
            f"model {text}: {piece.word} is for {WORDS[kind]}, but the characters are {WORDS.get(alphabet.name, alphabet.name)}"
        )
    states = alphabet.n_states
    pairs = states * (states - 1) // 2
    if name in EMPIRICAL:
        found = _Base(name, tuple(range(pairs)), protein_matrices()[name].exchangeabilities, "model")
    elif name == "GTR20":
        found = _Base(name, tuple(range(pairs)), None, "learned")
    elif name == "ORDERED" and states > 2:
        neighbours = tuple(int(j == i + 1) for i in range(states) for j in range(i + 1, states))
        found = _Base(name, neighbours, (0.0, 1.0), "equal")
    elif kind != "dna":
        if name in ("JC2", "GTR2") and states != 2:
            raise ConfigError(f"model {text}: {name} is for two states, and these characters have {states}; use MK")
        found = _Base(name, (0,) * pairs, (1.0,), _default_frequencies(name))
    else:
        classes = _canonical(_code(name))
        found = _Base(name, classes, None if max(classes) else (1.0,), _default_frequencies(name))
    if piece.numbers is not None:
        found.exchangeabilities = _given_rates(text, piece, found)
    return found


def _find(text: str, word: str, alphabet: str) -> tuple[str, str]:
    """Alphabet and name of a word; of unknown ones the nearest of the alphabet at hand is named, if one is near."""
    if re.fullmatch(r"\d{6}", word):
        return "dna", word
    if word.upper() in INDEX:
        return INDEX[word.upper()]
    what = absent(word)
    if what:
        raise ConfigError(f"model {text}: {word} is not here ({what})")
    own = [each for each, (kind, _) in INDEX.items() if kind == alphabet]
    near = [each for names in (own, INDEX) for each in difflib.get_close_matches(word.upper(), names, n=1, cutoff=0.5)]
    advice = f"the nearest is {INDEX[near[0]][1]}" if near else "choose one as GTR, HKY, LG, WAG or MK"
    raise ConfigError(f"model {text}: no model is called {word}; {advice}")


def _code(name: str) -> str:
    """Six digits of a model of nucleotides."""
    return next((code for code, names in NUCLEOTIDE.items() if name in names), name)


def _canonical(code: str) -> tuple[int, ...]:
    """Classes numbered as ModelSpec says."""
    order = [digit for digit in dict.fromkeys(code) if digit != code[-1]] + [code[-1]]
    return tuple(order.index(digit) for digit in code)


def _given_rates(text: str, piece: _Piece, found: _Base) -> tuple[float, ...]:
    """Numbers of a name in braces: one a class, or all but the last, which is 1 then."""
    wanted = max(found.classes) + 1
    given = piece.numbers or ()
    if found.exchangeabilities is not None:
        raise ConfigError(f"model {text}: {found.name} has no rates to be given; leave {piece.text[len(piece.word) :]} out")
    if len(given) == wanted - 1:
        given = (*given, 1.0)
    if len(given) != wanted or not all(value > 0 for value in given):
        raise ConfigError(
            f"model {text}: {found.name} takes {wanted - 1} rates above 0 (the last is 1) or {wanted}, not {piece.text}"
        )
    return tuple(value / given[-1] for value in given)


def _default_frequencies(name: str) -> str:
    if name in EMPIRICAL:
        return "model"
    equal = (*(pair[0] for pair in NUCLEOTIDE.values()), "Poisson", "MK", "ORDERED", "JC2")
    return "equal" if name in equal else "learned"


def _suffix(text: str, piece: _Piece, states: int) -> dict[str, Any]:
    """Fields of ModelSpec that a suffix sets."""
    word, numbers = piece.word.upper(), piece.numbers
    if word in ("F", "FU") and numbers is not None:
        return {"frequencies": _given_frequencies(text, piece, states)}
    if word in ("I", "IU", "IO") and (word != "IO" or numbers is None):
        return {"invariant": "learned" if numbers is None else _one(text, piece, 0.0, 1.0 - 1e-9)}
    gamma = re.fullmatch(r"G(\d*)M?", word)
    if gamma:
        categories = int(gamma[1] or DEFAULT_CATEGORIES)
        if not 2 <= categories <= MOST_CATEGORIES:
            raise ConfigError(f"model {text}: +{piece.word}: categories are 2 to {MOST_CATEGORIES}")
        return {"categories": categories, "alpha": "learned" if numbers is None else _one(text, piece, *ALPHA_BOUNDS)}
    plain = {"F": "empirical", "FC": "empirical", "FQ": "equal", "FE": "equal", "FO": "learned"}
    if numbers is None and word in plain:
        return {"frequencies": plain[word]}
    if numbers is None and word in ("ASC", "ASC_LEWIS"):
        return {"ascertainment": True}
    what = absent(word)
    if what:
        raise ConfigError(f"model {text}: +{piece.text} is not here ({what}); rates of sites are +I, +G4 or +I+G4")
    raise ConfigError(f"model {text}: what is +{piece.text}? Suffixes are +F, +FQ, +FO, +F{{}}, +I, +I{{}}, +G4, +G4{{}}, +ASC")


def _one(text: str, piece: _Piece, low: float, high: float) -> float:
    given = piece.numbers or ()
    if len(given) != 1 or not low <= given[0] <= high:
        raise ConfigError(f"model {text}: +{piece.word} takes one number from {low:g} to {high:g} in braces, not {piece.text}")
    return given[0]


def _given_frequencies(text: str, piece: _Piece, states: int) -> tuple[float, ...]:
    given: Sequence[float] = piece.numbers or ()
    total = sum(given)
    if len(given) != states or not all(value > 0 for value in given) or abs(total - 1.0) > 0.01:
        raise ConfigError(f"model {text}: +F{{}} takes {states} frequencies above 0 that sum to 1, not {piece.text}")
    return tuple(given) if total == 1.0 else tuple(value / total for value in given)


def _name(found: _Base, frequencies: object, alphabet: States) -> str:
    """Of a pair of names, the one for these frequencies; JC+FO is F81."""
    if alphabet.name != "dna":
        return found.name
    for code, (equal, unequal) in NUCLEOTIDE.items():
        if _canonical(code) == found.classes:
            return equal if frequencies == "equal" else unequal
    return found.name

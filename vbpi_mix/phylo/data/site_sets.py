"""What names sites in a NEXUS file: CHARSET, EXSET, EXCLUDE, and expressions such as `1-500\\3 502 codon2 510-.` or, of a set
with the word (VECTOR), a 0 or 1 for each site.

Commands are those of SETS, ASSUMPTIONS, PAUP and MrBayes blocks, and of the block that holds the matrix; TYPESET and all others
name no sites. TAXSETs are written alike, and `deleted_taxa` reads them by the same class. Sites are counted from 1 in files and
from 0 in arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.nexus_commands import Command, first_word, of_blocks
from vbpi_mix.phylo.trees.newick import unquote
from vbpi_mix.phylo.trees.nexus import whole_number

BLOCKS = ("sets", "assumptions", "mrbayes", "paup", "data", "characters")
# A number, a range with or without a step, a dot for the last site; or else a word.
_ITEM = re.compile(
    r"(?P<first>\d+|\.)(?:\s*-\s*(?P<last>\d+|\.))?(?:\s*[\\/]\s*(?P<step>\d+))?(?=[\s,]|$)"
    r"|(?P<word>'(?:[^']|'')*'|\"[^\"]*\"|[^\s,]+)"
)
_DEEPEST = 50
_LINKED = re.compile(r"^\s*\(([^)]*)\)")
_VECTOR = "(vector)"


class Words(NamedTuple):
    """What is numbered, one and many, and what a named set of it is called."""

    one: str
    many: str
    set: str


_SITES = Words("site", "sites", "charset")


class SiteSets:
    """The named sets of sites of a file, or of its taxa, each worked out when it is asked for.

    n_sites: of the alignment. known: sets from elsewhere, sites int64; a name that is a number is taken for the name. where:
    what errors begin with. words: of errors.
    """

    def __init__(
        self, n_sites: int, where: Path | str, known: Mapping[str, np.ndarray] | None = None, words: Words = _SITES
    ) -> None:
        self.n_sites = n_sites
        self.where = where
        self.words = words
        self._texts: dict[str, tuple[str, str]] = {}
        self._found: dict[str, np.ndarray] = {}
        self._shown_known = list(known or {})
        # Case counts only between names that differ by nothing else.
        self._known = {**{name.lower(): sites for name, sites in (known or {}).items()}, **(known or {})}

    def define(self, name: str, text: str) -> None:
        """A set, by the expression that says its sites; a later one of the name replaces it."""
        self._texts[name.lower()] = (name, text)
        self._found.clear()

    def names(self) -> list[str]:
        """Names of the sets defined, in order."""
        return [name for name, _ in self._texts.values()]

    def named(self, name: str) -> np.ndarray | None:
        """The sites of a named set, int64, sorted; None if there is no such set. Raises AlignmentError as `sites`."""
        return self._named(name, ())

    def defined(self, name: str) -> np.ndarray:
        """The sites of a set that was defined, int64, sorted. Raises AlignmentError as `sites`."""
        shown, text = self._texts[name.lower()]
        return self.sites(text, f"{self.words.set} {shown!r}", (name.lower(),))

    def sites(self, text: str, what: str, within: tuple[str, ...] = ()) -> np.ndarray:
        """The sites that an expression says, int64, each once, sorted.

        what: whose expression it is, for errors. Raises AlignmentError for a site beyond the alignment, an unknown name
        and a set that contains itself; for a vector that is not a 0 or 1 for each site.
        """
        if text.startswith(_VECTOR):
            return self._vector("".join(text.removeprefix(_VECTOR).split()), what)
        found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        for item in _ITEM.finditer(text):
            if item["word"] is None and item.group() not in self._known:
                found.append(self._range(item, what))
                continue
            word = unquote(item.group())
            if word.lower() in within:
                raise AlignmentError(f"{self.where}: {what}: the {self.words.set} {word!r} contains itself")
            sites = self._named(word, within)
            if sites is None and word.lower() in ("all", "*"):
                sites = np.arange(self.n_sites)
            if sites is None:
                raise AlignmentError(
                    f"{self.where}: {what}: {word!r} is neither a {self.words.one} nor a {self.words.set}{self._offered()}"
                )
            found.append(sites)
        return np.unique(np.concatenate(found))

    def _named(self, name: str, within: tuple[str, ...]) -> np.ndarray | None:
        key = name.lower()
        if key in self._texts:
            shown, text = self._texts[key]
            if len(within) > _DEEPEST:
                raise AlignmentError(f"{self.where}: {self.words.set} {shown!r} is within {_DEEPEST} others; spell it out")
            # A set may be named by many, so it is worked out once.
            if key not in self._found:
                self._found[key] = self.sites(text, f"{self.words.set} {shown!r}", (*within, key))
            return self._found[key]
        return self._known.get(name, self._known.get(key))

    def _range(self, item: re.Match[str], what: str) -> np.ndarray:
        first, last = (
            self.n_sites if word == "." else whole_number(word) for word in (item["first"], item["last"] or item["first"])
        )
        step = whole_number(item["step"] or "1")
        if item["step"] and not item["last"]:
            last = self.n_sites
        if not 1 <= first <= last or step < 1:
            raise AlignmentError(
                f"{self.where}: {what}: {item.group()!r} is no range of {self.words.many}; write 1-500 or 1-500\\3"
            )
        if last > self.n_sites:
            raise AlignmentError(
                f"{self.where}: {what}: {self.words.one} {last} is beyond the {self.n_sites} {self.words.many} of the alignment"
            )
        return np.arange(first - 1, last, step, dtype=np.int64)

    def _vector(self, digits: str, what: str) -> np.ndarray:
        if re.fullmatch("[01]*", digits) is None or len(digits) != self.n_sites:
            raise AlignmentError(
                f"{self.where}: {what}: a vector is a 0 or 1 for each of the {self.n_sites} {self.words.many}, and this is "
                f"{digits[:20]!r} of length {len(digits)}"
            )
        return np.flatnonzero([digit == "1" for digit in digits]).astype(np.int64)

    def _offered(self) -> str:
        names = [*self.names(), *self._shown_known]
        return f"; there are {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else ""


def define_charsets(sets: SiteSets, commands: Iterable[Command]) -> None:
    """Define the charsets of these commands."""
    for command in of_blocks(commands, *BLOCKS):
        if command.word == "charset":
            name, _, text = definition(command.body)
            sets.define(name, text)


def definition(body: str) -> tuple[str, bool, str]:
    """Name, whether a star marks it as the one in force, and what follows the equals sign of `* name (...) = ...`.

    Of what stands in parentheses, `(vector)` is left before it, since it says how to read it.
    """
    starred = body.lstrip().startswith("*")
    name, rest = first_word(body.lstrip().removeprefix("*"))
    if name.endswith("*") and len(name) > 1:
        name, starred = name[:-1], True
    if rest.lstrip().startswith("*"):
        starred, rest = True, rest.lstrip()[1:]
    form = _LINKED.match(rest)
    rest = rest[form.end() if form else 0 :].lstrip().removeprefix("=").strip()
    return name, starred, f"{_VECTOR} {rest}" if form and "vector" in form[1].lower().split() else rest


def excluded_sites(sets: SiteSets, commands: Iterable[Command]) -> np.ndarray:
    """The sites that EXSET * ..., EXCLUDE and ELIMINATE leave out and INCLUDE does not take in again, int64, sorted.

    An EXSET without its star is a set that is not in force. Raises AlignmentError as `SiteSets.sites`.
    """
    out = np.zeros(sets.n_sites, dtype=bool)
    for command in of_blocks(commands, *BLOCKS):
        if command.word in ("exclude", "eliminate"):
            out[sets.sites(command.body, command.word.upper())] = True
        elif command.word == "include":
            out[sets.sites(command.body, "INCLUDE")] = False
        elif command.word == "exset":
            name, starred, text = definition(command.body)
            if starred:
                out[sets.sites(text, f"exset {name!r}")] = True
    return np.flatnonzero(out).astype(np.int64)

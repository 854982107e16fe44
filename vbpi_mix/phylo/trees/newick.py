"""Newick text to topologies and back, with messages that say what is wrong with a tree.

`parse_newick` and `to_newick` are for single trees; files are read by `vbpi_mix.phylo.trees.files`, which
shares the tables of labels and the messages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.kernels import newick as kernels
from vbpi_mix.phylo.trees.kernels.newick_tokens import LabelTable, fill_table

_Word = TypeVar("_Word", str, bytes)
_NAMED_AT_MOST = 5
_TREES_AT_ONCE = 1_000
_QUOTED = r"'(?:[^']|'')*'|\"[^\"]*\""
# A quote opens a label where a label begins; a comment may hold others. One that is not closed takes the rest.
_COMMENT = re.compile(rf"((?<=[(,)\]\s])(?:{_QUOTED}))|\[(?:[^\[\]]|\[[^\]]*(?:\]|\Z))*(?:\]|\Z)")
_MESSAGES = {
    kernels.TRUNCATED: "the tree is cut short; no ';' ends it",
    kernels.UNBALANCED: "the parentheses are unbalanced",
    kernels.MULTIFURCATION: "a node has more than two children; only fully resolved trees can be used",
    kernels.SINGLE_CHILD: "a node has a single child; remove the node",
    kernels.REPEATED_TAXON: "taxon {taxon!r} is in the tree twice",
    kernels.BAD_LENGTH: "a branch length is not a finite number, at {here!r}",
    kernels.NEGATIVE_LENGTH: "a branch length is negative, at {here!r}",
    kernels.SOME_LENGTHS: "some branches have lengths and others have none; give all or none",
    kernels.SYNTAX: "this is not Newick, at {here!r}",
}


@dataclass(frozen=True)
class Allowed:
    """What else may be read than fully resolved trees on exactly the taxa; by default nothing.

    polytomies: random numbers that resolve them, each resolution with the same probability; None if there may be none.
    prune: whether taxa that the alignment lacks are left out; hint: what the message says to do about them.
    least_length: of a branch; one below 0 and not below this is 0, for where only topologies are used.
    """

    polytomies: np.random.Generator | None = None
    prune: bool = False
    hint: str = ""
    least_length: float = 0.0


@dataclass(frozen=True, eq=False)
class ParsedTrees:
    """N trees as read: children int32 [N, n-2, 2], canonical; lengths float64 [N, E], or None.

    changed: names of the alignment by the labels that stand for them with other punctuation. resolved, pruned, raised: bool [N],
    which trees had polytomies, taxa that were left out, or lengths below 0.
    """

    children: np.ndarray
    lengths: np.ndarray | None
    changed: dict[str, str]
    resolved: np.ndarray
    pruned: np.ndarray
    raised: np.ndarray


class LabelReader:
    """How labels of a file name the taxa of the alignment.

    taxa: names in the order of the alignment. tokens: further labels, from a NEXUS translate block or list of
    taxa, and the names they stand for; they take precedence over names. A label is tried as written, then
    without its quotes, then with underscores read as blanks; where that fits two taxa, it fits none. What then names no taxon
    is taken for the one taxon not in the tree that has the same letters and digits in the same places, if there is one:
    IQ-TREE writes `_` for most other characters.
    """

    def __init__(self, taxa: Sequence[str], tokens: Mapping[str, str] | None = None) -> None:
        self.taxa = tuple(taxa)
        self.tokens = dict(tokens or {})
        named = {name: number for number, name in enumerate(self.taxa)}
        # Files are read with letters composed, which names in memory need not be.
        named = {composed(name): number for name, number in named.items()} | named
        spaced = _without_clashes((name.replace("_", " "), number) for name, number in named.items())
        self._exact = dict(named)
        self._spaced = spaced
        self._plain = _without_clashes((_plain(name), number) for name, number in named.items())
        loose = dict(spaced)
        for token, name in self.tokens.items():
            number = named.get(name, spaced.get(name.replace("_", " "), -1))
            self._exact[token] = number
            loose[token.replace("_", " ")] = number
        self.exact = _table(self._exact)
        self.loose = _table(loose)

    def parse(
        self, text: np.ndarray, starts: np.ndarray, stops: np.ndarray, where: str, allowed: Allowed | None = None
    ) -> ParsedTrees:
        """Trees at starts[i]:stops[i] (int64 [N]) of text (uint8).

        Raises TreeError at the first tree that is not what may be read; it names `where`, the line and the fault.
        """
        allowed = allowed or Allowed()
        n_taxa, n_trees = len(self.taxa), starts.size
        children = np.empty((n_trees, n_taxa - 2, 2), dtype=np.int32)
        lengths = np.empty((n_trees, 2 * n_taxa - 3))
        counts = np.zeros((n_trees, 4), dtype=np.int32)
        fault = np.zeros(2, dtype=np.int64)
        changed: dict[str, str] = {}
        done, at_once, resolving = 0, n_trees, False
        while done < n_trees:
            some = slice(done, done + at_once)
            choices = np.empty((0, n_taxa))
            if resolving and allowed.polytomies is not None:
                choices = allowed.polytomies.random((starts[some].size, n_taxa))
            rules = kernels.Rules(choices, allowed.prune, allowed.least_length)
            code, bad = kernels.parse_trees(
                text, starts[some], stops[some], self.exact, self.loose, rules, children[some], lengths[some], counts[some], fault
            )
            done += bad
            if code == kernels.PARSED:
                continue
            if code == kernels.MULTIFURCATION and allowed.polytomies is not None:
                # Random numbers are drawn for what needs them, not for a sample of a million resolved trees.
                at_once, resolving = _TREES_AT_ONCE, True
                continue
            tree = text[starts[done] : stops[done]].tobytes().decode("utf-8", "replace")
            if code in (kernels.UNKNOWN_TAXON, kernels.MISSING_TAXON) and (found := self._match_changed(tree)):
                changed |= found
                continue
            line = 1 + int(np.count_nonzero(text[: fault[0]] == ord("\n")))
            raise TreeError(f"{where}, line {line}, tree {done + 1}: {self._describe(code, text, tree, fault, allowed.hint)}")
        absent, *others = counts.T
        return ParsedTrees(children, None if absent.any() else lengths, changed, *(each > 0 for each in others))

    def absent(self, tree: str) -> list[str]:
        """The names in a tree that the alignment lacks."""
        return [name for name in self._names(tree).values() if name not in self.taxa]

    def _describe(self, code: int, text: np.ndarray, tree: str, fault: np.ndarray, hint: str) -> str:
        if code in (kernels.UNKNOWN_TAXON, kernels.MISSING_TAXON):
            return self._describe_taxa(tree, hint)
        here = text[fault[0] : fault[0] + 20].tobytes().decode("utf-8", "replace").split("\n")[0]
        return _MESSAGES[code].format(taxon=self.taxa[max(int(fault[1]), 0)], here=here)

    def _describe_taxa(self, tree: str, hint: str) -> str:
        """Which taxa of the alignment the tree lacks, and which it has that the alignment lacks."""
        extra = self.absent(tree)
        found = set(self._names(tree).values())
        missing = [name for name in self.taxa if name not in found]
        parts = []
        if extra:
            parts.append(f"not in the alignment: {some_names(extra)}")
        if missing:
            parts.append(f"not in the tree: {some_names(missing)}")
        if extra and hint and not missing:
            parts.append(hint)
        return "its taxa are not those of the alignment; " + "; ".join(parts)

    def _names(self, tree: str) -> dict[str, str]:
        """The labels of a tree, without quotes, and what they stand for: a taxon of the alignment, or else a name."""
        names = {}
        for label in leaf_labels(tree):
            bare = unquote(label)
            token = label if label in self._exact else bare
            name = self.tokens.get(token, token)
            number = self._exact.get(token, -1)
            if number < 0:
                number = self._spaced.get(name.replace("_", " "), -1)
            names[token] = name if number < 0 else self.taxa[number]
        return names

    def _match_changed(self, tree: str) -> dict[str, str]:
        """Taxa by the labels of a tree that are their names but for punctuation, which from now on stand for them."""
        names = self._names(tree)
        present = set(names.values())
        found = {}
        for label, name in names.items():
            number = self._plain.get(_plain(name), -1)
            if name not in self.taxa and number >= 0 and self.taxa[number] not in present:
                found[label] = self.taxa[number]
                self._exact[label] = number
                present.add(self.taxa[number])
        if found:
            self.exact = _table(self._exact)
        return found


def parse_newick(text: str, taxa: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """One tree: children int32 [n-2, 2], canonical, and lengths float64 [E].

    Lengths are in expected substitutions per site, None if the tree has none. The root, if it is bifurcating,
    is forgotten, and its two branches become one. Raises TreeError if this is not one fully resolved tree on
    exactly the n >= 3 taxa.
    """
    if len(taxa) < 3:
        raise TreeError(f"Newick text: {len(taxa)} taxa given; an unrooted topology needs at least 3")
    data = byte_array(text.encode())
    ends = np.array([data.size + (not text.rstrip().endswith(";"))])
    parsed = LabelReader(taxa).parse(data, np.zeros(1, dtype=np.int64), ends, "Newick text")
    lengths = None if parsed.lengths is None else parsed.lengths[0]
    return parsed.children[0], lengths


def to_newick(
    children: np.ndarray,
    taxa: Sequence[str],
    lengths: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
) -> str:
    """One topology as `(taxon0,left,right);`, unrooted, the children of the top beside taxon 0.

    children: int [n-2, 2]; lengths: float [E], by the edge above each node, written in full precision;
    labels: n-2 strings, by internal node, of which empty ones are left out. Names are quoted where they must
    be.
    """
    n_taxa = len(taxa)
    marks = [""] * (2 * n_taxa - 2)
    if lengths is not None:
        marks[1:] = [f":{float(length)!r}" for length in lengths]
    names = [newick_word(label) if label else "" for label in labels or [""] * (n_taxa - 2)]
    words = newick_words(taxa)
    parts = [words[name] + mark for name, mark in zip(taxa, marks, strict=False)]
    for k in range(n_taxa - 3):
        left, right = children[k]
        parts.append(f"({parts[left]},{parts[right]}){names[k]}{marks[n_taxa + k]}")
        # A long caterpillar would otherwise keep a copy of every clade's text.
        parts[left] = parts[right] = ""
    left, right = children[n_taxa - 3]
    # The edge above the top is the pendant edge of taxon 0.
    return f"({parts[0]}{marks[2 * n_taxa - 3]},{parts[left]},{parts[right]}){names[n_taxa - 3]};"


def newick_word(name: str) -> str:
    """The name as a Newick label: quoted if it holds blanks, quotes or punctuation of the format."""
    if name and not re.search(r"[\s()\[\]{}:;,='\"]", name):
        return name
    return quoted(name)


def newick_words(taxa: Sequence[str]) -> dict[str, str]:
    """Of all names of a file, by name, the Newick labels.

    Programs read a blank for a `_` outside quotes. So `a_b` is quoted where another taxon is `a b`; elsewhere it is not, since
    some programs know no quotes.
    """
    return words_apart(taxa, newick_word)


def words_apart(taxa: Sequence[str], word: Callable[[str], str]) -> dict[str, str]:
    """The words of names, quoted where another name would be read alike; capitals do not tell names apart in NEXUS."""
    spaced = {name.lower() for name in taxa if " " in name}
    clashes = {name for name in taxa if "_" in name and name.replace("_", " ").lower() in spaced} if spaced else set()
    return {name: quoted(name) if name in clashes else word(name) for name in taxa}


def quoted(name: str) -> str:
    """The name in single quotes, those within it doubled; `unquote` gives it again. NEXUS quotes alike."""
    return "'" + name.replace("'", "''") + "'"


def byte_array(data: bytes) -> np.ndarray:
    """The bytes as uint8 [at least 1], writable, since kernels compile anew for arrays that are not."""
    return np.frombuffer(bytearray(data or b" "), dtype=np.uint8)


def unquote(label: str) -> str:
    """The label without the quotes around it; a doubled quote in it is one."""
    if len(label) > 1 and label[0] in "'\"" and label[-1] == label[0]:
        return label[1:-1].replace(label[0] * 2, label[0])
    return label


def composed(name: str) -> str:
    """The name with its letters and their accents composed (NFC), as `vbpi_mix.files.read_text` gives them."""
    return unicodedata.normalize("NFC", name)


def without_comments(tree: str) -> str:
    """The text without what stands in brackets; in quotes, brackets are a name's own."""
    return _COMMENT.sub(lambda found: found[1] or "", tree)


def leaf_labels(tree: str) -> list[str]:
    """Labels that follow a parenthesis or comma, as written. Slow; for single trees and messages."""
    # A quoted label is taken whole, with its brackets and commas.
    found = re.findall(rf"([(,]\s*)?({_QUOTED}|[^\s()\[\],:;'\"][^\s()\[\],:;]*)", without_comments(tree))
    return [label for before, label in found if before]


def some_names(names: Sequence[str]) -> str:
    """The first few of the names, for messages."""
    shown = ", ".join(repr(name) for name in names[:_NAMED_AT_MOST])
    return shown if len(names) <= _NAMED_AT_MOST else f"{shown} and {len(names) - _NAMED_AT_MOST} more"


def _plain(name: str) -> bytes:
    """The name with `_` for every byte that is no letter or digit of ASCII."""
    return re.sub(rb"[^A-Za-z0-9]", b"_", name.encode("utf-8", "replace"))


def _without_clashes(pairs: Iterable[tuple[_Word, int]]) -> dict[_Word, int]:
    merged: dict[_Word, int] = {}
    clashes = set()
    for name, number in pairs:
        if merged.setdefault(name, number) != number:
            clashes.add(name)
    return {name: number for name, number in merged.items() if name not in clashes}


def _table(numbers: Mapping[str, int]) -> LabelTable:
    words = [word.encode() for word in numbers]
    ends = np.cumsum([0] + [len(word) for word in words], dtype=np.int64)
    slots = np.full(1 << (2 * len(words) + 2).bit_length(), -1, dtype=np.int32)
    letters = byte_array(b"".join(words))
    table = LabelTable(slots, ends, letters, np.array(list(numbers.values()), dtype=np.int32))
    fill_table(table)
    return table

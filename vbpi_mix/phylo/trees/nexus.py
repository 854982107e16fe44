"""The NEXUS format around trees: labels that stand for names, words and their quotes, and the .trprobs file.

Reading: `read_labels` takes the TRANSLATE and TAXLABELS commands of a file. Writing: `nexus_word` for a name,
`nexus_words` for those of all taxa, `trprobs` for topologies with their weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.phylo.trees.newick import quoted, to_newick, unquote, words_apart

# What stands before the first word of a file: nothing, or comments.
NEXUS_HEAD = re.compile(rb"\s*(?:\[[^\]]*\]\s*)*(?=#NEXUS)", re.IGNORECASE)
_TOKEN = re.compile(r"\[[^\]]*(?:\]|$)|'(?:[^']|'')*'|\"[^\"]*\"|,|[^\s,\[]+")


@dataclass(frozen=True)
class NexusLabels:
    """What a NEXUS file says of its taxa: the names of TAXLABELS, and label to name of TRANSLATE; in file order."""

    taxlabels: tuple[str, ...]
    translate: dict[str, str]

    @property
    def tokens(self) -> dict[str, str]:
        """Labels in trees that stand for names: those of TRANSLATE, or else the numbers of the TAXLABELS."""
        numbered = {str(k): name for k, name in enumerate(self.taxlabels, start=1) if str(k) not in self.taxlabels}
        return self.translate or numbered

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the taxa, of TRANSLATE or else of TAXLABELS; empty if the file has neither."""
        return tuple(self.translate.values()) or self.taxlabels


def read_labels(commands: Iterable[bytes], path: Path) -> NexusLabels:
    """The labels of a file whose commands are given, from the first word of each to its `;`.

    Of several TAXLABELS the last counts. Raises TreeError, naming `path`, if TRANSLATE is malformed or comes
    twice and differs.
    """
    translate: dict[str, str] = {}
    taxlabels: tuple[str, ...] = ()
    for command in commands:
        word = command[:9].lower()
        if word not in (b"translate", b"taxlabels"):
            continue
        body = command[9:].decode("utf-8", "replace").removesuffix(";")
        tokens = [token for token in _TOKEN.findall(body) if not token.startswith("[")]
        if word == b"taxlabels":
            taxlabels = tuple(unquote(token) for token in tokens)
            continue
        table = _translation(tokens, path)
        if translate not in ({}, table):
            raise TreeError(f"{path}: two TRANSLATE commands that differ; split the file into one for each")
        translate = table
    return NexusLabels(taxlabels, translate)


def _translation(tokens: Sequence[str], path: Path) -> dict[str, str]:
    table: dict[str, str] = {}
    entry: list[str] = []
    for token in [*tokens, ","]:
        if token != ",":
            entry.append(token)
            continue
        if entry and (len(entry) != 2 or unquote(entry[0]) in table):
            raise TreeError(f"{path}: TRANSLATE is malformed at {' '.join(entry)!r}; write 'number name,'")
        if entry:
            table[unquote(entry[0])] = unquote(entry[1])
        entry = []
    return table


def nexus_word(name: str) -> str:
    """The name as a NEXUS token: quoted unless it is letters, digits, underscores and dots alone."""
    return name if re.fullmatch(r"[\w.]+", name) else quoted(name)


def nexus_words(taxa: Sequence[str]) -> dict[str, str]:
    """Of all names of a file, by name, the NEXUS tokens; as `newick_words` quotes `a_b` where another taxon is `a b`."""
    return words_apart(taxa, nexus_word)


def whole_number(text: str) -> int:
    """The number that decimal digits say; one of more than 18 digits, which is beyond every range here, as 10**18."""
    return int(text) if len(text) <= 18 else 10**18


def trprobs(children: np.ndarray, weights: np.ndarray, taxa: tuple[str, ...], comment: str) -> str:
    """Topologies and their weights like MrBayes's sumt (.trprobs): the file's text.

    children: int32 [U, n-2, 2]; weights: float64 [U], in the order they are given. Weights [&W] are written in
    full, so that reading the file gives them again; p and P, the weight and the sum so far, are for people.
    """
    numbers = tuple(str(k + 1) for k in range(len(taxa)))
    words = nexus_words(taxa)
    names = ",\n".join(f"      {number} {words[name]}" for number, name in zip(numbers, taxa, strict=True))
    lines = ["#NEXUS", f"[{comment.translate({91: '(', 93: ')'})}]", "begin trees;", "   translate", f"{names};"]
    total = 0.0
    for k, (tree, weight) in enumerate(zip(children, weights.tolist(), strict=True), start=1):
        total += weight
        newick = to_newick(tree, numbers)
        lines.append(f"   tree tree_{k} [p = {weight:.6f}, P = {total:.6f}] = [&U] [&W {weight!r}] {newick}")
    return "\n".join([*lines, "end;", ""])

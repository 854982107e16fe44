"""Parts of an alignment: which sites have a model of their own, and what the file that says so calls that model.

Three kinds of files are read. NEXUS with charsets and a charpartition (`GTR+G:part1, HKY:part2`), which is also what IQ-TREE
writes as .best_scheme.nex and .best_model.nex; an alignment with such blocks, or with MrBayes's `partition`, is one. And
lines as RAxML and RAxML-NG have them, `DNA, gene1 = 1-500\\3`. Models are kept as they are written, for others to read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import Alignment, read_text
from vbpi_mix.phylo.data.alphabets import Alphabet
from vbpi_mix.phylo.data.nexus_commands import Command, is_nexus, of_blocks, read_commands
from vbpi_mix.phylo.data.site_sets import BLOCKS, SiteSets, definition
from vbpi_mix.phylo.trees.newick import unquote

# Words for a kind of data, where others name a model.
_KIND_OF_WORD = {
    "DNA": "dna", "DNAF": "dna", "DNAX": "dna", "NUCLEOTIDE": "dna", "AA": "protein", "PROT": "protein",
    "PROTEIN": "protein", "BIN": "standard", "BINARY": "standard", "MULTI": "standard", "MORPH": "standard",
    "STANDARD": "standard",
}  # fmt: skip
# RAxML's names of protein models end in F for empirical frequencies and in X for learned ones.
_RAXML_PROTEIN = re.compile(
    r"(DAYHOFF|DCMUT|JTT|MTREV|WAG|RTREV|CPREV|VT|BLOSUM62|MTMAM|LG|MTART|HIVB|HIVW|FLU)([FX])", re.IGNORECASE
)
# What only a model is written with.
_MODEL = re.compile(r"[+{]|^\d{6}$")
_OUTSIDE_BRACES = r"(?![^{(]*[})])"


@dataclass(frozen=True, eq=False)
class Part:
    """Sites that share a model.

    sites: int64, counted from 0, sorted, none of them excluded. alphabet: of all of them. model: as the file writes it, None
    if it does not say.
    """

    name: str
    sites: np.ndarray
    alphabet: Alphabet
    model: str | None = None


@dataclass(frozen=True, eq=False)
class _Draft:
    """A part as a file has it, its sites not checked yet; kind: of data, if the file says it."""

    name: str
    sites: np.ndarray
    model: str | None
    kind: str | None = None


def default_parts(alignment: Alignment) -> tuple[Part, ...]:
    """One part of all sites that are not excluded, or one for each alphabet if there are several."""
    sites = alignment.included
    parts: list[Part] = []
    for number, alphabet in enumerate(alignment.alphabets):
        own = sites[alignment.alphabet_of[sites] == number]
        # Discrete characters may come with two alphabets, one of them of restriction sites.
        taken = {part.name for part in parts}
        name = alphabet.name if alphabet.name not in taken else f"{alphabet.name} {alphabet.symbols}"
        parts += [Part(name, own, alphabet)] if own.size else []
    return (Part("all", sites, parts[0].alphabet),) if len(parts) == 1 else tuple(parts)


def read_partitions(
    path: str | os.PathLike[str], alignment: Alignment, partial: bool = False, models: Container[str] = ()
) -> tuple[Part, ...]:
    """The parts that a file divides an alignment into, in the order of the file.

    partial: whether sites may be left out. models: names, in capitals, that are those of models where a part's own name could
    stand, too; what has a +, braces or six digits is a model without being named. Charsets of the alignment may be named.
    Without a charpartition every charset of the file is a part. Raises AlignmentError, in one line, if the file cannot be read,
    names sites or charsets that are not there, or another file; if two parts share a site, sites are left out, or a part has
    sites of several alphabets or none.
    """
    path = Path(path)
    text = read_text(path, "partition file", "give NEXUS charsets, or lines such as 'DNA, gene1 = 1-500'")
    n_sites = alignment.states.shape[1]
    sets = SiteSets(n_sites, path, alignment.charsets)
    drafts = _of_nexus(text, sets, path, models) if is_nexus(text) else _of_lines(text, sets, path)
    owner = np.full(n_sites, -1, dtype=np.int64)
    parts: list[Part] = []
    for draft in drafts:
        if draft.name in {part.name for part in parts}:
            raise AlignmentError(f"{path}: two parts are called {draft.name!r}; rename one")
        sites = np.setdiff1d(draft.sites, alignment.excluded)
        if (shared := sites[owner[sites] >= 0]).size:
            other = parts[owner[shared[0]]].name
            raise AlignmentError(
                f"{path}: site {shared[0] + 1} is in two parts, {other!r} and {draft.name!r}; leave it in one"
            )
        owner[sites] = len(parts)
        parts.append(Part(draft.name, sites, _alphabet(draft, sites, alignment, path), draft.model))
    if not partial and (left := np.setdiff1d(np.flatnonzero(owner < 0), alignment.excluded)).size:
        more = f" and {left.size - 1} more are" if left.size > 1 else " is"
        raise AlignmentError(f"{path}: site {left[0] + 1}{more} in no part; add a part for what is left, or exclude it")
    return tuple(parts)


def _alphabet(draft: _Draft, sites: np.ndarray, alignment: Alignment, path: Path) -> Alphabet:
    if not sites.size:
        raise AlignmentError(f"{path}: part {draft.name!r} has no site that is not excluded; leave it out")
    which, first = np.unique(alignment.alphabet_of[sites], return_index=True)
    if which.size > 1:
        shown = " and ".join(
            f"{alignment.alphabets[k].name} (site {sites[at] + 1})" for k, at in zip(which, first, strict=True)
        )
        raise AlignmentError(f"{path}: part {draft.name!r} mixes {shown}; a part has one kind of data")
    alphabet = alignment.alphabets[which[0]]
    if draft.kind not in (None, alphabet.name):
        raise AlignmentError(f"{path}: part {draft.name!r} says {draft.kind}, and its sites are {alphabet.name}")
    return alphabet


def _of_lines(text: str, sets: SiteSets, path: Path) -> list[_Draft]:
    """Parts of lines `MODEL, name = sites`, as RAxML has them."""
    drafts = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.partition("#")[0].strip().rstrip(";")
        if not line:
            continue
        left, equals, right = line.partition("=")
        words = [word.strip() for word in re.split(f",{_OUTSIDE_BRACES}", left, maxsplit=1)]
        if not equals or not right.strip() or not words[-1] or re.match(r"(?i)charset\b|begin\b", line):
            raise AlignmentError(
                f"{path}, line {number}: {line[:60]!r} is no part; write 'DNA, gene1 = 1-500' (NEXUS begins with #NEXUS)"
            )
        name = words[-1]
        model, kind = _model(words[0], f"{path}, line {number}") if len(words) == 2 else (None, None)
        drafts.append(_Draft(name, sets.sites(right, f"part {name!r}"), model, kind))
    return drafts


def _model(word: str, where: str) -> tuple[str | None, str | None]:
    """Model and kind of data, of what one word says."""
    if word.upper().startswith("ASC_"):
        raise AlignmentError(
            f"{where}: {word!r} is RAxML's word for variable characters alone; write a model with +ASC"
        )
    if word.upper() in _KIND_OF_WORD:
        return None, _KIND_OF_WORD[word.upper()]
    if word.upper().startswith("CODON"):
        raise AlignmentError(
            f"{where}: codon models are not here; give the three positions as parts, 1-.\\3 2-.\\3 3-.\\3"
        )
    if found := _RAXML_PROTEIN.fullmatch(word):
        return f"{found[1]}+{'F' if found[2].upper() == 'F' else 'FO'}", None
    return word, None


def _of_nexus(text: str, sets: SiteSets, path: Path, models: Container[str]) -> list[_Draft]:
    """Parts of a charpartition or of MrBayes's partition, or else every charset of the file."""
    commands = of_blocks(read_commands(text, path), *BLOCKS)
    kinds = _define(sets, commands, path)
    scheme = _scheme(commands, path)
    if scheme is None:
        if not sets.names():
            raise AlignmentError(
                f"{path}: the NEXUS file has no charset and no charpartition; say which sites are a part"
            )
        return [_Draft(name, sets.defined(name), None, kinds.get(name.lower())) for name in sets.names()]
    pairs = _entries(definition(scheme.body)[2], scheme.word == "partition", path)
    return [_entry(pair, sets, kinds, models, path) for pair in pairs]


def _define(sets: SiteSets, commands: Iterable[Command], path: Path) -> dict[str, str | None]:
    """Define the charsets, and give the kinds of data that some say, by name in lower case."""
    kinds: dict[str, str | None] = {}
    for command in commands:
        if command.word != "charset":
            continue
        name, _, text = definition(command.body)
        if ":" in text:
            file = text.partition(":")[0].strip()
            raise AlignmentError(
                f"{path}: charset {name!r} names the file {file!r}; put the genes into one alignment, and give sites alone"
            )
        word, comma, rest = text.partition(",")
        if comma and re.fullmatch(r"[A-Za-z]\w*", word.strip()):
            model, kinds[name.lower()] = _model(word.strip(), f"{path}, charset {name!r}")
            if model is not None:
                raise AlignmentError(f"{path}: charset {name!r} begins with {word.strip()!r}, which is no kind of data")
            text = rest
        sets.define(name, text)
    return kinds


def _scheme(commands: list[Command], path: Path) -> Command | None:
    """The partition in force: the one that SET PARTITION names, the one with a star, or the only one; None without any."""
    schemes: dict[str, tuple[bool, Command]] = {}
    chosen = None
    for command in commands:
        if command.word in ("charpartition", "partition"):
            name, starred, _ = definition(command.body)
            schemes[name.lower()] = (starred, command)
        elif command.word == "set" and (
            found := re.search(r"\b(pa[a-z]*)\s*=\s*([^\s;]+)", command.body, re.IGNORECASE)
        ):
            # MrBayes takes abbreviations here, too.
            chosen = unquote(found[2]) if "partition".startswith(found[1].lower()) else chosen
    if chosen is not None and chosen.lower() in schemes:
        return schemes[chosen.lower()][1]
    starred_ones = [command for starred, command in schemes.values() if starred]
    candidates = starred_ones or [command for _, command in schemes.values()]
    if chosen is not None and chosen.lower() != "default" and schemes:
        raise AlignmentError(f"{path}: SET PARTITION names {chosen!r}; there are {', '.join(schemes)}")
    if len(candidates) > 1:
        raise AlignmentError(
            f"{path}: there are several partitions, {', '.join(schemes)}; mark one with *, or leave one"
        )
    return candidates[0] if candidates else None


def _entries(body: str, of_mrbayes: bool, path: Path) -> list[tuple[str, str]]:
    """What stands before and after the colon of each part; nothing before it in MrBayes's `3: a, b, c`."""
    if of_mrbayes:
        count, _, body = body.partition(":")
    listed = [entry.strip() for entry in re.split(f",{_OUTSIDE_BRACES}", body) if entry.strip()]
    if of_mrbayes:
        if count.strip() != str(len(listed)):
            raise AlignmentError(
                f"{path}: a partition says {count.strip()!r} parts and lists {len(listed)}; write '2: first, second'"
            )
        return [("", entry) for entry in listed]
    pairs = []
    for entry in listed:
        left, colon, right = _at_colon(entry)
        if not colon or not left or not right:
            raise AlignmentError(
                f"{path}: the charpartition is malformed at {entry[:60]!r}; write 'GTR+G:part1' or 'name:1-500'"
            )
        pairs.append((left, right))
    return pairs


def _at_colon(entry: str) -> tuple[str, str, str]:
    found = re.search(f":{_OUTSIDE_BRACES}", entry)
    return (entry[: found.start()].strip(), ":", entry[found.end() :].strip()) if found else (entry, "", "")


def _entry(
    pair: tuple[str, str], sets: SiteSets, kinds: dict[str, str | None], models: Container[str], path: Path
) -> _Draft:
    """One part of a partition. Before the name of one charset stands a model; before an expression, the part's own name or,
    where it can be read as that, a model.
    """
    left, written = unquote(pair[0]), pair[1]
    right = re.sub(r"\{[^}]*\}", "", written).strip()
    # A number after the charset is what IQ-TREE estimated, and so are those of its model.
    model = re.sub(r"\{[^}]*\}", "", left) if right != written else left
    sites = sets.named(unquote(right))
    if sites is None:
        shown = f"{left}:{right}" if left else right
        sites, listed = sets.sites(right, f"part {shown!r}"), re.sub(r"[\s,]+", "+", right)
        if _MODEL.search(left) or left.upper() in models:
            return _Draft(listed, sites, *_model(model, f"{path}, part {shown!r}"))
        return _Draft(left or listed, sites, None)
    name, kind = unquote(right), kinds.get(unquote(right).lower())
    if left.lower() in ("", right.lower()) or (left.isdigit() and len(left) < 6):
        return _Draft(name, sites, None, kind)
    return _Draft(name, sites, *((model, kind) if kind else _model(model, f"{path}, part {name!r}")))

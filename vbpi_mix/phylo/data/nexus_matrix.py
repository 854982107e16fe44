"""The data of a NEXUS file: FORMAT, and the MATRIX of its DATA or CHARACTERS block, sequential or interleaved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alphabets import STANDARD_SYMBOLS, Alphabet
from vbpi_mix.phylo.data.nexus_commands import Command, of_blocks
from vbpi_mix.phylo.data.sequences import Records, alphabet_of
from vbpi_mix.phylo.data.site_sets import SiteSets
from vbpi_mix.phylo.trees.newick import unquote
from vbpi_mix.phylo.trees.nexus import whole_number

_KIND_OF_DATATYPE = {
    "dna": "dna", "rna": "dna", "nucleotide": "dna", "protein": "protein", "standard": "standard", "binary": "binary",
    "restriction": "binary",
}  # fmt: skip
_OPTION = re.compile(r"""(\w+)(?:\s*=\s*("[^"]*"|'[^']*'|\w+\s*\([^)]*\)|[^\s\w"']|\S+))?""")
_NAME = re.compile(r"'(?:[^'\n]|'')*'|\"[^\"\n]*\"|\S+")
# Forms of a matrix that are not read; each changes what a row means.
_NOT_READ = ("transpose", "nolabels", "tokens")


@dataclass
class Format:
    """What FORMAT says. datatype: in lower case, None if it does not say; parts: of `mixed`, kind and sites as written."""

    datatype: str | None = None
    parts: list[tuple[str, str]] = field(default_factory=list)
    gap: str = "-"
    missing: str = "?"
    match: str | None = None
    interleave: bool = False
    respect_case: bool = False
    symbols: str | None = None
    equate: dict[str, str] = field(default_factory=dict)


@dataclass
class Matrix:
    """Rows of a NEXUS matrix and the alphabet of each site: alphabets, and of_site uint8 [sites], which each site has."""

    records: Records
    alphabets: tuple[Alphabet, ...]
    of_site: np.ndarray


def read_matrix(commands: list[Command], kind: str | None, path: Path) -> Matrix:
    """The matrix, in characters of the kind given, else of the kind that the file says, else of the kind that is met.

    Raises AlignmentError if there is no matrix or more than one, if its form or kind of data is not read, or if a row or
    the number of rows is not what DIMENSIONS says.
    """
    data = of_blocks(commands, "data", "characters")
    matrices = [command for command in data if command.word == "matrix"]
    if len(matrices) != 1:
        blocks = ", ".join(dict.fromkeys(command.block.upper() for command in commands)) or "none"
        found = f"no DATA or CHARACTERS block with a MATRIX; its blocks are: {blocks}"
        if matrices:
            where = " and ".join(str(each.line) for each in matrices[:5])
            found = f"{len(matrices)} matrices, on lines {where}; leave one, or write one of DATATYPE=MIXED"
        raise AlignmentError(f"{path}: the NEXUS file has {found}")
    n_sites = _dimension(data, "nchar")
    if n_sites is None:
        raise AlignmentError(f"{path}: the NEXUS file has no DIMENSIONS with NCHAR; say how many sites there are")
    n_taxa = _dimension(data, "ntax") or _dimension(of_blocks(commands, "taxa"), "ntax")
    form = _read_format([command.body for command in data if command.word == "format"], path)
    _check_kind(form, kind, path)
    lines = [line for line in matrices[0].body.split("\n") if line.strip()]
    place = _Place(path, matrices[0])
    if not lines:
        raise place.error("the matrix has no rows; write each taxon as a name and its row")
    records = (_interleaved if form.interleave else _sequential)(lines, n_taxa, n_sites, place)
    _plain(records, form)
    alphabets, of_site = _alphabets(records, form, kind, n_sites, path)
    return Matrix(records, alphabets, of_site)


def _dimension(commands: Iterable[Command], word: str) -> int | None:
    for command in commands:
        if command.word == "dimensions" and (found := re.search(rf"\b{word}\s*=\s*(\d+)", command.body, re.IGNORECASE)):
            return whole_number(found[1])
    return None


def _read_format(bodies: list[str], path: Path) -> Format:
    form = Format()
    equate = ""
    for found in _OPTION.finditer(" ".join(bodies)):
        word = found[1].lower()
        value = (found[2] or "").strip("\"'")
        on = value.lower() not in ("no", "false")
        if word == "datatype":
            form.datatype, _, inside = value.lower().partition("(")
            form.datatype = form.datatype.strip()
            form.parts = re.findall(r"(\w+)\s*:\s*([^:]+?)\s*(?=,\s*[a-z]+\s*:|$)", inside.rstrip(")"))
        elif word in ("gap", "missing", "matchchar") and value:
            setattr(form, {"matchchar": "match"}.get(word, word), value[:1])
        elif word == "interleave":
            form.interleave = on
        elif word == "respectcase":
            form.respect_case = True
        elif word == "symbols":
            form.symbols = value
        elif word == "equate":
            equate = value
        elif (word in _NOT_READ and on) or (word == "labels" and value.lower() in ("right", "no")):
            raise AlignmentError(
                f"{path}: FORMAT says {found.group().upper()}, which is not read; write each taxon as a name and its row"
            )
    if form.symbols is not None:
        form.symbols = _symbols(form.symbols if form.respect_case else form.symbols.upper())
    for letter, meaning in re.findall(r"(\S)\s*=\s*(\([^)]*\)|\{[^}]*\}|\S)", equate):
        for one in {letter} if form.respect_case else {letter.lower(), letter.upper()}:
            form.equate[one] = re.sub(r"[(){}\s,]", "", meaning)
    return form


def _symbols(text: str) -> str:
    """The symbols of `0 1 2`, `012` or `0~2`, in order."""
    text = re.sub(r"[\s,]", "", text)
    for found in re.findall(r"\w~\w", text):
        first, last = (STANDARD_SYMBOLS.find(letter.upper()) for letter in (found[0], found[2]))
        text = text.replace(found, STANDARD_SYMBOLS[first : last + 1])
    return "".join(dict.fromkeys(text))


def _check_kind(form: Format, kind: str | None, path: Path) -> None:
    said = (form.datatype or "").upper()
    if (form.datatype == "mixed") != (kind == "mixed") and (kind == "mixed" or (kind and form.datatype == "mixed")):
        raise AlignmentError(
            f"{path}: its DATATYPE is {said or 'not said'}, and {kind} was asked for; DATATYPE=MIXED says which sites are what"
        )
    kinds = [kind for kind, _ in form.parts] if form.datatype == "mixed" else [form.datatype or "dna"]
    for one in kinds:
        if one not in _KIND_OF_DATATYPE:
            raise AlignmentError(
                f"{path}: DATATYPE={one.upper()} is not read; DNA, RNA, protein, standard, restriction and mixed are"
            )
    if form.datatype == "mixed" and not form.parts:
        raise AlignmentError(
            f"{path}: DATATYPE=MIXED does not say which sites are what; write mixed(standard:1-10,dna:11-90)"
        )


def _row(line: str) -> tuple[str, str]:
    """The name at the head of a line, and the rest."""
    found = _NAME.match(line.lstrip())
    assert found is not None  # the line is not blank
    return unquote(found.group()), line.lstrip()[found.end() :]


@dataclass(frozen=True)
class _Place:
    """Where a matrix stands, for messages."""

    path: Path
    matrix: Command

    def error(self, problem: str, name: str = "") -> AlignmentError:
        """What is wrong with the row of a taxon, or with the matrix."""
        return AlignmentError(f"{self.path}, line {self.matrix.line_of(name)}: {problem}")


def _sequential(lines: list[str], n_taxa: int | None, n_sites: int, place: _Place) -> Records:
    records = Records()
    pieces: list[list[str]] = []
    filled = n_sites
    for line in lines:
        sequence = line
        if filled == n_sites:
            name, sequence = _row(line)
            records.names.append(name)
            pieces.append([])
            filled = 0
        pieces[-1].append(records.characters(sequence))
        filled += len(pieces[-1][-1])
        if filled > n_sites:
            break
    records.rows = ["".join(each) for each in pieces]
    if any(len(row) != n_sites for row in records.rows) or (n_taxa or len(records.names)) != len(records.names):
        problem, name = _fault(lines, records, n_taxa, n_sites)
        raise place.error(problem, name)
    return records


def _fault(lines: list[str], records: Records, n_taxa: int | None, n_sites: int) -> tuple[str, str]:
    """What is wrong with a sequential matrix, and with which taxon: by its lines if each is one, else by where reading ended."""
    rows = [_row(line) for line in lines]
    lengths = [len(records.characters(sequence)) for _, sequence in rows]
    if len(rows) == n_taxa:
        for (name, _), length in zip(rows, lengths, strict=True):
            if length != n_sites:
                return f"taxon {name!r} has {length} characters, not the {n_sites} that NCHAR says; check its sequence", name
    names = [name for name, _ in rows]
    if n_taxa and len(rows) > n_taxa and names[n_taxa : 2 * n_taxa] == names[:n_taxa]:
        return "the matrix is interleaved, and FORMAT does not say INTERLEAVE; add it", ""
    if any(name.lower() in ("end", "endblock") for name in records.names[-1:]):
        return "the matrix has no ';' at its end; add it", ""
    if records.names and len(records.rows[-1]) != n_sites:
        problem = (
            f"taxon {records.names[-1]!r} has {len(records.rows[-1])} characters, not the {n_sites} that NCHAR says; "
            "check its sequence and those before it"
        )
        return problem, records.names[-1]
    return f"{len(records.names)} taxa in the matrix where NTAX says {n_taxa}", ""


def _interleaved(lines: list[str], n_taxa: int | None, n_sites: int, place: _Place) -> Records:
    records = Records()
    pieces: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        name, sequence = _row(line)
        if n_taxa and number < n_taxa and name in pieces:
            raise place.error(f"taxon {name!r} appears twice in a block of the interleaved matrix; rename one", name)
        pieces.setdefault(name, []).append(records.characters(sequence))
    for name, parts in pieces.items():
        records.add(name, "".join(parts))
    if n_taxa and len(pieces) != n_taxa:
        raise place.error(
            f"{len(pieces)} taxa in the interleaved matrix where NTAX says {n_taxa}; a line begins with its taxon"
        )
    for name, row in zip(records.names, records.rows, strict=True):
        if len(row) != n_sites:
            problem = f"taxon {name!r} has {len(row)} characters in all, not the {n_sites} that NCHAR says; check its sequence"
            raise place.error(problem, name)
    return records


def _plain(records: Records, form: Format) -> None:
    """Write gaps as -, missing as ?, and what MATCHCHAR stands for, the first taxon's character."""
    plain_of: dict[str, str] = {}
    for letter, plain in ((form.gap, "-"), (form.missing, "?")):
        plain_of.update(dict.fromkeys((letter,) if form.respect_case else (letter.lower(), letter.upper()), plain))
    table = str.maketrans(plain_of)
    first = records.rows[0] if records.rows else ""
    for number, row in enumerate(records.rows):
        if form.match and number and form.match in row:
            row = "".join(above if here == form.match else here for here, above in zip(row, first, strict=True))
        records.rows[number] = row.translate(table)
    records.meaning = {letter: meaning.translate(table) for letter, meaning in records.meaning.items()}
    records.meaning |= form.equate
    records.symbols = form.symbols


def _alphabets(
    records: Records, form: Format, kind: str | None, n_sites: int, path: Path
) -> tuple[tuple[Alphabet, ...], np.ndarray]:
    of_site = np.zeros(n_sites, dtype=np.uint8)
    if form.datatype != "mixed":
        kind = kind or (_KIND_OF_DATATYPE[form.datatype] if form.datatype else None)
        return (alphabet_of(records, kind),), of_site
    kinds: list[str] = []
    covered = np.zeros(n_sites, dtype=np.int64)
    sets = SiteSets(n_sites, path)
    for part, text in form.parts:
        this = _KIND_OF_DATATYPE[part]
        sites = sets.sites(text, f"DATATYPE=MIXED, {part}")
        kinds += [this] if this not in kinds else []
        of_site[sites] = kinds.index(this)
        covered[sites] += 1
    if wrong := np.flatnonzero(covered != 1).tolist():
        fault = "two kinds of data" if covered[wrong[0]] else "no kind of data"
        raise AlignmentError(f"{path}: DATATYPE=MIXED gives site {wrong[0] + 1} {fault}; every site has one")
    found = [alphabet_of(records, this, np.flatnonzero(of_site == k)) for k, this in enumerate(kinds)]
    # Discrete characters of two states are restriction sites' alphabet too.
    alphabets = tuple(dict.fromkeys(found))
    return alphabets, np.array([alphabets.index(one) for one in found], dtype=np.uint8)[of_site]

"""Alignments: read from FASTA, NEXUS or PHYLIP, written back as FASTA or NEXUS.

`Alignment.states` has one row for each taxon and one column for each site. A state is the set of what the character may
be, as bits in the order of the symbols of the site's alphabet: for nucleotides A=1, C=2, G=4, T=8. A gap or a missing
character is the set of all, since it says nothing. The format is found from what the file holds, not from its name; so are
the kinds of characters, unless the file or the caller says them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vbpi_mix import files
from vbpi_mix.errors import AlignmentError, ConfigError
from vbpi_mix.files import write_whole
from vbpi_mix.phylo.data.alphabets import DNA, Alphabet
from vbpi_mix.phylo.data.deleted_taxa import deleted_taxa
from vbpi_mix.phylo.data.nexus_commands import Command, is_nexus, read_commands
from vbpi_mix.phylo.data.nexus_matrix import read_matrix
from vbpi_mix.phylo.data.plain_formats import read_fasta, read_phylip
from vbpi_mix.phylo.data.sequences import KINDS, Records, alphabet_of, encode
from vbpi_mix.phylo.data.site_sets import SiteSets, define_charsets, excluded_sites
from vbpi_mix.phylo.trees.nexus import nexus_word, nexus_words

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\U000f0000-\U000fffff]")


def _no_sites() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Alignment:
    """An alignment of n taxa.

    taxa: their names, in the order of the file; the position is the taxon's number everywhere else.
    states: unsigned ints [n, sites], state sets as bits (see the head of this module); uint8 if 8 bits hold every alphabet.
    alphabets: those of the sites; alphabet_of: uint8 [sites], which of them each site has.
    charsets: sites, int64, counted from 0, of the sets that the file names.
    excluded: int64, sorted, the sites that the file leaves out (EXSET *, EXCLUDE); they have states, and no likelihood.
    deleted: names of the taxa that the file leaves out (DELETE); they are not among the taxa.
    """

    taxa: tuple[str, ...]
    states: np.ndarray
    alphabets: tuple[Alphabet, ...] = (DNA,)
    alphabet_of: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    charsets: Mapping[str, np.ndarray] = field(default_factory=dict)
    excluded: np.ndarray = field(default_factory=_no_sites)
    deleted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.alphabet_of.size == 0:
            object.__setattr__(self, "alphabet_of", np.zeros(self.states.shape[1], dtype=np.uint8))

    @property
    def included(self) -> np.ndarray:
        """The sites that are not excluded, int64, sorted."""
        keep = np.ones(self.states.shape[1], dtype=bool)
        keep[self.excluded] = False
        return np.flatnonzero(keep).astype(np.int64)

    @property
    def extent(self) -> str:
        """How many taxa and sites there are, in words: `8 taxa (1 deleted), 600 sites (3 excluded)`."""
        taxa, sites = self.states.shape
        deleted = f" ({len(self.deleted)} deleted)" if self.deleted else ""
        excluded = f" ({self.excluded.size} excluded)" if self.excluded.size else ""
        return f"{taxa} taxa{deleted}, {sites} sites{excluded}"

    def of_included(self) -> Alignment:
        """The alignment of the sites that are not excluded, without charsets, as other programs are to see it."""
        if not self.excluded.size:
            return replace(self, charsets={})
        keep = self.included
        if not keep.size:
            raise AlignmentError("every site of the alignment is excluded; leave some in")
        return Alignment(self.taxa, self.states[:, keep], self.alphabets, self.alphabet_of[keep])


def read_alignment(path: str | os.PathLike[str], kind: str | None = None) -> Alignment:
    """Read a FASTA, NEXUS or PHYLIP alignment, plain or gzip-compressed.

    kind: dna, protein, standard, binary or mixed, if what the file says or holds is not to decide. Raises AlignmentError, in
    one line, if the file cannot be read, is not an alignment, has fewer than 4 taxa, a taxon twice, sequences of unequal
    length, no sites, or a character that is none of its alphabet; ConfigError for another kind.

    >>> import vbpi_mix
    >>> alignment = vbpi_mix.read_alignment("examples/eight.nex")
    >>> alignment.taxa[:2], alignment.states.shape
    (('t01', 't02'), (8, 600))
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of data; there are {', '.join(KINDS)}")
    text = read_text(path, "alignment file", "give a FASTA, NEXUS or PHYLIP alignment")
    if is_nexus(text):
        return _read_nexus(text, kind, path)
    text = text.lstrip()
    if kind == "mixed":
        raise AlignmentError(
            f"{path}: only NEXUS says which sites are what, by DATATYPE=MIXED; write the file as NEXUS"
        )
    if text.startswith(">"):
        records = read_fasta(text)
    elif re.match(r"\d+[ \t]+\d+(?!\S)", text):
        records = read_phylip(text, kind, path)
    else:
        raise AlignmentError(
            f"{path}: not an alignment; FASTA begins with '>', NEXUS with '#NEXUS', PHYLIP with two numbers"
        )
    _check(records, path)
    alphabets, of_site = (alphabet_of(records, kind),), np.zeros(len(records.rows[0]), dtype=np.uint8)
    return Alignment(tuple(records.names), encode(records, alphabets, of_site, path), alphabets, of_site)


def write_fasta(alignment: Alignment, path: str | os.PathLike[str]) -> None:
    """Write as FASTA, whole or not at all; missing characters become `?`, sets without a letter `{01}`.

    Raises AlignmentError if a name holds a blank, at which a FASTA name would end, if the sites are of several alphabets, or
    if the file cannot be written.
    """
    for name in alignment.taxa:
        if any(letter.isspace() for letter in name):
            raise AlignmentError(f"{path}: taxon {name!r} has a blank in its name; FASTA cannot hold it, NEXUS can")
    if len(alignment.alphabets) > 1:
        raise AlignmentError(f"{path}: FASTA cannot say which sites are {_named(alignment)}; NEXUS can")
    rows = zip(alignment.taxa, _sequences(alignment), strict=True)
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in rows)
    write_whole(Path(path), text, AlignmentError)


def write_nexus(alignment: Alignment, path: str | os.PathLike[str]) -> None:
    """Write as NEXUS (`nexus_text`), whole or not at all. Raises AlignmentError if the file cannot be written."""
    write_whole(Path(path), nexus_text(alignment), AlignmentError)


def nexus_text(alignment: Alignment) -> str:
    """A sequential NEXUS data block, in which missing characters become `?`; charsets and excluded sites follow in blocks of
    their own, if there are any."""
    n_taxa, n_sites = alignment.states.shape
    words = nexus_words(alignment.taxa)
    names = [words[name] for name in alignment.taxa]
    width = max(len(name) for name in names)
    rows = zip(names, _sequences(alignment), strict=True)
    matrix = "".join(f"{name:<{width}}  {sequence}\n" for name, sequence in rows)
    text = (
        f"#NEXUS\n\nbegin data;\ndimensions ntax={n_taxa} nchar={n_sites};\n"
        f"format {_datatype(alignment)} gap=- missing=?;\nmatrix\n{matrix};\nend;\n"
    )
    if alignment.charsets:
        lines = "".join(
            f"charset {nexus_word(name)} = {site_ranges(sites)};\n" for name, sites in alignment.charsets.items()
        )
        text += f"\nbegin sets;\n{lines}end;\n"
    if alignment.excluded.size:
        text += f"\nbegin assumptions;\nexset * excluded = {site_ranges(alignment.excluded)};\nend;\n"
    return text


def read_text(path: Path, what: str, cure: str) -> str:
    """The text of a file that a user names; what and cure are for the errors. AlignmentError if it is not text."""
    text = files.read_text(path, what, AlignmentError)
    if _CONTROL.search(text):
        raise AlignmentError(f"{path}: this is not a text file; {cure}")
    return text


def _read_nexus(text: str, kind: str | None, path: Path) -> Alignment:
    commands = read_commands(text, path)
    matrix = read_matrix(commands, kind, path)
    _check(matrix.records, path)
    deleted = _delete(matrix.records, commands, path)
    n_sites = matrix.of_site.size
    sets = SiteSets(n_sites, path)
    define_charsets(sets, commands)
    charsets = {}
    for name in sets.names():
        # A set that cannot be read is no reason to refuse the data; whoever asks for it hears why.
        with suppress(AlignmentError):
            charsets[name] = sets.defined(name)
    excluded = excluded_sites(sets, commands)
    states = encode(matrix.records, matrix.alphabets, matrix.of_site, path)
    return Alignment(tuple(matrix.records.names), states, matrix.alphabets, matrix.of_site, charsets, excluded, deleted)


def _delete(records: Records, commands: Sequence[Command], path: Path) -> tuple[str, ...]:
    """Drop the taxa that the file leaves out, and return their names."""
    out = deleted_taxa(records.names, commands, path)
    dropped = tuple(name for name, gone in zip(records.names, out, strict=True) if gone)
    left = len(out) - len(dropped)
    if dropped and left < 4:
        raise AlignmentError(f"{path}: DELETE leaves {left} of {len(out)} taxa; at least 4 are needed")
    records.rows = [row for row, gone in zip(records.rows, out, strict=True) if not gone]
    records.names = [name for name, gone in zip(records.names, out, strict=True) if not gone]
    return dropped


def _check(records: Records, path: Path) -> None:
    """Names that are there and differ, four of them, and rows of one length that is not 0."""
    seen: set[str] = set()
    for number, name in enumerate(records.names, start=1):
        if not name:
            raise AlignmentError(f"{path}: sequence {number} has no name; give every sequence one")
        if name in seen:
            raise AlignmentError(
                f"{path}: taxon {name!r} appears twice; rename one (a FASTA name ends at the first blank)"
            )
        seen.add(name)
    if len(records.names) < 4:
        raise AlignmentError(f"{path}: {len(records.names)} taxa; at least 4 are needed for more than one topology")
    first = records.rows[0]
    for name, row in zip(records.names, records.rows, strict=True):
        if len(row) != len(first):
            raise AlignmentError(
                f"{path}: taxon {name!r} has {len(row)} characters and {records.names[0]!r} has {len(first)}; "
                "align the sequences first"
            )
    if not first:
        raise AlignmentError(f"{path}: the alignment has no sites; every sequence is empty")


def _runs(of_site: np.ndarray) -> Iterator[tuple[int, int]]:
    """First site and end of every stretch of one alphabet."""
    ends = [*(np.flatnonzero(np.diff(of_site)) + 1).tolist(), of_site.size]
    return zip([0, *ends[:-1]], ends, strict=True)


def _sequences(alignment: Alignment) -> list[str]:
    rows = [""] * len(alignment.taxa)
    for start, stop in _runs(alignment.alphabet_of):
        alphabet = alignment.alphabets[alignment.alphabet_of[start]]
        part = alignment.states[:, start:stop]
        letter_of = {state: alphabet.letter_of(state) for state in np.unique(part).tolist()}
        if part.dtype == np.uint8 and all(len(letter) == 1 and letter.isascii() for letter in letter_of.values()):
            # Nucleotides: every set has a letter, and a table is ten times as quick.
            table = np.zeros(256, dtype=np.uint8)
            table[list(letter_of)] = [ord(letter) for letter in letter_of.values()]
            pieces = [row.tobytes().decode("ascii") for row in table[part]]
        else:
            pieces = ["".join(map(letter_of.__getitem__, row)) for row in part.tolist()]
        rows = [row + piece for row, piece in zip(rows, pieces, strict=True)]
    return rows


def _datatype(alignment: Alignment) -> str:
    """DATATYPE and, for discrete characters, SYMBOLS."""
    symbols = max((one.symbols for one in alignment.alphabets if one.name == "standard"), key=len, default="")
    said = f' symbols="{symbols}"' if symbols else ""
    if len(alignment.alphabets) == 1:
        return f"datatype={alignment.alphabets[0].name}{said}"
    runs = [
        f"{alignment.alphabets[alignment.alphabet_of[start]].name}:{start + 1}-{stop}"
        for start, stop in _runs(alignment.alphabet_of)
    ]
    return f"datatype=mixed({','.join(runs)}){said}"


def site_ranges(sites: np.ndarray) -> str:
    """Sites, sorted, as a NEXUS expression, counted from 1: `1-500 502`, `1-500\\3`."""
    numbers, words, at = (sites + 1).tolist(), [], 0
    while at < len(numbers):
        end, step = at + 1, numbers[at + 1] - numbers[at] if at + 1 < len(numbers) else 1
        while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        if step > 1 and end - at < 3:
            end = at + 1
        first, last = numbers[at], numbers[end - 1]
        words.append(f"{first}" if first == last else f"{first}-{last}" if step == 1 else f"{first}-{last}\\{step}")
        at = end
    return " ".join(words)


def _named(alignment: Alignment) -> str:
    return " and which ".join(dict.fromkeys(alphabet.name for alphabet in alignment.alphabets))

"""Nucleotide alignments: read from FASTA, NEXUS or PHYLIP, written back as FASTA or NEXUS.

`Alignment.states` is uint8 [n, sites], one row per taxon. A state is the set of nucleotides that the
character stands for, as bits A=1, C=2, G=4, T=8: the IUPAC codes are unions of these, and a gap or a missing
character is all four (15), since it says nothing. The format is found from what the file holds, not from its
name.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.files import read_bytes, write_whole
from vbpi_mix.phylo.trees.nexus import nexus_word

MISSING = 15
_IUPAC = {
    "A": 1, "C": 2, "G": 4, "T": 8, "U": 8, "M": 3, "R": 5, "W": 9, "S": 6, "Y": 10, "K": 12,
    "V": 7, "H": 11, "D": 13, "B": 14, "N": MISSING, "X": MISSING, "-": MISSING, "?": MISSING,
}  # fmt: skip
_LETTER_OF_STATE = "?ACMGRSVTWYHKDB?"
_PROTEIN_ONLY = set("EFILPQ")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_Records = list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Alignment:
    """An alignment of n taxa.

    taxa: their names, in the order of the file; the position is the taxon's number everywhere else.
    states: uint8 [n, sites], sets of nucleotides as bits (see the head of this module).
    """

    taxa: tuple[str, ...]
    states: np.ndarray


def read_alignment(path: str | os.PathLike[str]) -> Alignment:
    """Read a FASTA, NEXUS or PHYLIP alignment, plain or gzip-compressed.

    Raises AlignmentError, in one line, if the file cannot be read, is not an alignment, has fewer than 4 taxa, a
    taxon twice, sequences of unequal length, no sites, or a character that does not stand for a nucleotide.

    >>> import vbpi_mix
    >>> alignment = vbpi_mix.read_alignment("examples/eight.nex")
    >>> alignment.taxa[:2], alignment.states.shape
    (('t01', 't02'), (8, 600))
    """
    path = Path(path)
    text = _read_text(path)
    records = _format_reader(text, path)(text, path)
    _check_names(records, path)
    _check_lengths(records, path)
    return Alignment(tuple(name for name, _ in records), _encode(records, path))


def write_fasta(alignment: Alignment, path: str | os.PathLike[str]) -> None:
    """Write as FASTA, whole or not at all; missing characters become `?`.

    Raises AlignmentError if a name holds a blank, at which a FASTA name would end, or if the file cannot be
    written.
    """
    for name in alignment.taxa:
        if any(letter.isspace() for letter in name):
            raise AlignmentError(
                f"{path}: taxon {name!r} has a blank in its name; FASTA cannot hold it, NEXUS can"
            )
    rows = zip(alignment.taxa, _sequences(alignment), strict=True)
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in rows)
    write_whole(Path(path), text, AlignmentError)


def write_nexus(alignment: Alignment, path: str | os.PathLike[str]) -> None:
    """Write as a sequential NEXUS data block, whole or not at all; missing characters become `?`.

    Raises AlignmentError if the file cannot be written.
    """
    n_taxa, n_sites = alignment.states.shape
    names = [nexus_word(name) for name in alignment.taxa]
    width = max(len(name) for name in names)
    rows = zip(names, _sequences(alignment), strict=True)
    matrix = "".join(f"{name:<{width}}  {sequence}\n" for name, sequence in rows)
    text = (
        f"#NEXUS\n\nbegin data;\ndimensions ntax={n_taxa} nchar={n_sites};\n"
        f"format datatype=dna gap=- missing=?;\nmatrix\n{matrix};\nend;\n"
    )
    write_whole(Path(path), text, AlignmentError)


def _read_text(path: Path) -> str:
    data = read_bytes(path, "alignment file", AlignmentError)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if _CONTROL.search(text):
        raise AlignmentError(f"{path}: this is not a text file; give a FASTA, NEXUS or PHYLIP alignment")
    # A lone carriage return ends a line in files of old Macintosh programs.
    return text.replace("\r\n", "\n").replace("\r", "\n").lstrip()


def _format_reader(text: str, path: Path) -> Callable[[str, Path], _Records]:
    if text.startswith(">"):
        return _read_fasta
    if text[:6].upper() == "#NEXUS":
        return _read_nexus
    if re.match(r"\d+[ \t]+\d+[ \t]*(\n|$)", text):
        return _read_phylip
    raise AlignmentError(
        f"{path}: not an alignment; FASTA begins with '>', NEXUS with '#NEXUS', PHYLIP with two numbers"
    )


def _read_fasta(text: str, path: Path) -> _Records:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    records = SimpleFastaParser(io.StringIO(text))
    return [(title.split()[0] if title.strip() else "", sequence) for title, sequence in records]


def _read_nexus(text: str, path: Path) -> _Records:
    with warnings.catch_warnings():
        # Biopython warns on import where its optional C scanner is absent; the Python one reads the same.
        warnings.simplefilter("ignore")
        from Bio.Nexus.Nexus import Nexus

    class AnyCharacter(Nexus):
        """Leaves the check of characters to this module, which can say at which site the wrong one is."""

        valid_characters = "".join(map(chr, range(33, 127)))
        rev_ambiguous_values: dict[str, str] = {}  # noqa: RUF012  # an instance replaces it, none changes it

        def _format(self, options: dict[str, str]) -> None:
            options.setdefault("datatype", "dna")
            super()._format(options)
            self.valid_characters = AnyCharacter.valid_characters

    nexus = AnyCharacter()
    nexus.matrix = {}
    try:
        nexus.read(io.StringIO("#NEXUS" + text[6:]))
    # The reader shows a malformed file by whatever its code trips over, StopIteration included.
    except Exception as error:
        raise AlignmentError(f"{path}: {_nexus_fault(nexus, error)}") from None
    if not nexus.matrix:
        raise AlignmentError(f"{path}: the NEXUS file has no DATA or CHARACTERS block with a MATRIX")
    if nexus.datatype not in ("dna", "rna", "nucleotide"):
        raise AlignmentError(f"{path}: DATATYPE={nexus.datatype.upper()}; only nucleotides are supported")
    plain = str.maketrans({nexus.gap: "-", nexus.missing: "?"})
    sequences = [str(sequence).translate(plain) for sequence in nexus.matrix.values()]
    # The reader renames a taxon that comes twice; the names as written show it.
    return list(zip(nexus.unaltered_taxlabels, sequences, strict=True))


def _nexus_fault(nexus: object, error: Exception) -> str:
    """What is wrong with a NEXUS file that Biopython could not read, in one line."""
    sites = getattr(nexus, "nchar", 0)
    matrix = getattr(nexus, "matrix", None) or {}
    interleaved = getattr(nexus, "interleave", False)
    for name, sequence in matrix.items():
        # Blocks of an interleaved matrix are short until the last one is read.
        if len(sequence) != sites and (not interleaved or "data length" in str(error)):
            return f"taxon {name!r} does not have the {sites} characters that NCHAR says; check its sequence"
    if isinstance(error, StopIteration):
        last = list(matrix)[-1] if matrix else None
        where = f"the one after {last!r}" if last else "the first one"
        return f"the matrix ends within a sequence ({where}): it is shorter than NCHAR={sites}"
    detail = " ".join(str(error).split())[:150]
    return f"the NEXUS file is malformed ({detail or type(error).__name__}); check its DATA block"


def _read_phylip(text: str, path: Path) -> _Records:
    from Bio.AlignIO.PhylipIO import (
        PhylipIterator,
        RelaxedPhylipIterator,
        SequentialPhylipIterator,
    )

    class RelaxedSequential(SequentialPhylipIterator):
        """Names of any length, and sequences over several lines each."""

        _split_id = RelaxedPhylipIterator._split_id

    header = text.split("\n", 1)[0]
    n_taxa, n_sites = (int(number) for number in header.split())
    for layout in (RelaxedPhylipIterator, RelaxedSequential, PhylipIterator, SequentialPhylipIterator):
        try:
            alignment = next(layout(io.StringIO(text)))
        except (ValueError, StopIteration):
            continue
        records = [(record.id, str(record.seq)) for record in alignment]
        if len(records) == n_taxa and all(len(sequence) == n_sites for _, sequence in records):
            return records
    lines = [line.split(None, 1) for line in text.split("\n")[1:] if line.strip()]
    if len(lines) == n_taxa:
        for name, *sequence in lines:
            found = len("".join(sequence).replace(" ", ""))
            if found != n_sites:
                raise AlignmentError(
                    f"{path}: taxon {name!r} has {found} characters where the header says {n_sites}"
                )
    raise AlignmentError(f"{path}: the sequences do not fit the header '{header.strip()}' of the PHYLIP file")


def _check_names(records: _Records, path: Path) -> None:
    seen: set[str] = set()
    for number, (name, _) in enumerate(records, start=1):
        if not name:
            raise AlignmentError(f"{path}: sequence {number} has no name; give every sequence one")
        if name in seen:
            raise AlignmentError(
                f"{path}: taxon {name!r} appears twice; rename one (a FASTA name ends at the first blank)"
            )
        seen.add(name)
    if len(records) < 4:
        raise AlignmentError(f"{path}: {len(records)} taxa; at least 4 are needed for more than one topology")


def _check_lengths(records: _Records, path: Path) -> None:
    first, sequence = records[0]
    for name, other in records:
        if len(other) != len(sequence):
            raise AlignmentError(
                f"{path}: taxon {name!r} has {len(other)} characters and {first!r} has {len(sequence)}; "
                "align the sequences first"
            )
    if not sequence:
        raise AlignmentError(f"{path}: the alignment has no sites; every sequence is empty")


def _encode(records: _Records, path: Path) -> np.ndarray:
    """States uint8 [n, sites]; raises AlignmentError at the first character that is not a nucleotide."""
    table = np.zeros(256, dtype=np.uint8)
    for letter, state in _IUPAC.items():
        table[ord(letter)] = table[ord(letter.lower())] = state
    # Any character beyond ASCII becomes '!', so that there is one byte per site; the table refuses it too.
    rows = [re.sub(r"[^\x00-\x7f]", "!", sequence).encode() for _, sequence in records]
    states = table[np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)]
    wrong = np.argwhere(states == 0)
    if wrong.size:
        taxon, site = wrong[0]
        name, sequence = records[taxon]
        used = set().union(*(set(other.upper()) for _, other in records))
        protein = len(used & _PROTEIN_ONLY) >= 3
        hint = "it looks like protein, which is not supported" if protein else "use IUPAC codes, - or ?"
        raise AlignmentError(
            f"{path}: taxon {name!r}, site {site + 1}: character {sequence[site]!r} is not a nucleotide; {hint}"
        )
    return states


def _sequences(alignment: Alignment) -> list[str]:
    letters = np.frombuffer(_LETTER_OF_STATE.encode(), dtype=np.uint8)
    return [row.tobytes().decode() for row in letters[alignment.states]]

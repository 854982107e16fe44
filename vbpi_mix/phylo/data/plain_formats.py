"""FASTA and PHYLIP, as rows of characters.

PHYLIP comes in six layouts that the file does not name: names of ten columns or up to the first blank, sequences one after
the other or interleaved, these with names in the first block or in all. A layout fits if it gives as many sequences and sites as
the first line says and leaves nothing over. Where several fit, the one whose characters make sense is meant. The letter that old
programs and PAML write after the two numbers, I or S, is not needed.
"""

from __future__ import annotations

from pathlib import Path

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.sequences import KINDS, Records, alphabet_of, misfits
from vbpi_mix.phylo.trees.nexus import whole_number

_NAME_COLUMNS = 10


def read_fasta(text: str) -> Records:
    """The sequences of a FASTA file; a name ends at the first blank."""
    records = Records()
    for part in text.split("\n>"):
        title, _, sequence = part.removeprefix(">").partition("\n")
        records.add((title.split() or [""])[0], records.characters(sequence))
    return records


def read_phylip(text: str, kind: str | None, path: Path) -> Records:
    """The sequences of a PHYLIP file in the layout that fits, its characters of the kind given if one is.

    Raises AlignmentError if none fits, and names the taxon where each has a line of its own; or if the first line says more than
    the two numbers and I or S.
    """
    header, *rest = text.split("\n")
    first, second, *more = header.split()
    if len(more) > 1 or any(word.upper() not in ("I", "S") for word in more):
        raise AlignmentError(
            f"{path}: {' '.join(more)!r} in the head line {header.strip()!r} is not read; a PHYLIP file begins with two numbers, "
            "after which I or S may stand"
        )
    n_taxa, n_sites = whole_number(first), whole_number(second)
    lines = [line.rstrip() for line in rest if line.strip()]
    best, rank = None, None
    for read in (_repeated, _interleaved, _sequential):
        for columns in (None, _NAME_COLUMNS):
            records = read(lines, n_taxa, n_sites, columns)
            if records is None:
                continue
            alphabet = alphabet_of(records, kind)
            like_rows = sum(all(map(alphabet.state_of, name)) for name in records.names)
            # Nucleotides before others, since the letters and digits of names can pass for anything else.
            this = (misfits(records, alphabet) > 0, KINDS.index(alphabet.name), like_rows, columns is not None)
            if rank is None or this < rank:
                best, rank = records, this
    if best is None:
        raise AlignmentError(f"{path}: {_fault(lines, n_taxa, n_sites, header.strip())}")
    return best


def _named(line: str, columns: int | None) -> tuple[str, str]:
    """Name and the first piece of the sequence; columns: of the name, None if it ends at the first blank."""
    words = line.split(None, 1)
    # A line too short for a name of fixed width and a sequence, with a blank in it, is none of that layout.
    if columns is not None and (len(line) > columns or len(words) == 1):
        return line[:columns].strip(), line[columns:]
    return words[0], words[1] if len(words) > 1 else ""


def _repeated(lines: list[str], n_taxa: int, n_sites: int, columns: int | None) -> Records | None:
    """Interleaved, with the names in every block."""
    if n_taxa == 0 or len(lines) % n_taxa or len(lines) == n_taxa:
        return None
    named = [_named(line, columns) for line in lines]
    names = [name for name, _ in named[:n_taxa]]
    if [name for name, _ in named] != names * (len(lines) // n_taxa):
        return None
    records = Records()
    for number, name in enumerate(names):
        records.add(name, "".join(records.characters(piece) for _, piece in named[number::n_taxa]))
    return records if all(len(row) == n_sites for row in records.rows) else None


def _interleaved(lines: list[str], n_taxa: int, n_sites: int, columns: int | None) -> Records | None:
    if n_taxa == 0 or len(lines) % n_taxa:
        return None
    records = Records()
    pieces: list[list[str]] = []
    for line in lines[:n_taxa]:
        name, sequence = _named(line, columns)
        records.names.append(name)
        pieces.append([records.characters(sequence)])
    for number, line in enumerate(lines[n_taxa:]):
        pieces[number % n_taxa].append(records.characters(line))
    records.rows = ["".join(piece) for piece in pieces]
    return records if all(len(row) == n_sites for row in records.rows) else None


def _sequential(lines: list[str], n_taxa: int, n_sites: int, columns: int | None) -> Records | None:
    records = Records()
    pieces: list[list[str]] = []
    filled = n_sites
    for line in lines:
        sequence = line
        if filled == n_sites:
            name, sequence = _named(line, columns)
            records.names.append(name)
            pieces.append([])
            filled = 0
        pieces[-1].append(records.characters(sequence))
        filled += len(pieces[-1][-1])
    records.rows = ["".join(each) for each in pieces]
    return records if len(records.names) == n_taxa and all(len(row) == n_sites for row in records.rows) else None


def _fault(lines: list[str], n_taxa: int, n_sites: int, header: str) -> str:
    rows = [(name, len(Records().characters(sequence))) for name, sequence in (_named(line, None) for line in lines)]
    wrong = [(name, found) for name, found in rows if found != n_sites]
    if len(rows) == n_taxa and wrong:
        name, found = wrong[0]
        return f"taxon {name!r} has {found} characters where the header says {n_sites}"
    if len(rows) > n_taxa and all(found == n_sites for _, found in rows[:n_taxa]):
        name = lines[n_taxa].split()[0]
        return (
            f"more follows, from {name!r} on, than the header '{header}' says; correct it, or give one alignment a file"
        )
    return f"the sequences do not fit the header '{header}' of the PHYLIP file"

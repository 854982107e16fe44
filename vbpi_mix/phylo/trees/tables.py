"""Tables with a tree in each row, as RevBayes writes them, as lists of Newick trees."""

from __future__ import annotations

import re

# The first columns of a trace of trees; others and the trees follow.
_HEADER = re.compile(rb"(?:Iteration|state|gen|generation|sample)\t", re.IGNORECASE)
_TREE = re.compile(rb"(?:\[[^\]]*\]\s*)?\(")


def newick_of_table(data: bytes) -> bytes | None:
    """The trees of a table, each on the line of its row; None if this is no table with a column of trees.

    data: UTF-8, with a header line, before which there may be lines that begin with `#`, and columns with tabs between them.
    A row that lacks its tree, as the last one of a run that was killed does, leaves an empty line.
    """
    start = 0
    while data.startswith(b"#", start) and b"\n" in data[start:]:
        start = data.index(b"\n", start) + 1
    if not _HEADER.match(data, start):
        return None
    lines = data.split(b"\n")
    header = data.count(b"\n", 0, start)
    cells = next((line.split(b"\t") for line in lines[header + 1 :] if line.strip()), [])
    column = next((k for k, cell in enumerate(cells) if _TREE.match(cell.strip().strip(b'"'))), None)
    if column is None:
        return None
    # Some versions leave out what ends a tree.
    ends = b"" if cells[column].rstrip(b'" ').endswith(b";") else b";"
    rows = [line.split(b"\t") for line in lines[header + 1 :]]
    trees = [row[column].strip().strip(b'"') + ends if len(row) > column and row[column].strip() else b"" for row in rows]
    return b"\n".join([b""] * (header + 1) + trees)

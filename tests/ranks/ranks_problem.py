"""A small problem for jobs of several processes."""

from __future__ import annotations

ROWS = {"a": "ACGTACGTAC", "b": "ACGTACGTAA", "c": "ACGTTCGTCA", "d": "ACCTTCGGCA", "e": "ACCTTAGGCA"}
TREES = "((a,b),c,(d,e));\n((a,c),b,(d,e));\n((a,b),d,(c,e));\n"


def write_problem(folder):
    """Five taxa and a few trees of them."""
    (folder / "five.fasta").write_text("".join(f">{name}\n{row}\n" for name, row in ROWS.items()))
    (folder / "five.nwk").write_text(TREES)

"""Pieces of a page that its sections share: tables, and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence

from vbpi_mix.phylo.report.svg import escape


def table(rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    """Rows of cells, the head first; no head where that is empty. kind: numbers, or pairs of words."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0]) if any(rows[0]) else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    return f'<div class="wide"><table class="{kind}">{f"<tr>{head}</tr>" if head else ""}{body}</table></div>'


def plus_minus(error: float) -> str:
    """In brackets behind a number; nothing where it is exact."""
    return f" (error {error:.2g})" if error > 0 else ""


def evidence_error(error: float) -> str:
    """Of log p(Y), to two decimals."""
    return f"{error:.2f}" if error >= 0.005 else "less than 0.01"


def count(value: float, exact: bool) -> str:
    """Of things; an estimate says so."""
    return f"{value:,.0f}" if exact else f"about {value:,.0f}" if value >= 10 else f"about {value:.2g}"


def some(names: Sequence[str], most: int = 8) -> str:
    """Names, as many as can be read."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""`vbpi-mix image compare`: several image runs side by side, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vbpi_mix.image.comparison import Row

EPILOG = """\b
Example:
  vbpi-mix image compare a1.vbpi a4.vbpi a16.vbpi --out comparison.png
"""
# Of each column its title and width; below 0 is to the left. Words, of any length, are last.
_COLUMNS = {
    "run": -24, "A": 5, "S": 5, "estimator": 10, "trained L": 9, "images": 7, "L": 6, "published": 9, "pooled": 9, "ms/step": 8,
    "parameters": 11, "model": 0,
}  # fmt: skip


@click.command("compare", epilog=EPILOG, short_help="Runs side by side: table and figure against A.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also draw a figure there, as PNG.")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
def command(runs: tuple[Path, ...], out: Path | None, force: bool) -> None:
    """Negative log-likelihood, step time and parameters of RUNs that were evaluated, against the number of components.

    Runs of the same estimator, S, model, training L, gradient and protocol are one line of the figure; those of A = 1 are on
    every line of their kind. Several of the same A are averaged, and bars span them.
    """
    from vbpi_mix.files import check_free, write_whole
    from vbpi_mix.image.comparison import compare_runs, doubts, draw_rows

    check_free([out], force)
    rows = compare_runs(runs)
    click.echo("\n".join(_table(rows)))
    for doubt in doubts(rows):
        click.echo(f"warning: {doubt}", err=True)
    if out is not None:
        write_whole(out, draw_rows(rows))
        click.echo(f"wrote {out}")


def _table(rows: Sequence[Row]) -> list[str]:
    """The trained L is a column where it is not 1 throughout; L is that of the evaluation."""
    shown = [{title: title for title in _COLUMNS}, *map(_cells, rows)]
    if all(row.trained_L == 1 for row in rows):
        for cells in shown:
            del cells["trained L"]
    return [" ".join(_padded(text, _COLUMNS[title]) for title, text in cells.items()).rstrip() for cells in shown]


def _cells(row: Row) -> dict[str, str]:
    numbers = (_number(row.published, 3), _number(row.pooled, 3), _number(row.milliseconds, 2), f"{row.parameters:,}")
    sizes = (row.A, row.S, row.estimator, row.trained_L, row.images or "", row.L or "")
    words = ", ".join(filter(None, (row.model or "plain", row.training, row.note)))
    return dict(zip(_COLUMNS, (row.run, *map(str, sizes), *numbers, words), strict=True))


def _padded(text: str, width: int) -> str:
    return text.ljust(-width) if width < 0 else text.rjust(width)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

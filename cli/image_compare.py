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
_LINE = "{:<24} {:>5} {:>5} {:>10} {:>7} {:>6} {:>9} {:>9} {:>8} {:>11}  {}"
_HEADER = ("run", "A", "S", "estimator", "images", "L", "published", "pooled", "ms/step", "parameters", "")


@click.command("compare", epilog=EPILOG, short_help="Runs side by side: table and figure against A.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also draw a figure there, as PNG.")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
def command(runs: tuple[Path, ...], out: Path | None, force: bool) -> None:
    """Negative log-likelihood, step time and parameters of RUNs that were evaluated, against the number of components.

    Runs of the same estimator, S, encoder, parts and protocol are one line of the figure, those of A = 1 are on every line;
    several of the same A are averaged, and bars span them.
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
    lines = [_LINE.format(*_HEADER).rstrip()]
    for row in rows:
        sizes = (row.images or "", row.L or "")
        numbers = (_number(row.published, 3), _number(row.pooled, 3), _number(row.milliseconds, 2))
        line = _LINE.format(row.run, row.A, row.S, row.estimator, *sizes, *numbers, f"{row.parameters:,}", row.note)
        lines.append(line.rstrip())
    return lines


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""`vbpi-mix image compare`: several image runs side by side, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Example:
  vbpi-mix image compare a1.vbpi a4.vbpi a16.vbpi --out comparison.png
"""
_LINE = "{:<24} {:>5} {:>5} {:>10} {:>7} {:>6} {:>9} {:>9} {:>8} {:>11}  {}"


@click.command("compare", epilog=EPILOG, short_help="Runs side by side: table and figure against A.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also draw a figure there, as PNG.")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
def command(runs: tuple[Path, ...], out: Path | None, force: bool) -> None:
    """Negative log-likelihood, step time and parameters of RUNs that were evaluated, against the number of components.

    Runs of the same estimator, S, encoder and protocol are one line of the figure, those of A = 1 are on every line; several
    of the same A are averaged, and bars span them.
    """
    from vbpi_mix.errors import ConfigError
    from vbpi_mix.files import check_free, write_whole

    check_free([out], force)
    rows = [_row(path) for path in runs]
    if len({row["data"] for row in rows}) > 1:
        raise ConfigError(
            f"runs of several data sets: {', '.join(sorted({row['data'] for row in rows}))}; compare one at a time"
        )
    click.echo("\n".join(_table(rows)))
    for warning in _warnings([row for row in rows if row["images"] is not None]):
        click.echo(f"warning: {warning}", err=True)
    if out is not None:
        write_whole(out, _picture(rows))
        click.echo(f"wrote {out}")


def _row(path: Path) -> dict[str, Any]:
    """What is compared of a run, None where it was not measured."""
    from vbpi_mix.errors import RunDirectoryError
    from vbpi_mix.training.run_directory import RunDirectory
    from vbpi_mix_cli.image_runs import read_config

    run = RunDirectory.open(path)
    config, summary = read_config(run), run.read_summary()
    if "seconds_per_iteration" not in summary:
        raise RunDirectoryError(f"{path} was not trained to an end: go on with --resume first")
    estimates = {entry["form"]: entry["nll"] for entry in summary.get("negative_log_likelihood", [])}
    sizes: dict[str, Any] = next(iter(summary.get("negative_log_likelihood", [])), {})
    seconds = summary["seconds_per_iteration"]
    images = sizes.get("images")
    drawn = images != config["data"].get("test")  # by their seed, unless all are taken
    return {
        "run": path.name,
        "data": config["data"]["name"],
        **{name: config["estimation"][name] for name in ("A", "S", "estimator")},
        "published": estimates.get("published"),
        "pooled": estimates.get("pooled"),
        "images": images,
        "chosen": (images, sizes.get("seed") if drawn else None),
        "L": sizes.get("importance_samples"),
        "milliseconds": None if seconds is None else 1e3 * seconds,
        "parameters": summary["parameters"]["total"],
        "encoder": config["model"].get("encoder"),
        "note": "" if summary["likelihood"] == "valid" else summary["likelihood"],
    }


def _warnings(rows: list[dict[str, Any]]) -> list[str]:
    """What keeps the likelihoods of evaluated runs from being compared."""
    found = []
    if len({row["chosen"] for row in rows}) > 1:
        found.append("these runs were evaluated on different test images: evaluate them alike to compare")
    if len({row["L"] for row in rows}) > 1:
        if len({row["A"] * row["L"] for row in rows}) == 1:
            found.append("these runs differ in L at the same A L: their pooled forms can be compared, their published forms not")
        else:
            found.append("these runs differ in L: evaluate them with the same --importance-samples, or the same A L, to compare")
    return found


def _series(row: dict[str, Any]) -> str:
    """What a run's line is called."""
    parts = [row["estimator"].upper()]
    if row["estimator"] != "a2a":
        parts.append(f"S = {row['S']}")
    if row["encoder"] == "separate":
        parts.append("separate encoders")
    if row["note"]:
        parts.append(row["note"])
    return ", ".join(parts)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        _LINE.format(
            "run", "A", "S", "estimator", "images", "L", "published", "pooled", "ms/step", "parameters", ""
        ).rstrip()
    ]
    for row in rows:
        sizes = (row["images"] or "", row["L"] or "")
        numbers = (_number(row["published"], 3), _number(row["pooled"], 3), _number(row["milliseconds"], 2))
        line = _LINE.format(
            row["run"], row["A"], row["S"], row["estimator"], *sizes, *numbers, f"{row['parameters']:,}", row["note"]
        )
        lines.append(line.rstrip())
    return lines


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _picture(rows: list[dict[str, Any]]) -> bytes:
    from vbpi_mix.image.figures import Point, Quantity, draw_comparison, share_single

    points: list[Point] = []
    for kind in dict.fromkeys((row["encoder"], row["note"]) for row in rows):
        own = [row for row in rows if (row["encoder"], row["note"]) == kind]
        points.extend(share_single([Point(_series(row), row["A"], row) for row in sorted(own, key=_series)]))
    quantities = [
        Quantity("published", "NLL, published form (nats)"),
        Quantity("pooled", "NLL, pooled form (nats)"),
        Quantity("milliseconds", "milliseconds per step"),
        Quantity("parameters", "parameters"),
    ]
    return draw_comparison(points, quantities, rows[0]["data"])

"""Values of options that several commands take, read from what a user writes."""

from __future__ import annotations

import click

from vbpi_mix.errors import ConfigError


def burn_in(context: click.Context, parameter: click.Parameter, value: str | None) -> float | int | None:
    """Callback of --burn-in: a whole number of trees, or else a fraction; None if it is not given. ConfigError for other text.

    The reader of the trees checks the range. 0 is the fraction.
    """
    if value is None:
        return None
    try:
        return int(value) if value.isdigit() and value != "0" else float(value)
    except ValueError:
        raise ConfigError(f"--burn-in {value}: give a fraction in [0, 1) or a whole number of trees") from None


def joined(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str:
    """Callback of an option that may be repeated: its values as one text."""
    return ";".join(values)


def only_one(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Callback of --model: its value, None if it was not given. ConfigError for several, which would otherwise be the last."""
    if len(values) > 1:
        raise ConfigError(
            f"{parameter.opts[0]} {' and '.join(values)}: give one; models for parts of the data stand in a partition file, "
            "'HKY+G4, gene1 = 1-500' (--partitions)"
        )
    return values[0] if values else None

"""Ranges of the numbers that commands take, by the name of the option: one table for all but those that are made from fields
with ranges of their own (`vbpi_mix_cli.config_options`)."""

from __future__ import annotations

from typing import Any

import click

from vbpi_mix.options import Option

_COUNT = Option(int, least=1)
_SEED = Option(int, least=0, most=2**63 - 1)
NUMBERS: dict[str, Option] = {
    **dict.fromkeys(
        (
            "A", "S", "K", "L", "batch_size", "epochs", "patience", "latent", "pixel_layers", "iterations", "threads",
            "importance_samples", "repeats", "images", "max_decoder_samples", "images_at_once", "count", "originals",
            "components", "draws", "sites", "generations", "chains", "trees",
        ),
        _COUNT,
    ),
    "seed": _SEED,
    "draws": Option(int, least=1),
    "hold": Option(int, least=0),
    "warmup": Option(int, least=0),
    "taxa": Option(int, least=4),
    "states": Option(int, least=2, most=64),
    "replicates": Option(int, least=2),
    "samples": Option(int, least=2),
    "seconds": Option(float, above=0),
    "learning_rate": Option(float, above=0),
    "mean_length": Option(float, above=0),
    "asdsf": Option(float, above=0, most=1),
}  # fmt: skip


class Number(click.ParamType):
    """A number in its range, by its name in NUMBERS. ConfigError, one line that begins with the option, for any other."""

    def __init__(self, allowed: str | Option) -> None:
        self.range = NUMBERS[allowed] if isinstance(allowed, str) else allowed
        self.name = "integer" if self.range.kind is int else "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, from what was typed or from a default."""
        kind = click.INT if self.range.kind is int else click.FLOAT
        found = kind.convert(value, param, ctx)
        self.range.check(param.opts[0] if param is not None else "value", found)
        return found

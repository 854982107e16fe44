"""Options of `vbpi-mix image` made from the fields of FitConfig: kinds, choices and defaults are those of the library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from vbpi_mix.image.config import FitConfig
from vbpi_mix.training.run_config import entries_of
from vbpi_mix_cli.numbers import Number

FIELDS = {field.name: field for field in dataclasses.fields(FitConfig)}
KINDS = entries_of(FitConfig)

data = click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the data files.")
quiet = click.option("--quiet", is_flag=True, help="Print only the result.")
device = click.option(
    "--device", type=click.Choice(KINDS["device"]), default=FIELDS["device"].default, show_default=True
)


def option(name: str, text: str | None = None, *, flag: str | None = None, any_case: bool = False) -> Any:
    """The option of a field of FitConfig. flag: how it is spelled, where not as the field."""
    kind, default = KINDS[name], FIELDS[name].default
    spelled = flag or f"--{name.replace('_', '-')}"
    if kind == (False, True):
        on_off: dict[str, Any] = {"default": default, "show_default": True} if "/" in spelled else {"is_flag": True}
        return click.option(spelled, name, help=text, **on_off)
    shown: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    of: Any = click.Choice(kind, case_sensitive=not any_case) if isinstance(kind, tuple) else kind
    if kind in (int, float):
        of = Number(name)
    return click.option(spelled, name, type=of, help=text, **shown)

"""Click options made from the fields of a configuration: names, kinds, defaults and help are written there once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import click

from vbpi_mix.options import Option, options_of
from vbpi_mix_cli.numbers import Number


def config_options(
    owner: type,
    special: Mapping[str, Mapping[str, Any]] | None = None,
    leave_out: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Callable[[Any], Any]:
    """A decorator that adds an option for each field of a configuration, and of those in it, that has a help text.

    special: by name of a field, what click needs to know besides. leave_out: names of fields without an option. only: names of
    the fields that have one, if not all.
    """

    def add(command: Any) -> Any:
        chosen = [each for each in _fields(owner) if each[0] not in leave_out and (only is None or each[0] in only)]
        for name, default, each in reversed(chosen):
            command = _click_option(name, default, each, (special or {}).get(name, {}))(command)
        return command

    return add


def _fields(owner: type) -> Iterator[tuple[str, Any, Option]]:
    known = options_of(owner)
    for item in dataclasses.fields(owner):
        if item.name in known:
            if known[item.name].help:
                yield item.name, item.default, known[item.name]
        elif dataclasses.is_dataclass(item.default_factory):
            yield from _fields(item.default_factory)


def _click_option(name: str, default: Any, each: Option, special: Mapping[str, Any]) -> Callable[[Any], Any]:
    flag = f"--{each.letter}" if each.letter else f"--{name.replace('_', '-')}"
    kind: Any = click.Choice(each.choices, case_sensitive=False) if each.choices else each.kind
    facts = {
        "type": Number(each) if kind in (int, float) else kind,  # which says what was typed, where a field says its name
        "default": default,
        "show_default": default not in (None, ""),
        "help": f"{each.help}  [default: {each.unset}]" if each.unset else each.help,
        **({"metavar": each.metavar} if each.metavar else {}),
        **special,
    }
    if each.kind is bool:
        return click.option(flag, name, is_flag=True, help=each.help)
    return click.option(flag, name, **facts)

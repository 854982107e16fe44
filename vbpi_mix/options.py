"""One choice of a configuration: its kind, range and help text. The command line's options, the checks of
configuration files and those of the library are all made from it.

Standard library only: `vbpi-mix fit --help` reads these and must answer at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vbpi_mix.errors import ConfigError

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """One field of a configuration.

    kind         int, float (which takes whole numbers too), str or bool
    help         one sentence for `--help`
    least, above, most   bounds of a number: smallest allowed, or the largest that is too small; largest allowed
    choices      the only values there are
    optional     None is allowed: "not chosen", or "has none"
    letter       the paper's letter, which is its name in config.yaml and on the command line
    unset        what happens if it is not chosen, for the help text
    resumable    whether a resumed run may be given another value
    metavar      what stands for the value in the help text
    """

    kind: type
    help: str = ""
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()
    optional: bool = False
    letter: str = ""
    unset: str = ""
    resumable: bool = False
    metavar: str = ""

    def wanted(self) -> str:
        """What a value must be, for messages."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "text"
        bounds = [
            *([f"of at least {self.least:g}"] if self.least > -math.inf else []),
            *([f"above {self.above:g}"] if self.above > -math.inf else []),
            *([f"at most {self.most:g}"] if self.most < math.inf else []),
        ]
        words = "a whole number" if self.kind is int else "a number"
        return f"{words} {' and '.join(bounds)}" if bounds else words

    def allows(self, value: object) -> bool:
        """Whether a value is of the kind and in the range."""
        if value is None:
            return self.optional
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if self.kind in (str, bool):
            return isinstance(value, self.kind)
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float):
            return False
        return math.isfinite(value) and self.above < value <= self.most and value >= self.least

    def check(self, name: str, value: object, error: type[Exception] = ConfigError) -> None:
        """Raise `error`, one line that begins with `name`, unless the value is allowed."""
        if not self.allows(value):
            raise error(f"{name} must be {self.wanted()}, not {value!r}")


def option(default: Any, kind: type | None = None, help: str = "", **facts: Any) -> Any:
    """A field of a frozen dataclass with an Option. kind: that of the default, if it is not given; a default of None
    makes the option optional."""
    facts.setdefault("optional", default is None)
    found = Option(type(default) if kind is None else kind, help, **facts)
    return dataclasses.field(default=default, metadata={_KEY: found})


def same_as(owner: type, name: str, **changes: Any) -> Any:
    """A field with default and Option of another configuration's field, but for `changes` of the Option."""
    (other,) = (item for item in dataclasses.fields(owner) if item.name == name)
    changed = dataclasses.replace(other.metadata[_KEY], **changes)
    return dataclasses.field(default=other.default, metadata={_KEY: changed})


def options_of(owner: type | Any) -> Mapping[str, Option]:
    """The fields of a configuration that have an Option, by name, in their order."""
    return {item.name: item.metadata[_KEY] for item in dataclasses.fields(owner) if _KEY in item.metadata}


def check_options(values: Any) -> None:
    """ConfigError, naming the field (and the paper's letter), unless all values of a configuration are allowed."""
    for name, each in options_of(values).items():
        shown = name if each.letter in ("", name) else f"{name} ({each.letter})"
        each.check(shown, getattr(values, name))

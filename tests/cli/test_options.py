"""Values of options that several commands take."""

from __future__ import annotations

import re

import pytest

from vbpi_mix.errors import ConfigError
from vbpi_mix_cli.main import COMMANDS, cli
from vbpi_mix_cli.options import burn_in


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("0.25", 0.25), ("1e-2", 0.01), ("1", 1), ("25", 25), ("00", 0)]
)
def test_burn_in_is_a_number_of_trees_or_a_fraction(text, value):
    read = burn_in(None, None, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["half", "", "1/4", "25%", "²"])
def test_burn_in_that_is_no_number_is_refused(text):
    with pytest.raises(ConfigError, match=re.escape(f"--burn-in {text}: give a fraction")):
        burn_in(None, None, text)


def test_every_burn_in_is_read_by_it():
    read = {}
    for name in COMMANDS:
        for option in cli.get_command(None, name).params:
            if option.name == "burn_in":
                read[name] = option.callback
    assert read == {"fit": burn_in, "models": burn_in, "compare": burn_in}

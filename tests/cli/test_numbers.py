"""Every number that a command takes is refused beyond the edges of its range, in one line that names the option."""

from __future__ import annotations

import math

import click
import pytest

from vbpi_mix_cli.main import COMMANDS, LazyGroup
from vbpi_mix_cli.numbers import NUMBERS, Number


def commands():
    """Every command with its words."""
    group = LazyGroup()
    for name in COMMANDS:
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            for other in command.list_commands(None):
                yield (name, other), command.get_command(None, other)
        else:
            yield (name,), command


def numbers():
    """Every option that takes a number, with its command."""
    for words, command in commands():
        for option in command.params:
            plain = option.type in (click.INT, click.FLOAT) or isinstance(option.type, click.IntRange | click.FloatRange)
            if isinstance(option, click.Option) and (plain or isinstance(option.type, Number)):
                yield words, option


def outside(allowed):
    """What is beyond the edges of a range, as it is typed."""
    if allowed.kind is int:
        values = [str(int(allowed.least) - 1)]
    else:
        edge = [] if allowed.above > -math.inf else [f"{allowed.least - 1:g}"]
        values = ["nan", "inf", "-inf", *edge, *([f"{allowed.above:g}"] if allowed.above > -math.inf else [])]
    return values + ([f"{allowed.most + 1:.0f}"] if allowed.most < math.inf else [])


def test_every_number_has_a_range():
    for words, option in numbers():
        assert isinstance(option.type, Number), (words, option.name)
        allowed = option.type.range
        assert max(allowed.least, allowed.above) > -math.inf, (words, option.name)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_ranges_hold_at_their_edges(name):
    kind, allowed = Number(name), NUMBERS[name]
    option = click.Option([f"--{name}"])
    kind.convert(str(allowed.least if allowed.kind is int else 1e-300), option, None)
    outside = [str(allowed.least - 1)] if allowed.kind is int else ["0", "-1", "nan", "inf", "-inf"]
    if allowed.most < float("inf"):
        kind.convert(str(allowed.most), option, None)
        outside.append(str(allowed.most + 1))
    for text in outside:
        with pytest.raises(Exception, match=f"^--{name} must be ") as caught:
            kind.convert(text, option, None)
        assert "\n" not in str(caught.value)


# What a command wants besides, so that it comes to look at a number.
NEEDED = {"draw": ("--out", "x.png"), "simulate": ("--out", "x.nex"), "models": ("--try", "JC")}


@pytest.mark.parametrize("words", sorted({words for words, _ in numbers()}), ids=" ".join)
def test_a_number_outside_its_range_is_one_line(run, tmp_path, monkeypatch, words):
    """Of every command, every number, at every edge, and before anything else is looked at: there are no such files."""
    monkeypatch.chdir(tmp_path)
    for command, option in numbers():
        if command == words:
            for text in outside(option.type.range):
                line = run(*words, *named(words), *NEEDED.get(words[0], ()), option.opts[0], text).error_line()
                assert line.startswith(f"error: {option.opts[0]} must be "), line
    assert not list(tmp_path.iterdir())


def named(words):
    """A name for each argument of a command."""
    (command,) = {id(each): each for other, each in commands() if other == words}.values()
    return ["x" for each in command.params if isinstance(each, click.Argument)]


def test_an_alignment_does_not_take_the_place_of_its_tree(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = run("simulate", "--out", "x.nwk").error_line()
    assert line == "error: x.nwk: name the alignment, such as x.nex; its tree is written beside it, to x.nwk"
    assert not list(tmp_path.iterdir())

"""Every number that a command takes is refused beyond the edges of its range, in one line that names the option."""

from __future__ import annotations

import click
import pytest

from vbpi_mix.cells.config import FitConfig as CellsConfig
from vbpi_mix.options import options_of
from vbpi_mix.phylo.config import FitConfig, ModelConfig
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


FITTED = {**options_of(FitConfig), **options_of(ModelConfig), **options_of(CellsConfig)}
# Checked where they are used, as a sample has at least one tree and a core is a core.
ELSEWHERE = {("export", "trees"), ("export", "threads"), ("draw", "threads")}


def test_every_number_has_a_range():
    without = {
        (*words, option.name)
        for words, option in numbers()
        if not isinstance(option.type, Number) and option.name not in FITTED
    }
    assert without <= ELSEWHERE


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


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "x", "--importance-samples", 0),
        ("cells", "evaluate", "x", "--importance-samples", 0),
        ("eval", "x", "--repeats", -1),
        ("eval", "x", "--seed", 2**63),
        ("eval", "x", "--threads", 0),
        ("compare", "x", "y", "--draws", 0),
        ("fit", "x", "--replicates", 1),
        ("simulate", "--out", "x.nex", "--taxa", 3),
        ("simulate", "--out", "x.nex", "--mean-length", "nan"),
        ("support", "x", "--asdsf", "nan"),
        ("support", "x", "--seconds", "inf"),
        ("toy", "--S", 0),
        ("toy", "--learning-rate", "inf"),
        ("image", "digits", "--patience", 0),
        ("image", "eval", "x", "--images", 0),
        ("image", "sample", "x", "--seed", -1),
    ],
)
def test_a_number_outside_its_range_is_one_line(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    line = run(*command).error_line()
    assert line.startswith(f"error: {command[-2]} must be ")
    assert not list(tmp_path.iterdir())


def test_an_alignment_does_not_take_the_place_of_its_tree(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = run("simulate", "--out", "x.nwk").error_line()
    assert line == "error: x.nwk: name the alignment, such as x.nex; its tree is written beside it, to x.nwk"
    assert not list(tmp_path.iterdir())

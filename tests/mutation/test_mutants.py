"""What faults are made of a source, and what is left alone."""

from __future__ import annotations

import ast
import textwrap

from mutants import mutants

SOURCE = textwrap.dedent(
    '''
    """A text with 1 + 1."""

    RATE = 0.5

    def f(x: int, y=(True, -1)) -> int:
        if x < 2 and not y:
            raise ValueError(f"{x + 1}")
        return max(x, 3) if x else x.mean() // math.sqrt(x)
    '''
)


def test_every_fault_is_made_once_and_named():
    found = [each.key for each in mutants(SOURCE)]
    whole, division = "max(x, 3) if x else x.mean() // math.sqrt(x)", "x.mean() // math.sqrt(x)"
    assert found == [
        "module: 0.5 -> 0.75",
        "f: True -> False", "f: -1 -> 1", "f: 1 -> 2",
        "f: x < 2 and (not y) -> x < 2 or not y", "f: x < 2 -> x <= 2", "f: 2 -> 3", "f: not y -> y",
        f"f: {whole} -> {division} if x else max(x, 3)",
        "f: max(x, 3) -> min(x, 3)", "f: 3 -> 4",
        f"f: {division} -> x.mean() * math.sqrt(x)", "f: x.mean() -> x.sum()",
    ]  # fmt: skip


def test_a_fault_changes_nothing_else():
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    for each in mutants(SOURCE):
        after = ast.unparse(each.tree).splitlines()
        assert len(after) == len(before)
        assert sum(one != other for one, other in zip(before, after, strict=True)) == 1, each.key


def test_the_same_fault_in_two_places_has_two_names():
    found = [each.key for each in mutants("def f(x):\n    return x + x, x + x\n")]
    assert found == ["f: x + x -> x - x", "f: x + x -> x - x (2)"]


def test_checks_are_left_alone():
    assert not list(mutants("def f(x, y):\n    assert x < 3\n    return list(zip(x, y, strict=True))\n"))

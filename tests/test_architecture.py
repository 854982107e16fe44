"""The rooms of the house: who may import whom, read from the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = {"estimators", "phylo", "toy", "image"}


def imported(path):
    """Names of modules of the project that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in found if name.startswith("vbpi_mix")}


def modules():
    for path in sorted((ROOT / "vbpi_mix").rglob("*.py")):
        yield path.relative_to(ROOT / "vbpi_mix").parts, imported(path)


@pytest.mark.parametrize("room", sorted(DOMAINS))
def test_domains_never_import_one_another(room):
    """Types that only a checker reads count too: nothing is excused."""
    for parts, names in modules():
        if parts[0] == room:
            for name in names:
                other = name.split(".")[1] if "." in name else ""
                assert other not in DOMAINS - {room}, f"vbpi_mix/{'/'.join(parts)} imports {name}"


def test_domains_do_not_know_training_and_training_knows_no_domain():
    for parts, names in modules():
        for name in names:
            if parts[0] in DOMAINS:
                assert not name.startswith("vbpi_mix.training.trainer"), (parts, name)
            if parts[0] in ("training", "evaluation.py"):
                assert not name.startswith(("vbpi_mix.phylo", "vbpi_mix.toy", "vbpi_mix.image")), (parts, name)


def test_no_module_of_the_library_imports_the_command_line():
    for parts, names in modules():
        assert not any(name.startswith("vbpi_mix_cli") for name in names), parts


def test_estimators_use_torch_and_nothing_else_of_weight():
    for path in (ROOT / "vbpi_mix" / "estimators").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & {"numpy", "numba"}, path


def test_imports_are_acyclic():
    graph = {}
    for parts, names in modules():
        name = ".".join(["vbpi_mix", *parts])[: -len(".py")].removesuffix(".__init__")
        graph[name] = names
    known = set(graph)
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name] & known):
            # A package's own __init__ that re-exports its modules is not a cycle of meaning.
            if not name.startswith(f"{other}."):
                visit(other)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("room", ["trees", "data", "models", "sbn", "branches", "sampling", "assess", "report"])
def test_rooms_of_phylo_import_what_they_say(room):
    """The last line of a room's docstring names the rooms and modules of phylo that it may import."""
    said = ast.get_docstring(ast.parse((ROOT / "vbpi_mix" / "phylo" / room / "__init__.py").read_text("utf-8")))
    last = said.splitlines()[-1].removesuffix(".")
    allowed = {room, *last.removeprefix("May import of phylo: ").split(", ")}
    assert last.startswith("May import of phylo: ") or last == "Imports no other room of phylo"
    for parts, names in modules():
        if parts[:2] == ("phylo", room):
            for name in names:
                inner = name.split(".")[1:3]
                assert inner[:1] != ["phylo"] or inner[1:] == [] or inner[1] in allowed, f"{'/'.join(parts)}: {name}"


def test_every_documented_command_exists_and_has_a_row():
    from vbpi_mix_cli.main import COMMANDS

    table = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"| `{name}" in table, f"docs/commands.md has no row for {name}"

"""The rooms of the house: who may import whom, read from the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = {"estimators", "phylo", "toy", "image"}
KERNEL_POLICIES = {"kernel", "inline_kernel", "parallel_kernel"}
MOST_ARGUMENTS = 10


# Modules of a domain that put a run together: they hand the domain's parts to the estimators and to training.
RUNS = {("image", "fit.py"), ("image", "run.py"), ("toy", "fit.py"), ("toy", "run.py")}


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
    """Types that only a checker reads count too: nothing is excused, but the estimators to what puts a run together."""
    for parts, names in modules():
        if parts[0] == room:
            for name in names:
                other = name.split(".")[1] if "." in name else ""
                allowed = {room, "estimators"} if parts in RUNS else {room}
                assert other not in DOMAINS - allowed, f"vbpi_mix/{'/'.join(parts)} imports {name}"


def test_domains_do_not_know_training_and_training_knows_no_domain():
    for parts, names in modules():
        for name in names:
            if parts[0] in DOMAINS and parts not in RUNS:
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


def sources():
    """Every file of the library: its name, its syntax tree and whether it defines kernels."""
    for path in sorted((ROOT / "vbpi_mix").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        has_kernels = any(KERNEL_POLICIES & {ast.unparse(d) for d in node.decorator_list} for node in functions)
        yield path.relative_to(ROOT / "vbpi_mix"), tree, has_kernels


def test_no_function_beside_kernels_takes_more_than_ten_arguments():
    """In every file of a kernels room, and in every other file that defines kernels."""
    found = set()
    for name, tree, has_kernels in sources():
        if not has_kernels and "kernels" not in name.parts:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                given = node.args
                count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
                if count > MOST_ARGUMENTS:
                    found.add(f"{name.as_posix()}: {getattr(node, 'name', 'lambda')}")
    assert not found


def test_kernels_outside_their_rooms_call_none_of_another_file():
    """The name of the cache's folder follows the kernels rooms; numba itself sees a change of the file that is cached."""
    with_kernels = {name for name, _, has_kernels in sources() if has_kernels}
    modules_with_kernels = {".".join(["vbpi_mix", *name.with_suffix("").parts]) for name in with_kernels}
    for name in with_kernels:
        if "kernels" not in name.parts:
            assert not imported(ROOT / "vbpi_mix" / name) & modules_with_kernels, name


def test_vectors_have_the_same_functions_with_the_compiler_and_without():
    tree = ast.parse((ROOT / "vbpi_mix" / "kernels" / "simd.py").read_text(encoding="utf-8"))
    (choice,) = (node for node in tree.body if isinstance(node, ast.If))
    plain = {node.name for node in choice.body if isinstance(node, ast.FunctionDef)}
    compiled = {node.name for node in choice.orelse if isinstance(node, ast.FunctionDef) and node.decorator_list}
    assert plain == compiled


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

"""The rooms of the house: who may import whom, read from the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What every room may use, and nothing of which uses a room: words, files, threads, pictures.
GROUND = {
    "vbpi_mix.accelerate", "vbpi_mix.data_files", "vbpi_mix.devices", "vbpi_mix.download", "vbpi_mix.errors",
    "vbpi_mix.files", "vbpi_mix.followers", "vbpi_mix.gradients", "vbpi_mix.kernel_cache", "vbpi_mix.leftovers",
    "vbpi_mix.locks", "vbpi_mix.memory", "vbpi_mix.messages",
    "vbpi_mix.options", "vbpi_mix.parallel", "vbpi_mix.pareto", "vbpi_mix.plotting", "vbpi_mix.sizes",
    "vbpi_mix.threads",
}  # fmt: skip
# Modules that are part of a room though they do not stand in its folder.
FACE_OF_PHYLO = (
    "config", "prior_choices", "parts", "inputs", "problem", "importance", "answers", "results", "fitted", "run", "fit",
    "compare", "export", "model_choice", "simulation", "pages", "replicates", "replicate_fits", "asked",
    "shared_posterior", "follower",
)  # fmt: skip
ROOM_OF = {
    "vbpi_mix.phylo.mixture": "phylo/mixture",
    "vbpi_mix.phylo.draws": "phylo/mixture",
    "vbpi_mix.phylo.kernels": "phylo/mixture",
    "vbpi_mix.phylo.parameters": "phylo/mixture",
    "vbpi_mix.phylo.tables": "phylo/mixture",
    **{
        f"vbpi_mix.phylo.{name}": "phylo/start"
        for name in ("start", "shares", "approximation", "growth", "parameter_start", "part_curvature")
    },
    "vbpi_mix.phylo.learning_rates": "phylo/fit",
    **{f"vbpi_mix.phylo.{name}": "phylo/fit" for name in FACE_OF_PHYLO},
}
# room: the rooms that it may import. A room that is not named in a row is out of its reach.
NEIGHBOURS = {
    "kernels": set(),
    "estimators": set(),
    "evaluation": {"estimators"},
    "training": {"kernels", "estimators"},
    "phylo/trees": set(),
    "phylo/data": {"phylo/trees"},
    "phylo/models": {"kernels", "phylo/trees", "phylo/data"},
    "phylo/sbn": {"kernels", "phylo/trees"},
    "phylo/branches": {"kernels", "phylo/sbn"},
    "phylo/sampling": {"kernels", "phylo/trees", "phylo/data", "phylo/models", "phylo/sbn"},
    "phylo/mixture": {"kernels", "phylo/branches", "phylo/sbn"},
    "phylo/start": {"phylo/trees", "phylo/models", "phylo/sbn", "phylo/branches", "phylo/sampling", "phylo/mixture"},
    "phylo/assess": {"phylo/trees", "phylo/models", "phylo/sbn", "phylo/sampling", "phylo/mixture"},
    "phylo/report": {"estimators", "phylo/trees", "phylo/models", "phylo/sbn", "phylo/mixture", "phylo/assess"},
    "phylo/fit": {
        "estimators", "evaluation", "training", "phylo/trees", "phylo/data", "phylo/models", "phylo/sbn",
        "phylo/branches", "phylo/sampling", "phylo/mixture", "phylo/start", "phylo/assess", "phylo/report",
    },
    "image": {"estimators", "evaluation", "training"},
    "cells": {"estimators", "evaluation", "training", "image"},
    "toy": {"estimators", "evaluation", "training"},
    "cli": {"estimators", "training", "phylo/trees", "phylo/data", "phylo/models", "phylo/sbn", "phylo/sampling",
            "phylo/assess", "phylo/report", "phylo/fit", "image", "cells", "toy"},
}  # fmt: skip

KERNEL_POLICIES = {"kernel", "inner_kernel", "inline_kernel", "parallel_kernel"}
MOST_ARGUMENTS = 10


def name_of(path):
    """The dotted name of a file's module."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "cli":
        parts[0] = "vbpi_mix_cli"
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Names of modules of the project that a file imports, wherever in it; types that only a checker reads count too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return {name for name in found if name.split(".")[0].startswith("vbpi_mix")}


FILES = {name_of(path): path for folder in ("vbpi_mix", "cli") for path in sorted((ROOT / folder).rglob("*.py"))}
GRAPH = {name: imported(path) & set(FILES) for name, path in FILES.items()}


def room_of(module):
    """The room that a module stands in; None for the ground, and for packages that hold rooms and nothing else."""
    if module in GROUND or module in ("vbpi_mix", "vbpi_mix.phylo"):
        return None
    for prefix, room in ROOM_OF.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return room
    first, *rest = module.split(".")
    if first == "vbpi_mix_cli":
        return "cli"
    return f"phylo/{rest[1]}" if rest[0] == "phylo" else rest[0]


def test_every_module_stands_in_a_room_of_the_table():
    assert {room_of(name) for name in FILES} - {None} == set(NEIGHBOURS)


@pytest.mark.parametrize("room", sorted(NEIGHBOURS))
def test_a_room_imports_its_neighbours_only(room):
    for module, names in GRAPH.items():
        if room_of(module) == room:
            for name in names:
                other = room_of(name)
                assert other in NEIGHBOURS[room] | {room, None}, f"{module} imports {name}"


def test_the_ground_rests_on_nothing():
    for module in GROUND & set(FILES):
        assert {room_of(name) for name in GRAPH[module]} <= {None}, module


def test_nothing_imports_the_command_line():
    for folder in ("vbpi_mix", "benchmarks", "data"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not any(name.startswith("vbpi_mix_cli") for name in imported(path)), path


def test_rooms_are_acyclic():
    check_acyclic(NEIGHBOURS)


def test_imports_are_acyclic():
    # A package's own __init__ that re-exports its modules, or offers them lazily, is not a cycle of meaning.
    check_acyclic(
        {name: {other for other in names if not f"{name}.".startswith(f"{other}.")} for name, names in GRAPH.items()}
    )


def check_acyclic(graph):
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)


def test_estimators_use_torch_and_nothing_else_of_weight():
    for path in (ROOT / "vbpi_mix" / "estimators").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & {"numpy", "numba"}, path


def test_domains_do_not_know_the_training_loop():
    """Only what puts a fit together may, and it knows no more than a session."""
    for module, names in GRAPH.items():
        if (room_of(module) or "").startswith(("phylo", "image", "cells", "toy", "estimators")):
            assert "vbpi_mix.training.trainer" not in names, module


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


def is_kernel(node):
    return isinstance(node, ast.FunctionDef) and bool(KERNEL_POLICIES & {ast.unparse(d) for d in node.decorator_list})


def decorators(node):
    return {ast.unparse(each) for each in node.decorator_list} if isinstance(node, ast.FunctionDef) else set()


def test_inner_kernels_are_called_by_kernels_alone():
    """Nothing is compiled that would turn Python's values into their arguments: a call from Python would end the process."""
    inner = {
        node.name: ".".join(["vbpi_mix", *name.with_suffix("").parts])
        for name, tree, _ in sources()
        for node in tree.body
        if is_kernel(node) and decorators(node) & {"inner_kernel", "inline_kernel"}
    }
    assert "edge_moves" in inner
    for folder in ("vbpi_mix", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text if "kernels" in text else "")
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            names = {each.name: node.module for node in imports for each in node.names}
            bare = {name for name, module in inner.items() if module in (names.get(name), name_of(path))}
            bare |= {node.name for node in tree.body if is_kernel(node) and node.name.startswith("_")}
            for node in (each for each in tree.body if not is_kernel(each)):
                used = [each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)]
                called = {each.id for each in used} & bare
                for each in ast.walk(node):
                    if isinstance(each, ast.Attribute) and each.attr in inner:
                        room = ("kernels", inner[each.attr].rpartition(".")[2])
                        called |= {each.attr} if ast.unparse(each.value).endswith(room) else set()
                assert not called, f"{path.relative_to(ROOT)}: {called}"


def returns_views(node):
    """Whether a kernel returns arrays that it was given, or rows of them."""
    values = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
    tuples = [each for each in values if not (isinstance(each, ast.Call) and ast.unparse(each.func).startswith("np."))]
    parts = [part for each in tuples for part in (getattr(each, "args", None) or getattr(each, "elts", []))]
    rows = (part.value if isinstance(part, ast.Subscript) else part for part in parts)
    return any(isinstance(row, ast.Attribute) for row in rows)


def test_kernels_that_do_not_count_who_holds_an_array_keep_none_that_is_new():
    """It would never be given back, and a kernel that counts would give back too early. To make one is numba's error there."""
    kernels = [node for _, tree, _ in sources() for node in tree.body if is_kernel(node)]
    counting = [node for node in kernels if decorators(node) & {"allocates", "parallel_kernel"}]
    others = [node for node in kernels if node not in counting]
    making, lending = {node.name for node in counting}, {node.name for node in others if returns_views(node)}
    assert "aligned" in making
    assert "tree_of" in lending
    for node in kernels:
        alone = {id(each.value) for each in ast.walk(node) if isinstance(each, ast.Expr)}
        calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and id(each) not in alone]
        names = {ast.unparse(each.func) for each in calls}
        assert not names & (lending if node in counting else making), node.name
        if node in others:  # what numba has for these would lend to others what it returns to this one
            assert not {name.rpartition(".")[2] for name in names} & {"reshape", "ravel", "view", "transpose", "flip"}, node.name


def test_vectors_have_the_same_functions_with_the_compiler_and_without():
    tree = ast.parse((ROOT / "vbpi_mix" / "kernels" / "simd.py").read_text(encoding="utf-8"))
    (choice,) = (node for node in tree.body if isinstance(node, ast.If))
    plain = {node.name for node in choice.body if isinstance(node, ast.FunctionDef)}
    compiled = {node.name for node in choice.orelse if isinstance(node, ast.FunctionDef) and node.decorator_list}
    assert plain == compiled


def test_every_documented_command_exists_and_has_a_row():
    from vbpi_mix_cli.main import COMMANDS

    table = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"| `{name}" in table, f"docs/commands.md has no row for {name}"

"""Small faults to put into a module, one at a time: an operator, a comparison, a number or the name of a reduction changed.

What does not compute is left alone: annotations, texts, what is raised or asserted, `strict` of zips, options with their help.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_NAMES = {
    "mean": "sum", "sum": "mean", "min": "max", "max": "min", "any": "all", "all": "any", "argmin": "argmax", "argmax": "argmin",
    "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor", "exp": "expm1", "log": "log1p",
    "std": "var", "sqrt": "square",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A fault. key: where it is and what it does, the same while the code around it is; line: of the module's source."""

    key: str
    line: int
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """All single faults of a module, from the top."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for where, path in _places(tree, "", ()):
        for change in range(_count(_at(tree, path))):
            mutated = copy.deepcopy(tree)
            node = _at(mutated, path)
            before = _shown(node)
            _apply(mutated, path, change)
            key = f"{where or 'module'}: {before} -> {_shown(_at(mutated, path))}"
            seen[key] += 1
            again = f" ({seen[key]})" if seen[key] > 1 else ""
            yield Mutant(key + again, node.lineno, ast.fix_missing_locations(mutated))


def _shown(node: ast.expr) -> str:
    return " ".join(ast.unparse(node).split())


_Path = tuple[tuple[str, int | None], ...]


def _places(node: ast.AST, where: str, path: _Path) -> Iterator[tuple[str, _Path]]:
    """Expressions below a node that can be changed: the function or class each is in, and the way to it."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        for k, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _is_text(child):
                continue
            step = (*path, (name, k if isinstance(value, list) else None))
            inside = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}" if where else child.name
            if isinstance(child, ast.expr) and _count(child):
                yield inside, step
            yield from _places(child, inside, step)


def _is_text(node: ast.AST) -> bool:
    """What does not compute: docstrings, imports, checks, and options with their help."""
    call = node.func if isinstance(node, ast.Call) else None
    return (
        (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or isinstance(node, ast.Import | ast.ImportFrom | ast.Assert)
        or (isinstance(node, ast.keyword) and node.arg == "strict")
        or (isinstance(call, ast.Name) and call.id in ("option", "same_as"))
    )


def _at(tree: ast.AST, path: _Path) -> ast.expr:
    node: ast.AST = tree
    for name, k in path:
        value = getattr(node, name)
        node = value if k is None else value[k]
    assert isinstance(node, ast.expr)
    return node


def _count(node: ast.AST) -> int:
    """In how many ways an expression is changed."""
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return int(type(node.op) in _OPERATORS)
    if isinstance(node, ast.Compare):
        return len(node.ops)
    if isinstance(node, ast.UnaryOp):
        return int(isinstance(node.op, ast.Not | ast.USub | ast.Invert))
    if isinstance(node, ast.Constant):
        return int(isinstance(node.value, bool | int | float))
    if isinstance(node, ast.Call):
        return int(_called(node) in _NAMES)
    return int(isinstance(node, ast.IfExp))


def _called(node: ast.Call) -> str:
    """The name of a function whose other exists where it does."""
    if isinstance(node.func, ast.Attribute):
        of_math = isinstance(node.func.value, ast.Name) and node.func.value.id == "math"
        return "" if of_math and node.func.attr == "sqrt" else node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "any", "all") else ""


def _apply(tree: ast.Module, path: _Path, change: int) -> None:
    node = _at(tree, path)
    new: ast.expr = node
    if isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = _OPERATORS[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.Compare):
        node.ops[change] = _OPERATORS[type(node.ops[change])]()  # type: ignore[call-overload]
    elif isinstance(node, ast.UnaryOp):
        new = node.operand
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
    elif isinstance(node, ast.Constant):
        new = ast.Constant(_other(node.value))
    elif isinstance(node, ast.Call):
        name = _NAMES[_called(node)]
        if isinstance(node.func, ast.Attribute):
            node.func.attr = name
        else:
            node.func = ast.Name(name, ast.Load())
    if new is not node:
        name, k = path[-1]
        parent: ast.AST = tree
        for step, at in path[:-1]:
            value = getattr(parent, step)
            parent = value if at is None else value[at]
        if k is None:
            setattr(parent, name, new)
        else:
            getattr(parent, name)[k] = new


def _other(value: object) -> bool | int | float:
    """Another number: a flag turned, a whole number one more, a real one half as much again."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, float)
    return 1.5 * value if value else 1.0

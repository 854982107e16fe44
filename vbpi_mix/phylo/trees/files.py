"""Files of trees: Newick lists, and NEXUS as MrBayes, BEAST and PAUP* write it; and finding them.

What a file is shows in its content: NEXUS begins with `#NEXUS`, anything else is a list of Newick trees.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.files import read_bytes
from vbpi_mix.phylo.trees.kernels import newick_tokens as kernels
from vbpi_mix.phylo.trees.newick import LabelReader, byte_array, unquote

_TOKEN = re.compile(r"\[[^\]]*\]|'(?:[^']|'')*'|\"[^\"]*\"|,|[^\s,\[]+")
# Families of tree samples in order of preference; each ends the name of the alignment, with or without the
# suffix of its format.
_FAMILIES = (r"\.ufboot", "ufboot folder", r"\.trprobs", r"(\.run\d+)?\.t", r"\.trees", r"\.tre")


@dataclass(frozen=True, eq=False)
class TreeFile:
    """The N trees of one file, in its order.

    source: the path as given; children: int32 [N, n-2, 2], canonical; lengths: float64 [N, E], or None if not
    every tree has them; weights: float64 [N], or None if no tree has one.
    """

    source: str
    children: np.ndarray
    lengths: np.ndarray | None
    weights: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Commands:
    """The commands of a file, all [count]: kinds, weighted uint8; starts, stops int64; weights float64."""

    kinds: np.ndarray
    weighted: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    weights: np.ndarray


def read_tree_file(path: str | os.PathLike[str], taxa: Sequence[str]) -> TreeFile:
    """Read every tree of a file, plain or gzip-compressed.

    taxa: the n names of the alignment, whose order numbers the nodes. Raises TreeError, in one line, if the
    file cannot be read, is no tree file, holds no tree, has a weight that is no finite number of at least 0,
    or holds a tree that is not fully resolved on exactly these taxa.
    """
    path = Path(path)
    text = byte_array(read_bytes(path, "tree file", TreeError))
    commands = _scan(text)
    is_tree = commands.kinds != kernels.OTHER
    others = [text[commands.starts[i] : commands.stops[i]].tobytes() for i in np.flatnonzero(~is_tree)]
    tokens: dict[str, str] = {}
    if text[:200].tobytes().lstrip()[:6].upper() == b"#NEXUS":
        tokens = _nexus_tokens(others, path)
    elif others:
        line = _line(text, int(commands.starts[~is_tree][0]))
        raise TreeError(f"{path}, line {line}: this is no tree; give a list of Newick trees or a NEXUS file")
    if not is_tree.any():
        raise TreeError(f"{path}: the file holds no tree; check that the run that wrote it was finished")
    weights = _weights(text, commands, is_tree, path)
    reader = LabelReader(taxa, tokens)
    parsed = reader.parse(text, commands.starts[is_tree], commands.stops[is_tree], str(path))
    return TreeFile(str(path), parsed.children, parsed.lengths, weights)


def expand_paths(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths and glob patterns (`*`, `?`, `[..]`, `**`) name, each once.

    Files of one pattern are in natural order: rep_2 before rep_10. Raises TreeError if a path or pattern
    names no file.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        name = os.path.expanduser(os.fspath(pattern))
        names = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True), key=_natural)
        if not names:
            kind = "no file matches this pattern" if glob.has_magic(name) else "no such file"
            raise TreeError(f"{pattern}: {kind}; check the path of the tree sample")
        for each in names:
            found.setdefault(os.path.realpath(each), Path(each))
    return list(found.values())


def find_tree_samples(alignment_path: str | os.PathLike[str]) -> list[Path]:
    """Files beside an alignment that are plainly a tree sample of it; an empty list if there are none.

    They are named like the alignment, with or without the suffix of its format, plain or .gz. Only one family
    is taken, the first of: NAME.ufboot; the folder `ufboot` with files *.ufboot; NAME.trprobs; NAME.t and
    NAME.run1.t, NAME.run2.t ...; NAME.trees; NAME.tre. A file that is there both plain and compressed counts
    once.
    """
    alignment = Path(alignment_path)
    bare = alignment.name.removesuffix(".gz")
    stems = "|".join(re.escape(stem) for stem in {bare, Path(bare).stem})
    for family in _FAMILIES:
        folder, name = alignment.parent, rf"({stems}){family}(\.gz)?"
        if family == "ufboot folder":
            folder, name = folder / "ufboot", r".+\.ufboot(\.gz)?"
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        matches = {e.name.removesuffix(".gz"): e for e in reversed(entries) if re.fullmatch(name, e.name)}
        if matches:
            return [matches[key] for key in sorted(matches, key=_natural)]
    return []


def _scan(text: np.ndarray) -> _Commands:
    room = int(np.count_nonzero(text == kernels.SEMICOLON)) + 1
    kinds = np.zeros((2, room), dtype=np.uint8)
    starts, stops = np.empty((2, room), dtype=np.int64)
    weights = np.ones(room)
    count = kernels.scan_commands(text, kinds, starts, stops, weights)
    return _Commands(kinds[0, :count], kinds[1, :count], starts[:count], stops[:count], weights[:count])


def _nexus_tokens(commands: Sequence[bytes], path: Path) -> dict[str, str]:
    """Labels that stand for names: of the TRANSLATE command, or else the numbers of the TAXLABELS.

    Raises TreeError if TRANSLATE is malformed or comes twice and differs.
    """
    translate: dict[str, str] = {}
    numbered: dict[str, str] = {}
    for command in commands:
        word = command[:9].lower()
        if word not in (b"translate", b"taxlabels"):
            continue
        body = command[9:].decode("utf-8", "replace").removesuffix(";")
        tokens = [token for token in _TOKEN.findall(body) if not token.startswith("[")]
        if word == b"taxlabels":
            names = [unquote(token) for token in tokens]
            numbered = {str(k): name for k, name in enumerate(names, start=1) if str(k) not in names}
            continue
        table = _translation(tokens, path)
        if translate not in ({}, table):
            raise TreeError(f"{path}: two TRANSLATE commands that differ; split the file into one for each")
        translate = table
    return translate or numbered


def _translation(tokens: Sequence[str], path: Path) -> dict[str, str]:
    table: dict[str, str] = {}
    entry: list[str] = []
    for token in [*tokens, ","]:
        if token != ",":
            entry.append(token)
            continue
        if entry and (len(entry) != 2 or unquote(entry[0]) in table):
            raise TreeError(f"{path}: TRANSLATE is malformed at {' '.join(entry)!r}; write 'number name,'")
        if entry:
            table[unquote(entry[0])] = unquote(entry[1])
        entry = []
    return table


def _weights(text: np.ndarray, commands: _Commands, is_tree: np.ndarray, path: Path) -> np.ndarray | None:
    """Weights float64 [N] of the trees; where some have one, the others weigh 1, as NEXUS has it."""
    weighted = commands.weighted[is_tree]
    weights = commands.weights[is_tree]
    if not weighted.any():
        return None
    weights[weighted == kernels.NO_WEIGHT] = 1.0
    wrong = (weighted == kernels.BAD_WEIGHT) | ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        tree = int(np.argmax(wrong))
        line = _line(text, int(commands.starts[is_tree][tree]))
        raise TreeError(f"{path}, line {line}, tree {tree + 1}: the weight [&W ..] is no finite number >= 0")
    return weights


def _line(text: np.ndarray, position: int) -> int:
    return 1 + int(np.count_nonzero(text[:position] == ord("\n")))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that orders runs of digits by their value."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

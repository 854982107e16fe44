"""One tree file read: a Newick list, or NEXUS as MrBayes, BEAST and PAUP* write it; its trees, or its taxa.

Which files to read `find` knows; several files as one sample are `sample`. What a file is shows in its content:
NEXUS begins with `#NEXUS`, a table of RevBayes with its header, anything else is a list of Newick trees. What cannot be
read so is given to DendroPy before it is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.files import read_utf8
from vbpi_mix.phylo.trees.by_dendropy import plain_newick
from vbpi_mix.phylo.trees.kernels import newick_tokens as kernels
from vbpi_mix.phylo.trees.newick import (
    Allowed,
    LabelReader,
    ParsedTrees,
    byte_array,
    leaf_labels,
    some_names,
    unquote,
)
from vbpi_mix.phylo.trees.nexus import NEXUS_HEAD, NexusLabels, read_labels
from vbpi_mix.phylo.trees.tables import newick_of_table

_Found = TypeVar("_Found")
# What MrBayes and BEAST call the trees of a chain.
_TRACE = re.compile(rb"tree\s+(?:gen\.|rep\.|STATE_)\d+\s*(?:\[[^\]]*\]\s*)*=\s*(?:\[[^\]]*\]\s*)*$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class TreeFile:
    """The N trees of one file, in its order.

    source: the path as given; children: int32 [N, n-2, 2], canonical; lengths: float64 [N, E], or None if not
    every tree has them; weights: float64 [N], or None if no tree has one. is_trace: whether it is the trace of a Markov chain,
    by how its trees are named. notes: a line each on what a user should know of how the file was read.
    """

    source: str
    children: np.ndarray
    lengths: np.ndarray | None
    weights: np.ndarray | None
    is_trace: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Commands:
    """The commands of a file: its text uint8 [bytes], whether it is NEXUS, and what its commands say of its taxa.

    notes: what was left out of it. All others are [count]: kinds, weighted uint8; starts, stops int64; weights float64.
    """

    text: np.ndarray
    is_nexus: bool
    labels: NexusLabels
    is_trace: bool
    notes: tuple[str, ...]
    kinds: np.ndarray
    weighted: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    weights: np.ndarray

    @property
    def is_tree(self) -> np.ndarray:
        """Which commands are trees, bool [count]."""
        return np.asarray(self.kinds != kernels.OTHER)


def read_tree_file(
    path: str | os.PathLike[str], taxa: Sequence[str], allowed: Allowed | None = None
) -> TreeFile:
    """Read every tree of a file, plain or gzip-compressed. A last tree that is cut short is left out, if it is not the only one.

    taxa: the n names of the alignment, whose order numbers the nodes. allowed: what else than fully resolved trees on exactly
    these taxa may be read; by default nothing. Raises TreeError, in one line, if the file cannot be read, is not a tree file,
    holds no tree, has a weight that is not a finite number of at least 0, or holds a tree that may not be read.
    """
    return _read(Path(path), partial(_trees_of, taxa=taxa, allowed=allowed))


def _trees_of(commands: _Commands, path: Path, taxa: Sequence[str], allowed: Allowed | None) -> TreeFile:
    is_tree = commands.is_tree
    if not commands.is_nexus and not is_tree.all():
        line = _line(commands.text, int(commands.starts[~is_tree][0]))
        raise TreeError(f"{path}, line {line}: this is not a tree; give a list of Newick trees or a NEXUS file")
    if not is_tree.any():
        raise TreeError(f"{path}: the file holds no tree; check that the run that wrote it was finished")
    weights = _weights(commands, path)
    reader = LabelReader(taxa, commands.labels.tokens)
    parsed = reader.parse(commands.text, commands.starts[is_tree], commands.stops[is_tree], str(path), allowed)
    notes = (*commands.notes, *_notes_on(parsed, reader, commands, path))
    return TreeFile(str(path), parsed.children, parsed.lengths, weights, commands.is_trace, notes)


def count_trees(path: str | os.PathLike[str]) -> int:
    """How many trees a file holds. Raises TreeError if it cannot be read, or holds none."""
    return _read(Path(path), _count_of)


def _count_of(commands: _Commands, path: Path) -> int:
    if not commands.is_tree.any():
        raise TreeError(f"{path}: the file holds no tree; check that the run that wrote it was finished")
    return int(commands.is_tree.sum())


def read_tree_taxa(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the taxa of a tree file, plain or gzip-compressed, for when there is no alignment to say them.

    In the order of the TRANSLATE command of a NEXUS file, else of its TAXLABELS, else sorted as they stand in
    the first tree. Raises TreeError if the file cannot be read, its TRANSLATE is malformed, it tells fewer than
    3 taxa, or one twice.
    """
    return _read(Path(path), _taxa_of)


def _taxa_of(commands: _Commands, path: Path) -> tuple[str, ...]:
    taxa = commands.labels.names
    if not taxa and commands.is_tree.any():
        first = int(np.argmax(commands.is_tree))
        tree = commands.text[commands.starts[first] : commands.stops[first]].tobytes().decode("utf-8", "replace")
        taxa = tuple(sorted(unquote(label) for label in leaf_labels(tree)))
    if len(taxa) < 3:
        raise TreeError(f"{path}: its taxa cannot be read; check that it is a tree file, or give --alignment")
    if len(set(taxa)) < len(taxa):
        raise TreeError(f"{path}: a taxon is named twice in its first tree or its list of taxa; correct the file")
    return taxa


def read_tree_texts(path: str | os.PathLike[str]) -> tuple[list[str], dict[str, str]]:
    """The trees of a file as they are written, polytomies or not, and what labels in them stand for.

    Raises TreeError if the file cannot be read.
    """
    return _read(Path(path), _texts_of)


def _texts_of(commands: _Commands, path: Path) -> tuple[list[str], dict[str, str]]:
    if not commands.is_tree.any():
        raise TreeError(f"{path}: the file holds no tree")
    found = zip(commands.starts[commands.is_tree], commands.stops[commands.is_tree], strict=True)
    texts = [commands.text[start:stop].tobytes().decode("utf-8", "replace") for start, stop in found]
    return texts, dict(commands.labels.tokens)


def _read(path: Path, use: Callable[[_Commands, Path], _Found]) -> _Found:
    """What `use` makes of the commands of a file, or else of those of its trees as DendroPy reads them."""
    data = read_utf8(path, "tree file", TreeError)
    try:
        return use(_commands_of(data, path), path)
    except TreeError:
        plain = plain_newick(data)
        if plain is not None:
            # What is refused either way is told in the words, and the lines, of the file itself.
            with suppress(TreeError):
                return use(_commands_of(plain, path), path)
        raise


def _commands_of(data: bytes, path: Path) -> _Commands:
    table = newick_of_table(data)
    text = byte_array(data if table is None else table)
    is_nexus = NEXUS_HEAD.match(data) is not None
    room = int(np.count_nonzero(text == kernels.SEMICOLON)) + 1
    kinds = np.zeros((2, room), dtype=np.uint8)
    starts, stops = np.empty((2, room), dtype=np.int64)
    weights = np.ones(room)
    count = kernels.scan_commands(text, kinds, starts, stops, weights)
    others = {int(i): text[starts[i] : stops[i]].tobytes() for i in np.flatnonzero(kinds[0, :count] == kernels.OTHER)}
    labels = read_labels(others.values() if is_nexus else [], path)
    trees = np.flatnonzero(kinds[0, :count] != kernels.OTHER)
    notes = []
    if trees.size > 1 and trees[-1] == count - 1 and stops[count - 1] > text.size:
        notes.append(f"{path}: its last tree, line {_line(text, int(starts[count - 1]))}, is cut short and left out")
        count -= 1
    elif is_nexus and trees.size and not any(_ends_block(others[i]) for i in others if i > trees[-1]):
        notes.append(f"{path}: its block of trees has no END; the {trees.size:,} trees before the end of the file are used")
    named = text[: starts[trees[0]]].tobytes()[-200:] if is_nexus and trees.size else b""
    return _Commands(
        text, is_nexus, labels, table is not None or bool(_TRACE.search(named)), tuple(notes),
        kinds[0, :count], kinds[1, :count], starts[:count], stops[:count], weights[:count],
    )  # fmt: skip


def _ends_block(command: bytes) -> bool:
    return command.rstrip(b"; \n\t").lower() in (b"end", b"endblock")


def _notes_on(parsed: ParsedTrees, reader: LabelReader, commands: _Commands, path: Path) -> Iterator[str]:
    """What was done so that the trees could be read."""
    if parsed.changed:
        pairs = ", ".join(f"{name!r} is {label!r}" for label, name in list(parsed.changed.items())[:3])
        more = f" and {len(parsed.changed) - 3} more" if len(parsed.changed) > 3 else ""
        yield f"{path}: names that differ in punctuation alone are matched: {pairs}{more} there"
    count = parsed.children.shape[0]
    if parsed.resolved.any():
        yield f"{path}: {parsed.resolved.sum():,} of {count:,} trees have polytomies, which are resolved at random"
    if parsed.pruned.any():
        tree = np.flatnonzero(commands.is_tree)[np.argmax(parsed.pruned)]
        text = commands.text[commands.starts[tree] : commands.stops[tree]].tobytes().decode("utf-8", "replace")
        names = some_names(reader.absent(text))
        yield f"{path}: taxa that the alignment lacks are left out of {parsed.pruned.sum():,} of {count:,} trees: {names}"
    if parsed.raised.any():
        yield f"{path}: {parsed.raised.sum():,} of {count:,} trees have branch lengths just below 0, which are read as 0"


def _weights(commands: _Commands, path: Path) -> np.ndarray | None:
    """Weights float64 [N] of the trees; where some have one, the others weigh 1, as NEXUS has it."""
    is_tree = commands.is_tree
    weighted = commands.weighted[is_tree]
    weights = commands.weights[is_tree]
    if not weighted.any():
        return None
    weights[weighted == kernels.NO_WEIGHT] = 1.0
    wrong = (weighted == kernels.BAD_WEIGHT) | ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        tree = int(np.argmax(wrong))
        line = _line(commands.text, int(commands.starts[is_tree][tree]))
        raise TreeError(f"{path}, line {line}, tree {tree + 1}: the weight [&W ..] is not a finite number >= 0")
    return weights


def _line(text: np.ndarray, position: int) -> int:
    return 1 + int(np.count_nonzero(text[:position] == ord("\n")))

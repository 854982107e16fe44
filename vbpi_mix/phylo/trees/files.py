"""One tree file read: a Newick list, or NEXUS as MrBayes, BEAST and PAUP* write it; its trees, or its taxa.

Which files to read `find` knows; several files as one sample are `sample`. What a file is shows in its content:
NEXUS begins with `#NEXUS`, anything else is a list of Newick trees. What cannot be read so is given to DendroPy before it is
refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from vbpi_mix.errors import TreeError
from vbpi_mix.files import read_bytes
from vbpi_mix.phylo.trees.by_dendropy import plain_newick
from vbpi_mix.phylo.trees.kernels import newick_tokens as kernels
from vbpi_mix.phylo.trees.newick import LabelReader, byte_array, leaf_labels, unquote
from vbpi_mix.phylo.trees.nexus import NEXUS_HEAD, NexusLabels, read_labels

_Found = TypeVar("_Found")


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
    """The commands of a file: its text uint8 [bytes], whether it is NEXUS, and what its commands say of its taxa.

    All others are [count]: kinds, weighted uint8; starts, stops int64; weights float64.
    """

    text: np.ndarray
    is_nexus: bool
    labels: NexusLabels
    kinds: np.ndarray
    weighted: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    weights: np.ndarray

    @property
    def is_tree(self) -> np.ndarray:
        """Which commands are trees, bool [count]."""
        return np.asarray(self.kinds != kernels.OTHER)


def read_tree_file(path: str | os.PathLike[str], taxa: Sequence[str]) -> TreeFile:
    """Read every tree of a file, plain or gzip-compressed.

    taxa: the n names of the alignment, whose order numbers the nodes. Raises TreeError, in one line, if the
    file cannot be read, is not a tree file, holds no tree, has a weight that is not a finite number of at least 0,
    or holds a tree that is not fully resolved on exactly these taxa.
    """
    return _read(Path(path), partial(_trees_of, taxa=taxa))


def _trees_of(commands: _Commands, path: Path, taxa: Sequence[str]) -> TreeFile:
    is_tree = commands.is_tree
    if not commands.is_nexus and not is_tree.all():
        line = _line(commands.text, int(commands.starts[~is_tree][0]))
        raise TreeError(f"{path}, line {line}: this is not a tree; give a list of Newick trees or a NEXUS file")
    if not is_tree.any():
        raise TreeError(f"{path}: the file holds no tree; check that the run that wrote it was finished")
    weights = _weights(commands, path)
    reader = LabelReader(taxa, commands.labels.tokens)
    parsed = reader.parse(commands.text, commands.starts[is_tree], commands.stops[is_tree], str(path))
    return TreeFile(str(path), parsed.children, parsed.lengths, weights)


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
    data = read_bytes(path, "tree file", TreeError)
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
    text = byte_array(data)
    is_nexus = NEXUS_HEAD.match(data) is not None
    room = int(np.count_nonzero(text == kernels.SEMICOLON)) + 1
    kinds = np.zeros((2, room), dtype=np.uint8)
    starts, stops = np.empty((2, room), dtype=np.int64)
    weights = np.ones(room)
    count = kernels.scan_commands(text, kinds, starts, stops, weights)
    others = [text[starts[i] : stops[i]].tobytes() for i in np.flatnonzero(kinds[0, :count] == kernels.OTHER)]
    labels = read_labels(others if is_nexus else [], path)
    return _Commands(
        text, is_nexus, labels, kinds[0, :count], kinds[1, :count], starts[:count], stops[:count], weights[:count]
    )


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

"""A tree drawn: branches as long as their means, the taxa in rows, the probability of each split at its node.

`draw_tree` draws it as SVG, `draw_on` on any canvas of the same few strokes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.svg import FAINT, INK, Picture, ticks

WIDTH = 960.0
# Of a tree with more taxa than this rows are low, and nodes of probability 1 have a dot alone.
MANY_TAXA = 60
LONGEST_NAME = 40
UNIT = "substitutions per site"
CERTAIN = 0.995
# Where each colour of a node begins.
GRADES = ((0.95, INK), (0.75, "#56b4e9"), (0.0, "#e69f00"))
_LETTER = 0.58
# Width of a number at a node, in pixels.
_NUMBER = 23.0
_MARGIN = 12.0


class Canvas(Protocol):
    """What a tree is drawn with, in pixels, y downwards; `svg.Picture` is one."""

    def line(self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.0) -> None:
        """Points joined by straight lines."""

    def dot(self, x: float, y: float, radius: float, colour: str, title: str = "") -> None:
        """A disc; title: shown when it is pointed at, if that can be."""

    def text(
        self, x: float, y: float, words: str, size: float = 12, anchor: str = "start", colour: str = INK, title: str = "",
        halo: bool = False,
    ) -> None:  # fmt: skip
        """Words from, around or up to x on the base line y; halo: white around the letters."""


_Canvas = TypeVar("_Canvas", bound=Canvas)


@dataclass
class _Placed:
    """A clade at its place, in pixels."""

    clade: ConsensusClade
    left: float
    right: float
    y: float
    below: list[_Placed]


def draw_tree(tree: Consensus) -> str:
    """The markup of a tree as SVG."""
    return draw_on(tree, Picture).markup()


def draw_on(tree: Consensus, canvas: Callable[[float, float, str], _Canvas]) -> _Canvas:
    """A tree on the canvas of a width, height and label, rooted where its clades join; the smaller of two clades is above."""
    n_taxa = sum(map(_size, tree.clades))
    row, font = (20.0, 13.0) if n_taxa <= MANY_TAXA else (15.0, 11.5)
    deepest = max(map(_depth, tree.clades)) or 1.0
    names = max(min(len(name), LONGEST_NAME) for clade in tree.clades for name in _names(clade))
    space = WIDTH - 2 * _MARGIN - 10 - _LETTER * font * names
    scale = space / deepest
    rows = [0]

    def place(clade: ConsensusClade, left: float) -> _Placed:
        right = left + _length(clade) * scale
        below = [place(inner, right) for inner in sorted(clade.clades, key=_size)]
        if not below:
            rows[0] += 1
            return _Placed(clade, left, right, _MARGIN + row * (rows[0] - 0.5), [])
        return _Placed(clade, left, right, 0.5 * (below[0].y + below[-1].y), below)

    top = [place(clade, _MARGIN) for clade in sorted(tree.clades, key=_size)]
    height = 2 * _MARGIN + row * n_taxa + 30
    picture = canvas(WIDTH, height, f"Consensus tree of {n_taxa} taxa with the probability of each split")
    picture.line([(_MARGIN, top[0].y), (_MARGIN, top[-1].y)], width=1.4)
    labels: list[tuple[float, float, float]] = []
    for placed in top:
        _draw(picture, placed, font, labels)
    if twice_at_root(tree):
        labels.remove((top[0].right, top[0].y, top[0].clade.frequency))
    for x, y, frequency in labels:
        picture.dot(x, y, 3.0, next(shade for least, shade in GRADES if frequency >= least), f"{frequency:.4g}")
    _write_numbers(picture, labels, n_taxa > MANY_TAXA)
    _draw_scale(picture, scale, scale_length(deepest), height - _MARGIN - 8)
    return picture


def _draw(picture: Canvas, placed: _Placed, font: float, labels: list[tuple[float, float, float]]) -> None:
    picture.line([(placed.left, placed.y), (placed.right, placed.y)], width=1.4)
    if not placed.below:
        name = placed.clade.name
        shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        picture.text(placed.right + 5, placed.y + 0.35 * font, shown, font, title=name if shown != name else "")
        return
    picture.line([(placed.right, placed.below[0].y), (placed.right, placed.below[-1].y)], width=1.4)
    labels.append((placed.right, placed.y, placed.clade.frequency))
    for inner in placed.below:
        _draw(picture, inner, font, labels)


def _write_numbers(picture: Canvas, labels: list[tuple[float, float, float]], sparing: bool) -> None:
    """Left of the nodes, above the branch, or below it where another number stands there. What is certain comes last and is left
    out where there is no room."""
    taken: list[tuple[float, float]] = []
    for right, y, frequency in sorted(labels, key=lambda label: label[2] >= CERTAIN):
        certain, x = frequency >= CERTAIN, right - 5
        free = [low for low in (y - 4, y + 12) if all(abs(x - a) > _NUMBER or abs(low - b) > 9 for a, b in taken)]
        if certain and (sparing or not free):
            continue
        taken.append((x, free[0] if free else y - 4))
        picture.text(*taken[-1], "1" if certain else f"{frequency:.2f}", 10.5, "end", FAINT if certain else INK, halo=True)


def _draw_scale(picture: Canvas, scale: float, length: float, y: float) -> None:
    picture.line([(_MARGIN, y), (_MARGIN + length * scale, y)], width=2)
    picture.text(_MARGIN + length * scale + 8, y + 4, f"{length:g} {UNIT}", 11)


def scale_length(depth: float) -> float:
    """Of the bar beside a tree of this depth: a round number of substitutions per site, about a fifth of it."""
    found = ticks(0.0, depth, 5)
    return found[1] if len(found) > 1 else depth


def twice_at_root(tree: Consensus) -> bool:
    """Whether the probability of one split, that of the edge with the root, is known of two clades."""
    return len(tree.clades) == 2 and all(clade.clades for clade in tree.clades)


def _size(clade: ConsensusClade) -> int:
    return sum(map(_size, clade.clades)) if clade.clades else 1


def _length(clade: ConsensusClade) -> float:
    """Of a branch whose length is not known, none."""
    return max(clade.length, 0.0) if math.isfinite(clade.length) else 0.0


def _depth(clade: ConsensusClade) -> float:
    return _length(clade) + max(map(_depth, clade.clades), default=0.0)


def _names(clade: ConsensusClade) -> list[str]:
    return [name for inner in clade.clades for name in _names(inner)] if clade.clades else [clade.name]

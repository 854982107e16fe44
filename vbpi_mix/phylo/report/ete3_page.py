"""A consensus tree drawn by ETE 3, in a process of its own: `python -m` this module with the file's name; the tree as JSON on
its standard input.

Huerta-Cepas, Serra and Bork (2016), "ETE 3: reconstruction, analysis, and visualization of phylogenomic data".
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.report.tree_figure import CERTAIN, LONGEST_NAME, MANY_TAXA, UNIT, WIDTH, scale_length, twice_at_root

# Of the branches, in pixels; names stand beside them.
_BRANCHES = 640
_NAME_SIZE, _SUPPORT_SIZE = 10, 7
_MARGIN = 10


def consensus_of(plain: Mapping[str, Any]) -> Consensus:
    """The tree of which `plain` are the fields, as `dataclasses.asdict` gives them."""

    def clades(listed: Sequence[Mapping[str, Any]]) -> tuple[ConsensusClade, ...]:
        return tuple(ConsensusClade(each["name"], each["frequency"], each["length"], clades(each["clades"])) for each in listed)

    return Consensus(clades(plain["clades"]))


def draw(tree: Consensus, path: str) -> None:
    """Write the picture; the ending of the path is its format. ConfigError if ETE 3 does not import."""
    top = tree.to_ete3()
    from ete3 import NodeStyle, TextFace

    plain = NodeStyle(size=0, vt_line_width=1, hz_line_width=1)
    many = len(top) > MANY_TAXA
    said_at_root = top.children[1] if twice_at_root(tree) else None
    top.ladderize()
    for node in top.traverse():
        node.set_style(plain)
        # The length of a branch may be unknown.
        node.dist = max(node.dist, 0.0) if math.isfinite(node.dist) else 0.0
        if node.is_leaf():
            shown = node.name if len(node.name) <= LONGEST_NAME else f"{node.name[: LONGEST_NAME - 1]}…"
            node.add_face(TextFace(f" {shown}", fsize=_NAME_SIZE), column=0, position="branch-right")
        elif node.up and node is not said_at_root and not (many and node.support >= CERTAIN):
            words = "1" if node.support >= CERTAIN else f"{node.support:.2f}"
            # Floating words make no room for themselves, so that branches are as long as they should be.
            face = TextFace(words, fsize=_SUPPORT_SIZE)
            # Above the branch.
            face.margin_bottom, face.margin_right = 2 * _SUPPORT_SIZE, 2
            node.add_face(face, column=0, position="float")
    top.dist = 0.0
    depth = max(top.get_distance(leaf) for leaf in top.iter_leaves()) or 1.0
    resolution = {"dpi": 192} if path.endswith(".png") else {}
    top.render(path, tree_style=_style(depth), w=2 * WIDTH if resolution else WIDTH, units="px", **resolution)


def _style(depth: float) -> Any:
    """Of the page: branches to scale, with a bar below. ETE 3's own bar leaves as much room below it as it is long."""
    from ete3 import RectFace, TextFace, TreeStyle

    style = TreeStyle()
    style.show_leaf_name = style.show_scale = False
    style.draw_guiding_lines = style.complete_branch_lines_when_necessary = False
    style.scale = _BRANCHES / depth
    style.margin_left = style.margin_right = style.margin_top = style.margin_bottom = _MARGIN
    length = scale_length(depth)
    bar, words = RectFace(length * style.scale, 2, "black", "black"), TextFace(f" {length:g} {UNIT}", fsize=_SUPPORT_SIZE + 1)
    bar.margin_left = bar.margin_top = words.margin_top = words.margin_bottom = _MARGIN
    bar.vt_align = 1
    style.legend_position = 3
    style.legend.add_face(bar, column=0)
    style.legend.add_face(words, column=1)
    return style


if __name__ == "__main__":
    draw(consensus_of(json.load(sys.stdin)), sys.argv[1])

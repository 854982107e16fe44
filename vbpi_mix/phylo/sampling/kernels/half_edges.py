"""The half-edges of an unrooted tree, and places on them.

Layout
    nodes        0 ... n-1 taxa, n ... 2n-3 internal, in no order
    half-edges   internal node v has 3(v-n), 3(v-n)+1, 3(v-n)+2; taxon k has 3(n-2)+k. twin int64 [H] is the
                 other half of the edge, length float64 [H] its length (the same on both halves), H = 4n-6; barred
                 uint8 [H] whether the edge has a split that every topology must have
"""

from __future__ import annotations

from typing import NamedTuple

from vbpi_mix.accelerate import inline_kernel, inner_kernel

# What a message is sent for: to be kept for the focus, as the stem of a graft, and to begin a descent along which it is tried.
FOCUS, STEM, DESCENT = 0, 1, 2
# Of rows: only those of the arrangement there is.
ALONE = -1


class Graft(NamedTuple):
    """A place to join a stem: on the edge of half-edge `port`, t_upper away from port's node y and t_lower from the other.

    sister: the half-edge of y that is neither port nor towards the place that the stem left; t_y: length of the latter.
    """

    port: int
    sister: int
    t_y: float
    t_upper: float
    t_lower: float


@inline_kernel
def node_of(h, n):
    """The node at which a half-edge is."""
    return n + h // 3 if h < 3 * (n - 2) else h - 3 * (n - 2)


@inline_kernel
def next_port(h):
    """The next half-edge around an internal node."""
    return h + 1 if h % 3 < 2 else h - 2


@inner_kernel
def link(h, g, t, tree):
    """Make two half-edges one edge of length t."""
    tree.twin[h], tree.twin[g] = g, h
    tree.length[h] = tree.length[g] = t


@inner_kernel
def mark(h, g, barred, tree):
    """Say whether the edge of two half-edges is barred."""
    tree.barred[h] = tree.barred[g] = barred

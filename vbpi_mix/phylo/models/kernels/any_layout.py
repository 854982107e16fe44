"""Arrays of the kernels of any number of states (any_states.py).

Layouts (flat arrays, blocks of B = BLOCK patterns; `width` and `rows` are the number of states S filled up to whole
vectors and to a multiple of four, lanes along states, so that products with P are those of small dense matrices; K
distinct state sets, in `message` of the part that has most; C categories; offsets are unsigned):

    codes        uint32  [blocks, n, B]         which of its part's distinct sets each taxon has
    sets         float64 [K, width]             0/1: the states of each set, those of each part of the data one after the other
    common       float64 [blocks * B, width]    0/1: states that every taxon may have
    weights      float64 [blocks * B]           pattern weights, zero in the padding
    ascertained  float64 [blocks * B]           1 for the constant patterns that +ASC adds at the end, else 0
    message      float64, three parts in one array, so that a child is an offset, whatever it is:
                   [C, n-2, B, width]           of an internal node: what it sends up its edge, P l; on the way down
                                                overwritten by what the rest of the tree sends to it, over frequencies
                   [C, n, K, width]             P times each set, for the edge above each taxon
                   [C, n, K, width]             sum of u over the patterns in which a taxon has the set: its
                                                cross-products are those of the sets with this
    scale        float64 [C, n-2, B]            the power of two by which a rescaled node's partials were multiplied
    exponent     float64 [C, B]                 of the power of two that was taken out of a category's likelihood
    cross        float64 [C, 2n-2, rows, width] sum of l_j u_i, row j, of the edge above each internal node (spectra.py)

A category is pruned by itself, and of a block only as many patterns are worked on as it has, as in four_layout.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vbpi_mix.accelerate import inline_kernel
from vbpi_mix.phylo.models.kernels import spectra

BLOCK = 32
# Powers of two beyond these are taken as if at the limit.
_SMALLEST, _LARGEST = -1022, 1023


class Tree(NamedTuple):
    """children [n-2, 2]; transitions (spectra.py) of the edge above each node; which nodes are rescaled; where the sets of
    the part begin, and how many those are; of the model: its shape, frequencies [width], weights of the categories [C], share
    of invariant sites.
    """

    children: np.ndarray
    transitions: np.ndarray
    rescaled: np.ndarray
    sets_at: np.uint64
    sets: np.uint64
    shape: spectra.Shape
    frequencies: np.ndarray
    weights: np.ndarray
    invariant: float


class Block(NamedTuple):
    """One block of patterns: its number and its size: how many patterns it has, filled up to a multiple of four."""

    number: np.uint64
    size: np.uint64


class Memory(NamedTuple):
    """What one thread works on (head of this file).

    taxa, above: where the second and third part of message begin; taxon: size of one taxon's; places uint64 [n+1, B]: where
    in a node's part of message the patterns of the block are; likelihood [C, B]: of a category, in the pattern's own
    scale; below, down [B, width]: the partials of a node, and what comes down to it; sums: of the logarithms, of constant
    patterns' likelihoods, of the slope of invariant sites; frequencies [width], weights [C]: of their slopes.
    """

    n: np.uint64
    taxa: np.uint64
    above: np.uint64
    taxon: np.uint64
    places: np.ndarray
    message: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    likelihood: np.ndarray
    cross: np.ndarray
    below: np.ndarray
    down: np.ndarray
    sums: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray


@inline_kernel
def power_of_two(exponent):
    """2 ** exponent, a whole number."""
    return math.ldexp(1.0, min(max(int(exponent), _SMALLEST), _LARGEST))

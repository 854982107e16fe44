"""The arrays that kernels of chains work on: JC69's, and those of any model held at its parameters.

Layouts: heads of kernels/partials.py and kernels/model_partials.py. `count` chains; E = 2n-3 edges, H = 2E half-edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.models.held import HeldPart
from vbpi_mix.phylo.models.likelihood import PackedPatterns, aligned
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sampling.kernels.model_layout import HeldData, HeldTree, HeldWork, Part
from vbpi_mix.phylo.sampling.kernels.partials import Tree, Work
from vbpi_mix.sizes import check_memory

# With exponents below this, what sites that may change add to the likelihood of those that may not is nothing.
_LEAST_EXPONENT = -1000.0
_DOUBLE = np.dtype(np.float64)


def jukes_cantor_memory(count: int, patterns: PackedPatterns) -> tuple[Tree, Work]:
    """Trees and work of chains under JC69."""
    n, width = patterns.n_taxa, patterns.weights.size
    trees = Tree(
        **_half_edges(count, n),
        partial=aligned((count, 4 * (n - 2) * width), _DOUBLE),
        log_scale=np.zeros((count, 2 * n - 2)),
    )
    work = Work(
        rows=aligned((count, 4 * width), _DOUBLE),
        down=aligned(trees.partial.shape, _DOUBLE),
        down_scale=np.empty((count, 2 * n - 2)),
        stem=aligned((count, 4 * width), _DOUBLE),
        **_lists(count, n),
    )
    return trees, work


def held_memory(count: int, data: HeldData) -> tuple[HeldTree, HeldWork]:
    """Trees and work of chains under a model with its parameters held."""
    n, patterns = data.n_taxa, data.weights.size
    block = max(int(row[0] * row[1]) for row in data.parts) * LANES
    trees = HeldTree(
        **_half_edges(count, n),
        message=aligned((count, (3 * n - 3) * data.width), _DOUBLE),
        exponent=aligned((count, (3 * n - 3) * patterns), _DOUBLE),
        matrix=np.zeros((count, (4 * n - 4) * data.squares)),
        matrix_length=np.full((count, 4 * n - 6), -1.0),
        scratch=aligned((count, 4 * block), _DOUBLE),
    )
    work = HeldWork(
        rows=aligned((count, 2 * data.width), _DOUBLE),
        row_exponent=aligned((count, patterns), _DOUBLE),
        decay=np.empty((count, data.speeds.size)),
        **_lists(count, n),
    )
    return trees, work


def check_chains(count: int, target: Posterior) -> None:
    """ConfigError, with the estimate, if `count` chains are more than the memory; the model's parameters may be held or not."""
    n = target.n_taxa
    if target.characters is not None:
        shapes = [
            (part.patterns, part.model.spec.n_states, part.model.spec.categories, part.model.spec.ascertainment)
            for part in target.characters.parts
        ]
    else:
        shapes = [
            (part.patterns, part.rates.values.shape[1], part.rates.rates.shape[1], part.ascertainment)
            for part in target.held_parts
        ]
    if shapes:
        blocks = [-(-each.weights.size // LANES) - (-states // LANES if more else 0) for each, states, _, more in shapes]
        patterns = LANES * sum(blocks)
        width = LANES * sum(k * states * categories for k, (_, states, categories, _) in zip(blocks, shapes, strict=True))
        doubles = 3 * n * (width + patterns)
    else:
        patterns = sum(each.weights.size for each in target.site_patterns)
        doubles = 8 * n * patterns
    what = f"{count} chains of {n:,} taxa and {patterns:,} different sites, to sample trees"
    check_memory(count * doubles * _DOUBLE.itemsize, what)


def _half_edges(count: int, n_taxa: int) -> dict[str, np.ndarray]:
    shape = count, 4 * n_taxa - 6
    return {"twin": np.empty(shape, np.int64), "length": np.empty(shape), "barred": np.zeros(shape, np.uint8)}


def _lists(count: int, n_taxa: int) -> dict[str, np.ndarray]:
    half_edges, places = (count, 4 * n_taxa - 6), (count, 2 * n_taxa)
    return {
        "stack": np.empty(half_edges, np.int64),
        "up": np.empty(half_edges, np.int64),
        "places": np.empty(places, np.int64),
        "positions": np.empty(places),
        "values": np.empty(places),
        "log_weights": np.empty(places),
    }


class _Packed:
    """One part: its patterns in whole blocks, taxa as 0/1 partials [n, blocks, S, LANES]; the constant ones follow."""

    def __init__(self, part: HeldPart) -> None:
        rates = part.rates
        self.states, self.categories = rates.values.shape[1], rates.rates.shape[1]
        taxa, weights = _taxa(part.patterns.states, self.states), part.patterns.weights
        self.sites = float(weights.sum())
        self.tips, self.weights = _padded(taxa, weights)
        self.constant_from = self.blocks = self.weights.size // LANES
        self.constant = np.zeros(self.weights.size)
        if part.ascertainment:
            every = np.broadcast_to(np.eye(self.states), (taxa.shape[0], self.states, self.states))
            more, constant = _padded(every, np.ones(self.states))
            self.tips = np.concatenate([self.tips, more], axis=1)
            self.weights, self.constant = np.append(self.weights, 0.0 * constant), np.append(self.constant, constant)
            self.blocks = self.weights.size // LANES
        frequencies, self.invariant_share = rates.frequencies[0], float(rates.invariant[0])
        # States that all taxa may have, [blocks, S, LANES].
        shared = self.tips.min(axis=0)
        self.invariant = self.invariant_share * np.einsum("bsl,s->bl", shared, frequencies).ravel()
        self.floor = np.where(self.invariant > 0, _LEAST_EXPONENT, -np.inf)
        self.vectors, self.inverse = rates.vectors[0], rates.inverse[0]
        self.speeds = rates.rates[0][:, None] * rates.values[0]
        self.joint = rates.weights[0][:, None] * frequencies
        self.right = np.repeat(rates.inverse, self.categories, axis=0)
        self.left = rates.weights[0][:, None, None] * (self.vectors.T * frequencies)


def _taxa(states: np.ndarray, n_states: int) -> np.ndarray:
    """0/1 partials [n, P, S] of sets of states [n, P]."""
    kind = states.dtype.type
    bits: np.ndarray = (states[:, :, None] >> np.arange(n_states).astype(kind)) & kind(1)
    return bits.astype(np.float64)


def _padded(taxa: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0/1 partials as [n, blocks, S, LANES], and weights [blocks * LANES]; padded with missing data of weight 0."""
    n, patterns, states = taxa.shape
    blocks = -(-patterns // LANES)
    filled = np.ones((n, blocks * LANES, states))
    filled[:, :patterns] = taxa
    more = np.zeros(blocks * LANES)
    more[:patterns] = weights
    return filled.reshape(n, blocks, LANES, states).transpose(0, 1, 3, 2), more


def pack_held(parts: Sequence[HeldPart]) -> HeldData:
    """Patterns and models of all parts, as the kernels take them."""
    packed = [_Packed(part) for part in parts]
    rows, at = [], dict.fromkeys(("first", "at", "tips_at", "square_at", "squares_at", "speeds_at"), 0)
    for each in packed:
        fields = Part(
            states=each.states, categories=each.categories, blocks=each.blocks,
            invariant=int(each.invariant_share > 0), constant_from=each.constant_from, **at,
        )  # fmt: skip
        rows.append(tuple(fields))
        sizes = {
            "first": each.blocks, "at": each.blocks * each.speeds.size * LANES, "tips_at": each.tips.size,
            "square_at": each.vectors.size, "squares_at": each.left.size, "speeds_at": each.speeds.size,
        }  # fmt: skip
        at = {name: value + sizes[name] for name, value in at.items()}
    return HeldData(
        n_taxa=parts[0].patterns.states.shape[0],
        width=at["at"],
        squares=at["squares_at"],
        parts=np.array(rows, np.int64),
        sites=np.array([each.sites for each in packed]),
        **{
            name: _joined(packed, name)
            for name in (
                "tips", "weights", "constant", "invariant", "floor", "vectors", "inverse", "speeds", "joint", "left",
                "right",
            )
        },
    )  # fmt: skip


def _joined(packed: Sequence[Any], name: str) -> np.ndarray:
    """An array of all parts, one after the other, flat."""
    values = np.concatenate([np.ravel(getattr(each, name)) for each in packed])
    room = aligned(values.shape, _DOUBLE)
    room[:] = values
    return room

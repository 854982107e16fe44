"""Log-likelihoods of trees under any reversible model of 2 to 64 states, and their gradients, by kernels.

Four states have kernels of their own (kernels/four_states.py), and others on a CUDA device (gpu/likelihood.py); all others
share one (kernels/any_states.py). Each is imported, and compiled, when a likelihood of its kind is asked for.

Shapes: T trees, n taxa, E = 2n-3 edges; S states, C rate categories, P patterns, M parameter vectors; G parts of the data
that are packed together, R = T G rows: part g under tree t is row t G + g.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numba
import numpy as np

from vbpi_mix.errors import AlignmentError
from vbpi_mix.kernels.simd import LANES
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.device import check_device
from vbpi_mix.phylo.models.rates import Rates, RateSlopes

if TYPE_CHECKING:
    from vbpi_mix.phylo.models.gpu.likelihood import DevicePatterns
    from vbpi_mix.phylo.models.kernels import any_states, four_states

    PackedPatterns = four_states.PackedPatterns | any_states.PackedPatterns | DevicePatterns

LARGEST_ALPHABET = 64


def pack(
    patterns: SitePatterns, ascertainment: bool = False, n_states: int | None = None, device: str = "cpu"
) -> PackedPatterns:
    """Arrange states [n, P] and weights [P] for the kernels.

    ascertainment: only variable sites were recorded (+ASC, Lewis 2001); the constant patterns join the data with weight
    0. n_states: by default that of the patterns' alphabet. device: where likelihoods are computed (device.DEVICES), which is the
    processor for other numbers of states than four. Raises AlignmentError for constant patterns under +ASC, ConfigError for a
    device that is not there.
    """
    states = n_states or _states_of(patterns)
    sets = patterns.states.astype(np.uint64)
    common = np.bitwise_and.reduce(sets, axis=0)
    if ascertainment and (common != 0).any():
        raise AlignmentError(
            f"{int(patterns.weights[common != 0].sum())} sites in {np.count_nonzero(common)} patterns may be constant, "
            "which the correction for ascertainment (+ASC) rules out: leave them out of the alignment, or +ASC out of the model"
        )
    if states == 4 and check_device(device) == "cuda":
        from vbpi_mix.phylo.models.gpu.likelihood import pack as send

        return send(sets.astype(np.uint8), patterns.weights, ascertainment)
    if states == 4:
        return _pack_four(sets, patterns.weights, ascertainment)
    return _pack_any(sets, patterns.weights, ascertainment, states)


def _states_of(patterns: SitePatterns) -> int:
    """Number of states of the alphabet; patterns without one are of nucleotides."""
    alphabet: Any = getattr(patterns, "alphabet", None)
    return 4 if alphabet is None else int(alphabet.n_states)


def _in_blocks(
    sets: np.ndarray, weights: np.ndarray, constant: int, block: int, missing: int
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whole blocks of patterns, padded with missing data of weight 0; `constant` patterns follow in blocks of their own.

    Returns the number of blocks of data, how many patterns each block holds, sets [n, P'], weights [P'] and 1 for the
    constant patterns, else 0, [P'].
    """
    n, count = sets.shape
    blocks, more = -(-count // block), -(-constant // block)
    first, size = blocks * block, (blocks + more) * block
    filled = np.full((n, size), missing, np.uint64)
    filled[:, :count] = sets
    filled[:, first : first + constant] = np.uint64(1) << np.arange(constant, dtype=np.uint64)
    weighted, ascertained = np.zeros(size), np.zeros(size)
    weighted[:count] = weights
    ascertained[first : first + constant] = 1.0
    held = [min(block, total - k * block) for total, its in ((count, blocks), (constant, more)) for k in range(its)]
    return blocks, np.array(held, np.int64), filled, weighted, ascertained


def _whole(counts: np.ndarray, unit: int) -> np.ndarray:
    """How many units it takes to hold each count."""
    return np.asarray(-(-counts // unit)).astype(np.uint64)


def _pack_four(sets: np.ndarray, weights: np.ndarray, ascertainment: bool) -> four_states.PackedPatterns:
    from vbpi_mix.phylo.models.kernels import four_states as kernels

    blocks, filled, sets, weighted, ascertained = _in_blocks(sets, weights, 4 * ascertainment, kernels.BLOCK, 15)
    codes = sets.reshape(sets.shape[0], -1, kernels.BLOCK).transpose(1, 0, 2).astype(np.uint8)
    return kernels.PackedPatterns(
        n_taxa=sets.shape[0],
        starts=np.array([[0, blocks, filled.size]]),
        sites=np.array([weights.sum()]),
        vectors=_whole(filled, LANES),
        codes=np.ascontiguousarray(codes).ravel(),
        common=np.bitwise_and.reduce(sets, axis=0).astype(np.uint8),
        weights=weighted,
        ascertained=ascertained,
    )


def _pack_any(sets: np.ndarray, weights: np.ndarray, ascertainment: bool, states: int) -> any_states.PackedPatterns:
    from vbpi_mix.phylo.models.kernels import any_states as kernels

    if not 2 <= states <= LARGEST_ALPHABET:
        raise AlignmentError(f"an alphabet of {states} states: the likelihood takes 2 to {LARGEST_ALPHABET}")
    missing = (1 << states) - 1
    blocks, filled, sets, weighted, ascertained = _in_blocks(
        sets, weights, states * ascertainment, kernels.BLOCK, missing
    )
    distinct, codes = np.unique(sets, return_inverse=True)
    width = -(-states // LANES) * LANES
    codes = codes.reshape(sets.shape[0], -1, kernels.BLOCK).transpose(1, 0, 2)
    return kernels.PackedPatterns(
        n_taxa=sets.shape[0],
        states=states,
        starts=np.array([[0, blocks, filled.size]]),
        sites=np.array([weights.sum()]),
        counts=4 * _whole(filled, 4),
        sets_at=np.array([0, distinct.size * width]),
        codes=np.ascontiguousarray(codes, np.uint32).ravel(),
        sets=_indicators(distinct, states, width).ravel(),
        common=_indicators(np.bitwise_and.reduce(sets, axis=0), states, width).ravel(),
        weights=weighted,
        ascertained=ascertained,
    )


def join(packed: Sequence[PackedPatterns]) -> PackedPatterns:
    """Parts with as many taxa and states, each packed by itself, as one that a single call evaluates."""
    if hasattr(packed[0], "on_device"):
        from vbpi_mix.phylo.models.gpu.likelihood import join as join_on_device

        return join_on_device(cast("Sequence[DevicePatterns]", packed))
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in packed])
        for name in packed[0]._fields
        if name not in {"n_taxa", "states", "starts", "sets_at"}
    }
    starts = [one.starts + at for one, at in zip(packed, _ends(packed, "starts"), strict=False)]  # type: ignore[union-attr]
    arrays["starts"] = np.concatenate(starts)
    if hasattr(packed[0], "sets_at"):
        ends = _ends(packed, "sets_at")
        arrays["sets_at"] = np.concatenate(
            [ends[:1], *(one.sets_at[1:] + at for one, at in zip(packed, ends, strict=False))]  # type: ignore[union-attr]
        )
    return packed[0]._replace(**arrays)


def _ends(packed: Sequence[PackedPatterns], name: str) -> np.ndarray:
    """Where each begins that is put after those before it, and the last one ends, of numbers that grow up to an end."""
    return np.cumsum([0, *(getattr(one, name).max() for one in packed)])


def _indicators(sets: np.ndarray, states: int, width: int) -> np.ndarray:
    """0/1 float64 [K, width] of K sets: which states are in each."""
    found = np.zeros((sets.size, width))
    found[:, :states] = (sets[:, None] >> np.arange(states, dtype=np.uint64)) & np.uint64(1)
    return found


def log_likelihoods(
    children: np.ndarray, lengths: np.ndarray, packed: PackedPatterns, rates: Rates, which: np.ndarray
) -> np.ndarray:
    """Log-likelihoods [R] of trees: children int32 [T, n-2, 2], lengths float64 [T, E]; row r has the parameter vector
    which[r].
    """
    return _run(children, lengths, packed, rates, which, gradient=False, parameters=False).values


def evaluate(
    children: np.ndarray,
    lengths: np.ndarray,
    packed: PackedPatterns,
    rates: Rates,
    which: np.ndarray,
    parameters: bool = True,
) -> tuple[np.ndarray, np.ndarray, RateSlopes | None]:
    """Log-likelihoods [R], their derivatives in the lengths [R, E] and, where `parameters`, in all that Rates hold.

    Raises nothing; impossible data have -inf and slopes of zero.
    """
    found = _run(children, lengths, packed, rates, which, gradient=True, parameters=parameters)
    if not parameters:
        return found.values, found.lengths, None
    # Out of the basis of the eigenvectors: V^-T G V'.
    own_inverse, own_vectors = rates.inverse[which], rates.vectors[which]
    matrix = own_inverse.transpose(0, 2, 1) @ found.eigen @ own_vectors.transpose(0, 2, 1)
    slopes = RateSlopes(matrix, found.frequencies, found.rates, found.weights, found.invariant)
    return found.values, found.lengths, slopes


def _run(
    children: np.ndarray,
    lengths: np.ndarray,
    packed: PackedPatterns,
    rates: Rates,
    which: np.ndarray,
    gradient: bool,
    parameters: bool,
) -> Any:
    kernels: Any
    if hasattr(packed, "on_device"):
        from vbpi_mix.phylo.models.gpu import likelihood as kernels
    elif hasattr(packed, "states"):
        from vbpi_mix.phylo.models.kernels import any_states as kernels
    else:
        from vbpi_mix.phylo.models.kernels import four_states as kernels
    from vbpi_mix.phylo.models.kernels.spectra import Results

    total, states, categories = which.shape[0], rates.values.shape[1], rates.rates.shape[1]
    rows = total if gradient else 0
    results = Results(
        values=np.empty(total),
        lengths=np.empty((rows, lengths.shape[1])),
        eigen=np.empty((rows, states, states)),
        frequencies=np.empty((rows, states)),
        rates=np.empty((rows, categories)),
        weights=np.empty((rows, categories)),
        invariant=np.empty(rows),
    )
    chunks = min(numba.get_num_threads(), total)
    arrays = Rates(*(np.ascontiguousarray(array, np.float64) for array in rates))
    kernels.evaluate_batch(
        np.ascontiguousarray(children, np.int32), np.ascontiguousarray(lengths), packed, arrays,
        np.ascontiguousarray(which, np.int64), chunks, (gradient, parameters), results,
    )  # fmt: skip
    return results

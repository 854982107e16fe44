"""Site patterns packed for the likelihood kernel, and the log-likelihoods of batches of trees."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.kernels import jukes_cantor as kernels
from vbpi_mix.phylo.models.kernels.jukes_cantor import PackedPatterns

MISSING = 15
# Fewer children times patterns than this are worked on by one thread: about 0.1 ms of work.
PARALLEL_WORK = 50_000


def pack_patterns(patterns: SitePatterns) -> PackedPatterns:
    """Arrange states uint8 [n, P] and weights [P] in blocks of patterns (layout: head of kernels/jukes_cantor.py)."""
    n_taxa, n_patterns = patterns.states.shape
    blocks = -(-n_patterns // kernels.BLOCK)
    states = np.full((n_taxa, blocks * kernels.BLOCK), MISSING, np.uint8)
    states[:, :n_patterns] = patterns.states
    codes = aligned((blocks, n_taxa, kernels.BLOCK), np.dtype(np.uint8))
    codes[:] = states.reshape(n_taxa, blocks, kernels.BLOCK).transpose(1, 0, 2)
    counts = aligned(codes.shape, np.dtype(np.float64))
    counts[:] = np.bitwise_count(codes)
    weights = aligned((blocks * kernels.BLOCK,), np.dtype(np.float64))
    weights[:n_patterns] = patterns.weights
    return PackedPatterns(n_taxa=n_taxa, counts=counts.ravel(), codes=codes.ravel(), weights=weights)


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros whose first element sits on a 64-byte line, so that no vector of the kernel straddles two lines."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size].view(dtype).reshape(shape)


def log_likelihoods(children: np.ndarray, lengths: np.ndarray, patterns: PackedPatterns) -> np.ndarray:
    """JC69 log-likelihoods [T] of trees: children int32 [T, n-2, 2], lengths float64 [T, E]."""
    return _run(children, lengths, patterns, gradient=False)[0]


def log_likelihoods_and_gradients(
    children: np.ndarray, lengths: np.ndarray, patterns: PackedPatterns
) -> tuple[np.ndarray, np.ndarray]:
    """JC69 log-likelihoods [T] and their derivatives [T, E] with respect to the branch lengths."""
    return _run(children, lengths, patterns, gradient=True)


def _run(
    children: np.ndarray, lengths: np.ndarray, patterns: PackedPatterns, gradient: bool
) -> tuple[np.ndarray, np.ndarray]:
    values = np.empty(children.shape[0])
    gradients = np.empty(lengths.shape if gradient else (0, 0))
    trees = children.shape[0]
    chunks = min(numba.get_num_threads(), trees)
    arguments = children, lengths, patterns, gradient, values, gradients
    if chunks > 1 and children.size * patterns.weights.size >= PARALLEL_WORK:
        kernels.log_likelihood_in_parallel(chunks, *arguments)
    else:
        kernels.log_likelihood_batch(0, trees, *arguments)
    return values, gradients

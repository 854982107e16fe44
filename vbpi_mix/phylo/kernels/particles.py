"""Topologies of a training step with their densities under R components, and the gradient of the networks' logits.

The parts are kernels of sbn/; here they are put together, so that a step enters parallel code once on the way forward
and once on the way back, and not at all where the work is less than waking a thread. Each tree, and each component of
the gradient, is worked on by one thread in one order: results do not depend on the number of threads. Branch lengths come after
(branches/base.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import keep_whole
from vbpi_mix.phylo.sbn.kernels.counts import log_q_gradient
from vbpi_mix.phylo.sbn.kernels.draw import draw_tree, known
from vbpi_mix.phylo.sbn.kernels.encoding import number_parameters
from vbpi_mix.phylo.sbn.kernels.log_probability import log_q_tree


class Networks(NamedTuple):
    """A networks, of which R are evaluated.

    log_probabilities and probabilities float64 [A, n_params]; evaluated int64 [R]; groups and alone as in support.py.
    """

    log_probabilities: Any
    probabilities: Any
    evaluated: Any
    groups: Any
    alone: Any


class TopologyPass(NamedTuple):
    """T trees: where each comes from, its random numbers, its topology and its densities.

    component int64 [T], the component that draws; uniforms [T, n-1]; then the encoded topologies (support.py); log_q
    [T, R]; rooting [T, R, 2n-2], for the gradient.
    """

    component: Any
    uniforms: Any
    children: Any
    splits: Any
    tripartitions: Any
    entries: Any
    parameters: Any
    rows: Any
    log_q: Any
    rooting: Any


@kernel
@allocates
def draw_topologies(first, last, support, networks, split_only, q):
    """Draw trees first ... last-1 of a TopologyPass and evaluate them; `split_only` leaves the primary subsplit pairs out
    of the features of their edges.
    """
    nodes = q.splits.shape[1]
    down, up = np.empty(nodes), np.empty(nodes)
    for t in range(first, last):
        draw_tree(
            known(networks.probabilities[q.component[t]]), q.uniforms[t], support, q.children[t], q.splits[t],
            q.tripartitions[t], q.entries[t],
        )  # fmt: skip
        number_parameters(
            q.children[t], q.splits[t], q.tripartitions[t], q.entries[t], support, q.parameters[t], q.rows[t]
        )
        if split_only:
            q.rows[t, :, 1:] = -1
        log_q_tree(
            q.children[t], q.parameters[t], networks.log_probabilities, networks.evaluated, down, up, q.log_q[t],
            q.rooting[t],
        )  # fmt: skip


@parallel_kernel
def draw_topologies_in_parallel(chunks, support, networks, split_only, q):
    """draw_topologies for all, in `chunks` parts at once."""
    trees = q.uniforms.shape[0]
    for chunk in prange(chunks):
        draw_topologies(chunk * trees // chunks, (chunk + 1) * trees // chunks, support, networks, split_only, q)


@kernel
def _component_gradient(r, networks, q, upstream, logits):
    """Gradient of evaluated component r, given that of log q upstream [T, R], written to its row of logits."""
    keep_whole()
    a = networks.evaluated[r]
    log_q_gradient(
        q.children, q.parameters, q.rooting, upstream, r, networks.groups, networks.alone, networks.probabilities[a],
        logits[a],
    )  # fmt: skip


@kernel
def gradients(networks, q, upstream, logits):
    """Gradient [A, n_params] of the logits, given that of log q, upstream [T, R]; zero for what is not evaluated."""
    if networks.evaluated.shape[0] < logits.shape[0]:
        logits[:] = 0.0
    for r in range(networks.evaluated.shape[0]):
        _component_gradient(r, networks, q, upstream, logits)


@parallel_kernel
def gradients_in_parallel(networks, q, upstream, logits):
    """The same, components in parallel."""
    if networks.evaluated.shape[0] < logits.shape[0]:
        logits[:] = 0.0
    for r in prange(networks.evaluated.shape[0]):
        _component_gradient(np.int64(r), networks, q, upstream, logits)

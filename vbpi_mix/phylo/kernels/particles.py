"""One pass over the particles of a training step, and one over the components for its gradient.

The parts are in sbn/kernels and branches/kernels; here they are put together, so that a step enters parallel code once on
the way forward and once on the way back, and not at all where the work is less than waking a thread. Each particle, and
each component of the gradient, is worked on by one thread in one order: the number of threads changes no digit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import kernel, parallel_kernel
from vbpi_mix.phylo.branches.kernels.lognormal import base_gradient, base_tree
from vbpi_mix.phylo.sbn.kernels.counts import log_q_gradient
from vbpi_mix.phylo.sbn.kernels.draw import draw_tree
from vbpi_mix.phylo.sbn.kernels.encoding import number_parameters
from vbpi_mix.phylo.sbn.kernels.log_probability import log_q_tree


class Particles(NamedTuple):
    """T particles: where each comes from, its random numbers, its tree and log-lengths, and their densities.

    component int64 [T], the component that draws; own int64 [T], its place among the evaluated ones; uniforms
    [T, n-1]; noise [T, E]; then the encoded topologies (support.py) and draws [T, E], the base log-lengths; log_q
    [T, R], of topology and lengths; log_q_topology [T, R]; rooting [T, R, 2n-2]; means and precisions [T, R, E].
    """

    component: Any
    own: Any
    uniforms: Any
    noise: Any
    children: Any
    splits: Any
    tripartitions: Any
    entries: Any
    parameters: Any
    rows: Any
    draws: Any
    log_q: Any
    log_q_topology: Any
    rooting: Any
    means: Any
    precisions: Any


@kernel
def draw_particles(first, last, support, log_probabilities, probabilities, features, evaluated, split_only, particles):
    """Draw particles first ... last-1 and evaluate them under the R evaluated components.

    log_probabilities and probabilities float64 [A, n_params]; features float64 [A, n_features, 2]; `split_only` leaves
    the primary subsplit pairs out of the features.
    """
    q = particles
    nodes = q.splits.shape[1]
    down, up = np.empty(nodes), np.empty(nodes)
    for t in range(first, last):
        draw_tree(
            probabilities[q.component[t]], q.uniforms[t], support, q.children[t], q.splits[t], q.tripartitions[t],
            q.entries[t],
        )  # fmt: skip
        number_parameters(
            q.children[t], q.splits[t], q.tripartitions[t], q.entries[t], support, q.parameters[t], q.rows[t]
        )
        if split_only:
            q.rows[t, :, 1:] = -1
        log_q_tree(
            q.children[t], q.parameters[t], log_probabilities, evaluated, down, up, q.log_q_topology[t], q.rooting[t]
        )
        base_tree(
            q.rows[t], features, q.own[t], evaluated, q.noise[t], q.draws[t], q.log_q[t], q.means[t], q.precisions[t]
        )
        for r in range(evaluated.shape[0]):
            q.log_q[t, r] += q.log_q_topology[t, r]


@parallel_kernel
def draw_particles_in_parallel(
    chunks, support, log_probabilities, probabilities, features, evaluated, split_only, particles
):
    """draw_particles for all, in `chunks` runs at a time."""
    trees = particles.noise.shape[0]
    for chunk in prange(chunks):
        draw_particles(
            chunk * trees // chunks, (chunk + 1) * trees // chunks, support, log_probabilities, probabilities, features,
            evaluated, split_only, particles,
        )  # fmt: skip


@kernel
def component_gradient(
    r, evaluated, groups, alone, probabilities, particles, topology_upstream, log_q_upstream, draw_upstream, logits, features
):
    """Gradients of evaluated component r, written to its rows of logits [A, n_params] and features [A, n_features, 2].

    topology_upstream and log_q_upstream [T, R] are the gradients with respect to log q of the topologies and of the
    log-lengths, draw_upstream [T, E] with respect to the base draws.
    """
    q = particles
    a = evaluated[r]
    log_q_gradient(
        q.children, q.parameters, q.rooting, topology_upstream, r, groups, alone, probabilities[a], logits[a]
    )
    base_gradient(
        q.rows, q.own, q.noise, q.draws, q.means, q.precisions, draw_upstream, log_q_upstream, r, features[a]
    )


@kernel
def gradients(
    evaluated, groups, alone, probabilities, particles, topology_upstream, log_q_upstream, draw_upstream, logits, features
):
    """component_gradient of every evaluated component; what is not evaluated gets zero."""
    if evaluated.shape[0] < logits.shape[0]:
        logits[:] = 0.0
        features[:] = 0.0
    for r in range(evaluated.shape[0]):
        component_gradient(
            r, evaluated, groups, alone, probabilities, particles, topology_upstream, log_q_upstream, draw_upstream,
            logits, features,
        )  # fmt: skip


@parallel_kernel
def gradients_in_parallel(
    evaluated, groups, alone, probabilities, particles, topology_upstream, log_q_upstream, draw_upstream, logits, features
):
    """The same, components in parallel."""
    if evaluated.shape[0] < logits.shape[0]:
        logits[:] = 0.0
        features[:] = 0.0
    for r in prange(evaluated.shape[0]):
        component_gradient(
            r, evaluated, groups, alone, probabilities, particles, topology_upstream, log_q_upstream, draw_upstream,
            logits, features,
        )  # fmt: skip

"""The affine coupling flow of branch lengths: forward, back to the base draws, and the gradient of its weights.

Layer l conditions on one class of edges, pendant if l is even and internal if it is odd, and moves the other:

    hidden = ELU(bias_l + sum over conditioning edges e of z_e in_e)          in_e: hidden units
    shift_e = hidden . out_e,   s_e = hidden . out'_e                          for each moved edge e
    z_e -> z_e sigmoid(s_e + 2) / sigmoid(2) + shift_e

in_e, out_e and out'_e are sums of weights over the edge's profile (profiles.py), so nothing depends on how edges are
numbered or where the tree is rooted.

The edges of a feature row are all of one class, so a layer needs of it either in-weights or out-weights, and a weight
row holds just these, layer after layer: a block of in-weights, or one for the shift followed by one for s. Blocks are
`stride` long, the number of hidden units rounded up to whole vectors; what is over is zero and stays zero. Layers are
the outer loop and trees the inner one: one layer of all profiles fits the second-level cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import inner_kernel, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, splat, vexp, vload, vmax, vmin, vstore, vsum

PENDANT, INTERNAL = 0, 1
# Where s = 0 the published scale is sigmoid(2); dividing by it makes a layer without out-weights the identity.
SCALE_SHIFT = 2.0
RESTING_SCALE = float(1.0 / (1.0 + np.exp(-SCALE_SHIFT)))


class CouplingPass(NamedTuple):
    """T trees on their way through L layers.

    profile_of int64 [T, E]; weights flat [V * size], the profiles' sums; biases flat [L * stride]; size; stride. Filled:
    states [T, L+1, E], the base draws, then the values after each layer; hidden flat [T * L * stride], activated; sigmoid
    [T, L, E] of s + 2 of the moved edges; log_det [T].
    """

    profile_of: Any
    weights: Any
    biases: Any
    size: Any
    stride: Any
    states: Any
    hidden: Any
    sigmoid: Any
    log_det: Any


class CouplingGradient(NamedTuple):
    """Gradients on the way back: hidden flat [T * L * stride], with respect to the units before activation; shift and s
    [T, L, E]; draws [T, E], with respect to the values after the layer reached so far, at first the flow's values;
    log_det [T], given.
    """

    hidden: Any
    shift: Any
    s: Any
    draws: Any
    log_det: Any


@inner_kernel
def edge_class(edge, edges):
    """Edge v - 1 lies above node v; of n taxa, nodes 1 ... n-1 are leaves, and the last edge is that of taxon 0."""
    return PENDANT if 2 * edge < edges + 1 or edge == edges - 1 else INTERNAL


@kernel
def block_offset(kind, layer, stride):
    """Where in its row an edge of this class finds its weights for a layer."""
    pairs = layer // 2
    offset = 3 * pairs * stride
    if layer > 2 * pairs:
        offset += stride if kind == PENDANT else 2 * stride
    return offset


@kernel
def _sigmoid(x):
    e = np.exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@kernel
def _layer_forward(layer, t, run):
    """Tree t through one layer; returns its log|det J|."""
    edges, layers, stride = run.sigmoid.shape[2], run.sigmoid.shape[1], run.stride
    weights, hidden, states = run.weights, run.hidden, run.states
    start = (t * layers + layer) * stride
    for j in range(0, stride, LANES):
        vstore(hidden, start + j, vload(run.biases, layer * stride + j))
    conditioning = layer % 2
    offset = block_offset(conditioning, layer, stride)
    for e in range(edges):
        if edge_class(e, edges) == conditioning:
            z = states[t, layer, e]
            states[t, layer + 1, e] = z
            factor, block = splat(z), run.profile_of[t, e] * run.size + offset
            for j in range(0, stride, LANES):
                vstore(hidden, start + j, vload(hidden, start + j) + factor * vload(weights, block + j))
    zero, one = splat(0.0), splat(1.0)
    for j in range(start, start + stride, LANES):
        x = vload(hidden, j)
        vstore(hidden, j, vmax(x, zero) + (vexp(vmin(x, zero)) - one))
    offset = block_offset(1 - conditioning, layer, stride)
    # One logarithm for the product of many scales, taken before it can underflow.
    log_det, product = 0.0, 1.0
    for e in range(edges):
        if edge_class(e, edges) != conditioning:
            block = run.profile_of[t, e] * run.size + offset
            shifts, ss = splat(0.0), splat(0.0)
            for j in range(0, stride, LANES):
                units = vload(hidden, start + j)
                shifts = shifts + units * vload(weights, block + j)
                ss = ss + units * vload(weights, block + stride + j)
            sigmoid = _sigmoid(vsum(ss) + SCALE_SHIFT)
            run.sigmoid[t, layer, e] = sigmoid
            scale = sigmoid / RESTING_SCALE
            states[t, layer + 1, e] = states[t, layer, e] * scale + vsum(shifts)
            product *= scale
            if product < 1e-100:
                log_det += np.log(product)
                product = 1.0
    return log_det + np.log(product)


@kernel
def forward(first, last, run):
    """Trees first ... last-1 from states[:, 0] to states[:, L], and log_det."""
    for t in range(first, last):
        run.log_det[t] = 0.0
    for layer in range(run.sigmoid.shape[1]):
        for t in range(first, last):
            run.log_det[t] += _layer_forward(layer, t, run)


@kernel
def _layer_backward(layer, t, run, back):
    """Carry back.draws[t], with respect to the values after a layer, to those before it, in place."""
    edges, layers, stride = run.sigmoid.shape[2], run.sigmoid.shape[1], run.stride
    weights, hidden, hidden_gradient, gradient = run.weights, run.hidden, back.hidden, back.draws
    start = (t * layers + layer) * stride
    zero, one = splat(0.0), splat(1.0)
    for j in range(start, start + stride, LANES):
        vstore(hidden_gradient, j, zero)
    conditioning = layer % 2
    offset = block_offset(1 - conditioning, layer, stride)
    for e in range(edges):
        if edge_class(e, edges) != conditioning:
            sigmoid = run.sigmoid[t, layer, e]
            scale = sigmoid / RESTING_SCALE
            shift = gradient[t, e]
            s = (shift * run.states[t, layer, e] * scale + back.log_det[t]) * (1.0 - sigmoid)
            back.shift[t, layer, e] = shift
            back.s[t, layer, e] = s
            gradient[t, e] = shift * scale
            shifts, ss, block = splat(shift), splat(s), run.profile_of[t, e] * run.size + offset
            for j in range(0, stride, LANES):
                part = shifts * vload(weights, block + j) + ss * vload(weights, block + stride + j)
                vstore(hidden_gradient, start + j, vload(hidden_gradient, start + j) + part)
    for j in range(start, start + stride, LANES):
        slope = one + vmin(vload(hidden, j), zero)
        vstore(hidden_gradient, j, vload(hidden_gradient, j) * slope)
    offset = block_offset(conditioning, layer, stride)
    for e in range(edges):
        if edge_class(e, edges) == conditioning:
            block = run.profile_of[t, e] * run.size + offset
            total = splat(0.0)
            for j in range(0, stride, LANES):
                total = total + vload(hidden_gradient, start + j) * vload(weights, block + j)
            gradient[t, e] += vsum(total)


@kernel
def backward(first, last, run, back):
    """Trees first ... last-1: turn back.draws, with respect to the flow's values, into that with respect to the base
    draws, and fill the rest.
    """
    for layer in range(run.sigmoid.shape[1] - 1, -1, -1):
        for t in range(first, last):
            _layer_backward(layer, t, run, back)


@kernel
def profile_gradients(first, last, users, run, back, target):
    """Gradients of the profiles' sums first ... last-1, written to the flat target [V * size].

    users: for each profile the edges t * E + e that have it.
    """
    edges, layers, stride = run.sigmoid.shape[2], run.sigmoid.shape[1], run.stride
    for i in range(first, last):
        begin, end = users.starts[i], users.starts[i + 1]
        kind = edge_class(users.members[begin] % edges, edges)
        for j in range(i * run.size, (i + 1) * run.size, LANES):
            vstore(target, j, splat(0.0))
        for layer in range(layers):
            at = i * run.size + block_offset(kind, layer, stride)
            for m in range(begin, end):
                t = users.members[m] // edges
                e = users.members[m] - t * edges
                start = (t * layers + layer) * stride
                if layer % 2 == kind:
                    factor = splat(run.states[t, layer, e])
                    for j in range(0, stride, LANES):
                        part = factor * vload(back.hidden, start + j)
                        vstore(target, at + j, vload(target, at + j) + part)
                else:
                    shift, s = splat(back.shift[t, layer, e]), splat(back.s[t, layer, e])
                    for j in range(0, stride, LANES):
                        units = vload(run.hidden, start + j)
                        vstore(target, at + j, vload(target, at + j) + shift * units)
                        vstore(target, at + stride + j, vload(target, at + stride + j) + s * units)


@kernel
def bias_gradient(run, back, target):
    """Gradient of the biases, written to the flat target [L * stride]."""
    target[:] = 0.0
    for t in range(run.sigmoid.shape[0]):
        for j in range(target.shape[0]):
            target[j] += back.hidden[t * target.shape[0] + j]


@parallel_kernel
def forward_in_parallel(chunks, run):
    """forward of all trees, in `chunks` parts at once."""
    trees = run.sigmoid.shape[0]
    for chunk in prange(chunks):
        forward(chunk * trees // chunks, (chunk + 1) * trees // chunks, run)


@parallel_kernel
def backward_in_parallel(chunks, run, back):
    """backward of all trees, in `chunks` parts at once."""
    trees = run.sigmoid.shape[0]
    for chunk in prange(chunks):
        backward(chunk * trees // chunks, (chunk + 1) * trees // chunks, run, back)


@parallel_kernel
def profile_gradients_in_parallel(chunks, users, run, back, target):
    """profile_gradients of all, in `chunks` parts at once."""
    count = users.keys.shape[0]
    for chunk in prange(chunks):
        profile_gradients(chunk * count // chunks, (chunk + 1) * count // chunks, users, run, back, target)

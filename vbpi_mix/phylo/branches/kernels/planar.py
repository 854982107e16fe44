"""The planar flow of branch lengths: forward, back to the base draws, and the gradient of its weights.

Each layer moves all edges along one direction (Rezende and Mohamed 2015, equation 10, with sums over edges so that
their order does not matter):

    a = bias + sum_e w_e z_e,   z_e -> z_e + v_e tanh a,   log|det J| = log(1 + m (1 - tanh^2 a)),   m = sum_e w_e v_e

w_e and u_e are sums of weights over the edge's profile (profiles.py), and v = u + (m - p) w / (w . w), p = w . u, with
m = softplus(p + log(e - 1)) - 1 > -1, which keeps the layer invertible (appendix A.1 there). The constant in it makes a
layer with u = 0 the identity. A weight row holds w of every layer, then u of every layer, each `stride` long. This is too
little work to be shared out among threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vbpi_mix.accelerate import kernel

RESTING = float(np.log(np.e - 1.0))


class PlanarPass(NamedTuple):
    """T trees on their way through L layers.

    profile_of int64 [T, E]; weights flat [V * size], the profiles' sums; biases [L]; size; stride. Filled: states
    [T, L+1, E], the base draws, then the values after each layer; log_det [T].
    """

    profile_of: Any
    weights: Any
    biases: Any
    size: Any
    stride: Any
    states: Any
    log_det: Any


class PlanarGradient(NamedTuple):
    """Gradients on the way back: sums [T, E, size], with respect to each edge's own sums; activation [T, L], with respect
    to a; draws [T, E], with respect to the values after the layer reached so far, at first the flow's values; log_det [T],
    given.
    """

    sums: Any
    activation: Any
    draws: Any
    log_det: Any


@kernel
def _layer(layer, t, run):
    """tanh a, p = w . u, w . w, m, and what w is multiplied by in v."""
    edges = run.profile_of.shape[1]
    a, p, square = run.biases[layer], 0.0, 0.0
    for e in range(edges):
        at = run.profile_of[t, e] * run.size + layer
        w, u = run.weights[at], run.weights[at + run.stride]
        a += w * run.states[t, layer, e]
        p += w * u
        square += w * w
    x = p + RESTING
    m = max(x, 0.0) + np.log1p(np.exp(-abs(x))) - 1.0
    return np.tanh(a), p, square, m, (m - p) / square if square > 0.0 else 0.0


@kernel
def forward(first, last, run):
    """Trees first ... last-1 from states[:, 0] to states[:, L], and log_det."""
    edges, layers = run.profile_of.shape[1], run.biases.shape[0]
    for t in range(first, last):
        log_det = 0.0
        for layer in range(layers):
            h, _, _, m, factor = _layer(layer, t, run)
            for e in range(edges):
                at = run.profile_of[t, e] * run.size + layer
                v = run.weights[at + run.stride] + factor * run.weights[at]
                run.states[t, layer + 1, e] = run.states[t, layer, e] + v * h
            log_det += np.log1p(m * (1.0 - h * h))
        run.log_det[t] = log_det


@kernel
def _layer_backward(layer, t, run, back):
    """Carry back.draws[t], with respect to the values after a layer, to those before it, in place."""
    gradient = back.draws
    edges = run.profile_of.shape[1]
    h, p, square, m, factor = _layer(layer, t, run)
    slope = 1.0 - h * h
    of_u, of_w = 0.0, 0.0  # the gradient with respect to the values, along u and along w
    for e in range(edges):
        at = run.profile_of[t, e] * run.size + layer
        of_w += gradient[t, e] * run.weights[at]
        of_u += gradient[t, e] * run.weights[at + run.stride]
    det = back.log_det[t] / (1.0 + m * slope)
    of_a = (of_u + factor * of_w - 2.0 * h * m * det) * slope
    of_factor = of_w * h / square if square > 0.0 else 0.0
    of_m = det * slope + of_factor
    of_p = of_m / (1.0 + np.exp(-(p + RESTING))) - of_factor
    of_square = -of_factor * factor
    back.activation[t, layer] = of_a
    for e in range(edges):
        at = run.profile_of[t, e] * run.size + layer
        w, u = run.weights[at], run.weights[at + run.stride]
        of_v = gradient[t, e] * h
        of_edge_w = of_a * run.states[t, layer, e] + factor * of_v + of_p * u + 2.0 * of_square * w
        back.sums[t, e, layer] = of_edge_w
        back.sums[t, e, run.stride + layer] = of_v + of_p * w
        gradient[t, e] += of_a * w


@kernel
def backward(first, last, run, back):
    """Trees first ... last-1: turn back.draws, with respect to the flow's values, into that with respect to the base
    draws, and fill the rest.
    """
    for t in range(first, last):
        back.sums[t] = 0.0
        for layer in range(run.biases.shape[0] - 1, -1, -1):
            _layer_backward(layer, t, run, back)


@kernel
def profile_gradients(first, last, users, run, back, target):
    """Gradients of the profiles' sums first ... last-1, written to the flat target [V * size].

    users: for each profile the edges t * E + e that have it.
    """
    edges = run.profile_of.shape[1]
    for i in range(first, last):
        at = i * run.size
        target[at : at + run.size] = 0.0
        for member in range(users.starts[i], users.starts[i + 1]):
            t = users.members[member] // edges
            e = users.members[member] - t * edges
            for j in range(run.size):
                target[at + j] += back.sums[t, e, j]


@kernel
def bias_gradient(run, back, target):
    """Gradient of the biases, written to target [L]."""
    target[:] = 0.0
    for t in range(back.activation.shape[0]):
        for layer in range(target.shape[0]):
            target[layer] += back.activation[t, layer]

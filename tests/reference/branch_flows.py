"""Flows of branch lengths as plain torch: one tree, one layer and one edge at a time, differentiated by autograd."""

import math

import torch
from torch import nn


def sums(weights, rows):
    """Weights [n_rows, ...] summed over the features of each edge, [E, ...]; rows [E, 3], -1 for none."""
    return torch.stack([sum(weights[int(row)] for row in edge if row >= 0) for edge in rows])


def is_pendant(edge, edges):
    """The edge above node edge + 1 of a tree hung from taxon 0 with n = (E + 3) / 2 taxa; the last is taxon 0's own."""
    n_taxa = (edges + 3) // 2
    return edge + 1 < n_taxa or edge == edges - 1


def blocks_of(of_edge, pendant, layer):
    """The blocks [1 or 2, H] of an edge [n_blocks, H] for a layer, found by walking through the layers before it."""
    at = 0
    for earlier in range(layer):
        at += 1 if pendant == (earlier % 2 == 0) else 2
    return of_edge[at : at + (1 if pendant == (layer % 2 == 0) else 2)]


def realnvp(weights, biases, rows, z):
    """y and log|det dy/dz| of one tree: weights [n_rows, n_blocks, H], biases [L, H], z [E]."""
    edges = z.shape[0]
    of_edges = sums(weights, rows)
    log_det = torch.zeros((), dtype=z.dtype)
    for layer in range(biases.shape[0]):
        blocks = [blocks_of(of_edges[e], is_pendant(e, edges), layer) for e in range(edges)]
        conditioning = [e for e in range(edges) if len(blocks[e]) == 1]
        hidden = nn.functional.elu(biases[layer] + sum(z[e] * blocks[e][0] for e in conditioning))
        moved = list(z)
        for e in set(range(edges)) - set(conditioning):
            shift, s = blocks[e] @ hidden
            scale = torch.sigmoid(s + 2.0) / torch.sigmoid(torch.tensor(2.0, dtype=z.dtype))
            moved[e] = z[e] * scale + shift
            log_det = log_det + scale.log()
        z = torch.stack(moved)
    return z, log_det


def realnvp_inverse(weights, biases, rows, y):
    """z with realnvp(z) = y."""
    edges = y.shape[0]
    of_edges = sums(weights, rows)
    for layer in reversed(range(biases.shape[0])):
        blocks = [blocks_of(of_edges[e], is_pendant(e, edges), layer) for e in range(edges)]
        conditioning = [e for e in range(edges) if len(blocks[e]) == 1]
        hidden = nn.functional.elu(biases[layer] + sum(y[e] * blocks[e][0] for e in conditioning))
        moved = list(y)
        for e in set(range(edges)) - set(conditioning):
            shift, s = blocks[e] @ hidden
            moved[e] = (y[e] - shift) * torch.sigmoid(torch.tensor(2.0, dtype=y.dtype)) / torch.sigmoid(s + 2.0)
        y = torch.stack(moved)
    return y


def planar_direction(w, u):
    """v, along which a planar layer moves, and m = w . v."""
    p = w @ u
    m = nn.functional.softplus(p + math.log(math.e - 1.0)) - 1.0
    return u + (m - p) * w / (w @ w), m


def planar(weights, biases, rows, z):
    """y and log|det dy/dz| of one tree: weights [n_rows, 2, L] (w, then u), biases [L], z [E]."""
    of_edges = sums(weights, rows)
    log_det = torch.zeros((), dtype=z.dtype)
    for layer in range(biases.shape[0]):
        w, u = of_edges[:, 0, layer], of_edges[:, 1, layer]
        v, m = planar_direction(w, u)
        h = torch.tanh(w @ z + biases[layer])
        z = z + v * h
        log_det = log_det + torch.log1p(m * (1.0 - h * h))
    return z, log_det


def planar_inverse(weights, biases, rows, y):
    """z with planar(z) = y: w . y + b = a + m tanh a is increasing in a, which is found by bisection."""
    of_edges = sums(weights, rows)
    for layer in reversed(range(biases.shape[0])):
        w, u = of_edges[:, 0, layer], of_edges[:, 1, layer]
        v, m = planar_direction(w, u)
        value = w @ y + biases[layer]
        low, high = value - m.abs(), value + m.abs()
        for _ in range(200):
            middle = (low + high) / 2.0
            if middle + m * torch.tanh(middle) < value:
                low = middle
            else:
                high = middle
        y = y - v * torch.tanh((low + high) / 2.0)
    return y

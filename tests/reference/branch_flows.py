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


def spline_pieces(biases, free):
    """(left, right, bottom, top, slope at left, slope at right) of each of 8 bins between -9 and 3; free [23]."""
    widths, heights, slopes = (free + biases).split([8, 8, 7])
    ends = []
    for part in (widths, heights):
        exponentials = torch.exp(part)
        shares = 0.001 + 0.992 * exponentials / exponentials.sum()
        ends.append([-9.0 + 12.0 * shares[:k].sum() for k in range(9)])
    one = torch.ones((), dtype=free.dtype)
    # log(1 + c exp x) is softplus(x + log c), and c = e^0.999 - 1 makes it 0.999 where x = 0.
    inner = [0.001 + torch.log1p((math.e**0.999 - 1.0) * torch.exp(x)) for x in slopes]
    at = [one, *inner, one]
    (x, y) = ends
    return [(x[k], x[k + 1], y[k], y[k + 1], at[k], at[k + 1]) for k in range(8)]


def spline_edge(pieces, z):
    """Gregory and Delbourgo's quotient in the bin that z is in; z itself outside of all."""
    if not -9.0 <= z.item() <= 3.0:
        return z
    for left, right, bottom, top, first, second in pieces:
        if z.item() <= right.item() or right is pieces[-1][1]:
            chord = (top - bottom) / (right - left)
            p, q = (z - left) / (right - left), (right - z) / (right - left)
            numerator = top * p**2 + (top * first + bottom * second) / chord * p * q + bottom * q**2
            return numerator / (p**2 + (first + second) / chord * p * q + q**2)
    raise AssertionError("no bin")


def spline(weights, biases, rows, z):
    """y and log|det dy/dz| of one tree, the latter by autograd edge by edge: weights [n_rows, 23], biases [23], z [E]."""
    values, log_det = [], torch.zeros((), dtype=z.dtype)
    for edge, free in enumerate(sums(weights, rows)):
        at = z[edge] if z.requires_grad else z[edge].clone().requires_grad_()
        with torch.enable_grad():
            moved = spline_edge(spline_pieces(biases, free), at)
            (slope,) = torch.autograd.grad(moved, at, create_graph=True)
        values.append(moved)
        log_det = log_det + torch.log(slope)
    return torch.stack(values), log_det


def spline_inverse(weights, biases, rows, y):
    """z with spline(z) = y: every edge is increasing, and is found by bisection."""
    found = []
    for edge, free in enumerate(sums(weights, rows)):
        pieces = spline_pieces(biases, free)
        low, high = (torch.tensor(v, dtype=y.dtype) for v in (-9.0, 3.0))
        if not low <= y[edge] <= high:
            found.append(y[edge])
            continue
        for _ in range(100):
            middle = (low + high) / 2.0
            if spline_edge(pieces, middle) < y[edge]:
                low = middle
            else:
                high = middle
        found.append((low + high) / 2.0)
    return torch.stack(found)

"""The distinct edges of a batch of trees, and sums of weight rows over their features.

A *profile* is the feature rows of an edge: its split and the primary subsplit pairs at its ends, up to three rows. Trees
drawn from one posterior share most of their edges, so a flow sums the weight rows of each profile once (`gather`), works
on those sums, and spreads the gradient of each sum over its rows once (`scatter`).

Weights and sums are flat arrays of rows with `size` elements each, a multiple of eight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from vbpi_mix.accelerate import allocates, kernel, parallel_kernel
from vbpi_mix.kernels.simd import LANES, narrow_as, vload, vstore, widen


class Groups(NamedTuple):
    """Members in groups: those of the i-th key are members[starts[i] : starts[i + 1]]."""

    keys: Any
    starts: Any
    members: Any


@kernel
def index_profiles(rows, head, link, profile_of, profiles):
    """Number the distinct triples of int32 rows [T, E, 3] in order of appearance; returns how many there are, V.

    head int64 [n_rows] is -1 throughout, and is left so; link int64 [T E] is scratch. Filled: profile_of int64 [T, E],
    and profiles int32 [V, 3] in an array with room for T E.
    """
    count = 0
    for t in range(rows.shape[0]):
        for e in range(rows.shape[1]):
            split = rows[t, e, 0]
            found = head[split]
            while found >= 0 and (profiles[found, 1] != rows[t, e, 1] or profiles[found, 2] != rows[t, e, 2]):
                found = link[found]
            if found < 0:
                found = count
                for k in range(3):
                    profiles[found, k] = rows[t, e, k]
                link[found] = head[split]
                head[split] = found
                count += 1
            profile_of[t, e] = found
    for i in range(count):
        head[profiles[i, 0]] = -1
    return count


@kernel
def group(values, place, keys, starts, members):
    """Group the positions of flat integer values [M] by value, negative ones left out; returns the number of groups, G.

    Groups are in order of appearance, and so are the members of each. place int64, indexed by value, is -1 throughout,
    and is left so. Filled: keys [G], starts [G + 1] and members, in arrays with room for M, M + 1 and M.
    """
    count = 0
    starts[0] = 0
    for i in range(values.shape[0]):
        value = values[i]
        if value >= 0:
            if place[value] < 0:
                place[value] = count
                keys[count] = value
                count += 1
                starts[count] = 0
            starts[place[value] + 1] += 1
    for g in range(count):
        starts[g + 1] += starts[g]
    for i in range(values.shape[0]):
        value = values[i]
        if value >= 0:
            g = place[value]
            members[starts[g]] = i
            starts[g] += 1
    for g in range(count, 0, -1):
        starts[g] = starts[g - 1]
    starts[0] = 0
    for g in range(count):
        place[keys[g]] = -1
    return count


@kernel
@allocates
def number_distinct(values, place, numbers):
    """The distinct non-negative values of a flat integer array, int64 [U], in order of appearance.

    place as in `group`. Filled: numbers int64, where among them each value is found, -1 for a negative one.
    """
    found = np.empty(values.shape[0], np.int64)
    count = 0
    for i in range(values.shape[0]):
        value = values[i]
        numbers[i] = -1
        if value >= 0:
            if place[value] < 0:
                place[value] = count
                found[count] = value
                count += 1
            numbers[i] = place[value]
    for i in range(count):
        place[found[i]] = -1
    return found[:count]


@kernel
def gather(first, last, profiles, size, weights, sums):
    """Sums of the weight rows of profiles first ... last-1, as doubles."""
    for i in range(first, last):
        at = i * size
        a, b, c = np.int64(profiles[i, 0]), np.int64(profiles[i, 1]), np.int64(profiles[i, 2])
        for j in range(0, size, LANES):
            vstore(sums, at + j, widen(vload(weights, a * size + j)))
        if b >= 0:
            for j in range(0, size, LANES):
                vstore(sums, at + j, vload(sums, at + j) + widen(vload(weights, b * size + j)))
        if c >= 0:
            for j in range(0, size, LANES):
                vstore(sums, at + j, vload(sums, at + j) + widen(vload(weights, c * size + j)))


@parallel_kernel
def gather_in_parallel(chunks, profiles, size, weights, sums):
    """gather of all, in `chunks` parts at once."""
    count = profiles.shape[0]
    for chunk in prange(chunks):
        gather(chunk * count // chunks, (chunk + 1) * count // chunks, profiles, size, weights, sums)


@kernel
@allocates
def scatter(first, last, groups, size, sums, gradient):
    """Of rows first ... last-1 of the touched ones, the gradient: the sum over the profiles that have the row.

    groups: the touched rows and, as members, positions in the flat profiles [V, 3]. sums flat [V * size], the gradients
    with respect to the profiles' sums; gradient flat [G * size], written.
    """
    total = np.empty(size)
    for i in range(first, last):
        for m in range(groups.starts[i], groups.starts[i + 1]):
            at = groups.members[m] // 3 * size
            if m == groups.starts[i]:
                for j in range(0, size, LANES):
                    vstore(total, j, vload(sums, at + j))
            else:
                for j in range(0, size, LANES):
                    vstore(total, j, vload(total, j) + vload(sums, at + j))
        for j in range(0, size, LANES):
            vstore(gradient, i * size + j, narrow_as(vload(total, j), gradient))


@parallel_kernel
def scatter_in_parallel(chunks, groups, size, sums, gradient):
    """scatter of all, in `chunks` parts at once."""
    count = groups.keys.shape[0]
    for chunk in prange(chunks):
        scatter(chunk * count // chunks, (chunk + 1) * count // chunks, groups, size, sums, gradient)

"""Whether the arrays of a support are those of one: kernels index with them unchecked.

Everything that kernels rely on is compared with what the layout (head of support.py) makes of the splits, the legs and the
neighbourhoods; of these it is asked that clades part into smaller ones, so that every walk through the support ends.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import SupportError
from vbpi_mix.phylo.sbn.support import SubsplitSupport, derived_arrays

_INT32 = ("split_size", "legs")
_INT64 = (
    "clade_start", "clade_subsplit", "root_parameter", "port_start", "port_child", "twin", "group_start", "groups", "alone",
)  # fmt: skip


def check_support(support: SubsplitSupport) -> None:
    """Raise SupportError, one line, unless the arrays are those of a support, of the kinds that kernels expect."""
    _check_kinds(support)
    _check_splits(support)
    _check_legs(support)
    _check_ports(support)
    for name, wanted in derived_arrays(support.n_splits, support.legs, support.port_start).items():
        if not np.array_equal(getattr(support, name), wanted):
            raise _damaged(name)


def _check_kinds(support: SubsplitSupport) -> None:
    """Arrays of the right type, contiguous, of the dimensions that the sizes of others ask for."""
    n = support.n_taxa
    if not isinstance(n, int) or isinstance(n, bool) or n < 4:
        raise _damaged("n_taxa")
    kinds = {"split_bits": np.uint64} | dict.fromkeys(_INT32, np.int32) | dict.fromkeys(_INT64, np.int64)
    for name, kind in kinds.items():
        array = getattr(support, name)
        wanted = 2 if name in ("split_bits", "groups") else 1
        if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != wanted:
            raise _damaged(name)
        if not array.flags.c_contiguous:
            raise _damaged(name)
    if support.split_bits.shape != (support.split_size.size, (n + 63) // 64):
        raise _damaged("split_bits")
    if support.legs.size % 3 or support.legs.size == 0:
        raise _damaged("legs")
    if support.port_start.size != support.legs.size + 1 or support.twin.size != support.port_child.size:
        raise _damaged("port_start")


def _check_splits(support: SubsplitSupport) -> None:
    """Sides without taxon 0, of taxa that there are; first those of single taxa, last that of all but taxon 0."""
    bits, n = support.split_bits, support.n_taxa
    places = np.arange(n)
    pendant = np.zeros((n - 1, bits.shape[1]), np.uint64)
    pendant[places[1:] - 1, places[1:] // 64] = np.uint64(1) << (places[1:] % 64).astype(np.uint64)
    everything = np.bitwise_or.reduce(pendant, axis=0)
    if bits.shape[0] < n or not np.array_equal(bits[: n - 1], pendant) or not np.array_equal(bits[-1], everything):
        raise _damaged("split_bits")
    if (bits & ~everything).any() or not np.array_equal(np.bitwise_count(bits).sum(axis=1), support.split_size):
        raise _damaged("split_bits")


def _check_legs(support: SubsplitSupport) -> None:
    """The side of leg 0 is parted by those of legs 1 and 2; every clade of two taxa or more is parted at least once."""
    legs, bits, size = support.legs, support.split_bits, support.split_size
    if legs.min() < 0 or legs.max() >= support.n_splits:
        raise _damaged("legs")
    whole, one, other = (bits[legs[k::3]] for k in range(3))
    if (whole != one | other).any() or (one & other).any() or (legs[1::3] >= legs[2::3]).any():
        raise _damaged("legs")
    parted = np.zeros((support.n_splits, 2), bool)
    parted[legs, (np.arange(legs.size) % 3 != 0).astype(np.int64)] = True
    needed = np.stack([size > 1, support.n_taxa - size > 1], axis=1)
    if (needed & ~parted).any():
        raise _damaged("legs")


def _check_ports(support: SubsplitSupport) -> None:
    """Neighbourhoods lead across one split, from leg 0 to a leg that leads away or back, and are there in both directions."""
    start, child, twin, legs = support.port_start, support.port_child, support.twin, support.legs
    if start[0] != 0 or (np.diff(start) < 0).any() or start[-1] != child.size:
        raise _damaged("port_start")
    if child.size and (min(child.min(), twin.min()) < 0 or child.max() >= legs.size or twin.max() >= twin.size):
        raise _damaged("port_child")
    parent = np.repeat(np.arange(legs.size, dtype=np.int64), np.diff(start))
    keys = parent * legs.size + child
    if (np.diff(keys) <= 0).any() or (legs[parent] != legs[child]).any():
        raise _damaged("port_child")
    if ((parent % 3 == 0) == (child % 3 == 0)).any():
        raise _damaged("port_child")
    if (parent[twin] != child).any() or (child[twin] != parent).any():
        raise _damaged("twin")
    beyond = support.split_size[legs]
    beyond = np.where(np.arange(legs.size) % 3 == 0, support.n_taxa - beyond, beyond)
    if ((np.diff(start) == 0) & (beyond > 1)).any():
        raise _damaged("port_start")


def _damaged(name: str) -> SupportError:
    return SupportError(f"{name} is not that of a support")

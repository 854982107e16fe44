"""What moves ask of a model's partials. Which kernels answer is settled by the type of what they are given, when a caller is
compiled: partials.py for JC69, model_partials.py for all other models. So the moves are written once.

A model may keep, for each node away from the focus, its partial (`collect` computes it) or the message that its partial
becomes at the other end of its edge (`send`); the other of the two then does nothing.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.extending import overload

from vbpi_mix.accelerate import FASTMATH, NO_C_WRAPPER
from vbpi_mix.phylo.sampling.kernels import model_partials, partials

_OF_TYPE = {
    kind: module
    for module, kinds in (
        (partials, (partials.Tree, partials.Work)),
        (model_partials, (model_partials.HeldTree, model_partials.HeldWork)),
    )
    for kind in kinds
}


def _kernels(value: Any) -> Any:
    """The module of kernels for a named tuple, or for its type in numba."""
    return _OF_TYPE[getattr(value, "instance_class", type(value))]


def collect(h, data, tree):
    """The partial of the internal node at half-edge h, of all that lies away from h's edge."""
    return _kernels(tree).collect(h, data, tree)


def send(h, purpose, t, node, data, tree, work):
    """The message of the node at half-edge h across h's edge; returns the log of a factor.

    purpose (half_edges.py): to be kept for the focus; or as the stem of a graft; or, over an edge of length t, as what lies
    above internal `node`. t and node mean something for the last only.
    """
    return _kernels(tree).send(h, purpose, t, node, data, tree, work)


def fill_rows(h, arrangement, data, tree, work):
    """What edge_log_likelihood needs of the edge of h, for an arrangement of what is around it; returns the log of a factor.

    arrangement: 0 for the one there is, later also 1 or 2, with the same factor; or ALONE for the one there is and no other.
    With a, b the neighbours of h's node in the order of ports after h, and c, d those at the other end, 0 is (ab|cd), 1 (ac|bd)
    and 2 (ad|cb).
    """
    return _kernels(tree).fill_rows(h, arrangement, data, tree, work)


def edge_log_likelihood(arrangement, t, data, work):
    """Log-likelihood, but for the factor of the rows, with length t at the focus and an arrangement around it."""
    return _kernels(work).edge_log_likelihood(arrangement, t, data, work)


def graft_log_likelihood(graft, data, tree, work):
    """Log-likelihood, but for the factor of the stem, with it joined at a place; keeps what lies above the node below."""
    return _kernels(tree).graft_log_likelihood(graft, data, tree, work)


def tree_of(trees, c):
    """The tree of chain c, in place."""
    return _kernels(trees).tree_of(trees, c)


def work_of(work, c):
    """The memory of chain c, in place."""
    return _kernels(work).work_of(work, c)


if not getattr(numba.config, "DISABLE_JIT", 0):
    # The kernels' own functions are compiled in place of these: a call less, and for the compiler a level less.
    _OPTIONS: Any = {"fastmath": FASTMATH, "error_model": "numpy", "_nrt": False, **NO_C_WRAPPER}

    @overload(collect, jit_options=_OPTIONS)
    def _collect(h, data, tree):
        return _kernels(tree).collect.py_func

    @overload(send, jit_options=_OPTIONS)
    def _send(h, purpose, t, node, data, tree, work):
        return _kernels(tree).send.py_func

    @overload(fill_rows, jit_options=_OPTIONS)
    def _fill_rows(h, arrangement, data, tree, work):
        return _kernels(tree).fill_rows.py_func

    @overload(edge_log_likelihood, jit_options=_OPTIONS)
    def _edge_log_likelihood(arrangement, t, data, work):
        return _kernels(work).edge_log_likelihood.py_func

    @overload(graft_log_likelihood, jit_options=_OPTIONS)
    def _graft_log_likelihood(graft, data, tree, work):
        return _kernels(tree).graft_log_likelihood.py_func

    @overload(tree_of, jit_options=_OPTIONS)
    def _tree_of(trees, c):
        return _kernels(trees).tree_of.py_func

    @overload(work_of, jit_options=_OPTIONS)
    def _work_of(work, c):
        return _kernels(work).work_of.py_func

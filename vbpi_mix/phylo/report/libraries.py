"""Trees and draws as objects of other libraries: DendroPy, Biopython, ETE 3 and ArviZ.

Each is imported when it is asked for. Names are taken as they are, blanks, quotes, underscores and all.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vbpi_mix.errors import ConfigError

# Columns of a trace that are no parameters; together they are ArviZ's lp.
_STATISTICS = ("LnL", "LnPr")


class Clade(Protocol):
    """What is read of a clade (consensus.ConsensusClade has it)."""

    @property
    def name(self) -> str: ...

    @property
    def frequency(self) -> float: ...

    @property
    def length(self) -> float: ...

    @property
    def clades(self) -> Sequence[Any]: ...


class Tree(Protocol):
    """Clades around the top node; two if the tree is rooted."""

    @property
    def clades(self) -> Sequence[Any]: ...


def to_dendropy(tree: Tree) -> Any:
    """A dendropy.Tree."""
    dendropy = _module("dendropy", "dendropy", "dendropy")
    namespace = dendropy.TaxonNamespace()

    def grow(node: Any, clade: Clade) -> Any:
        child = node.new_child(edge_length=clade.length)
        if clade.clades:
            child.label = f"{clade.frequency:.4g}"
            child.annotations.add_new("prob", clade.frequency)
        else:
            child.taxon = namespace.new_taxon(clade.name)
        return child

    made = dendropy.Tree(taxon_namespace=namespace)
    _copy(tree, made.seed_node, grow)
    made.is_rooted = len(tree.clades) == 2
    return made


def to_biopython(tree: Tree) -> Any:
    """A Bio.Phylo.Newick.Tree."""
    newick = _module("Bio.Phylo.Newick", "biopython", "Biopython")

    def grow(node: Any, clade: Clade) -> Any:
        confidence = clade.frequency if clade.clades else None
        child = newick.Clade(branch_length=clade.length, name=clade.name or None, confidence=confidence)
        node.clades.append(child)
        return child

    top = newick.Clade()
    _copy(tree, top, grow)
    return newick.Tree(root=top, rooted=len(tree.clades) == 2)


def to_ete3(tree: Tree) -> Any:
    """An ete3.Tree."""
    ete3 = _module("ete3", "ete3", "ETE 3")
    top = ete3.Tree()

    def grow(node: Any, clade: Clade) -> Any:
        return node.add_child(name=clade.name, dist=clade.length, support=clade.frequency)

    _copy(tree, top, grow)
    return top


def to_arviz(names: Sequence[str], values: np.ndarray) -> Any:
    """Draws float64 [N, k] as one chain: LnL, LnPr and their sum lp as sample_stats, all others as posterior."""
    arviz = _module("arviz", "arviz", "ArviZ")
    columns = {name: values[None, :, k] for k, name in enumerate(names)}
    statistics = {name: column for name, column in columns.items() if name in _STATISTICS}
    statistics["lp"] = np.sum(list(statistics.values()), axis=0)
    posterior = {name: column for name, column in columns.items() if name not in _STATISTICS}
    groups = {"posterior": posterior, "sample_stats": statistics}
    # Before 1.0 groups are keywords.
    if int(arviz.__version__.split(".")[0]) < 1:
        return arviz.from_dict(**groups)
    return arviz.from_dict(groups)


def _copy(tree: Tree, top: Any, grow: Any) -> None:
    """Every clade, by grow(node above, clade), which returns its node."""
    waiting = [(top, clade) for clade in reversed(tree.clades)]
    while waiting:
        above, clade = waiting.pop()
        node = grow(above, clade)
        waiting.extend((node, inner) for inner in reversed(clade.clades))


def _module(name: str, extra: str, shown: str) -> Any:
    """The module of a library. ConfigError, with how to get it, if it does not import."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{shown} does not import ({error}): install it by `pip install 'vbpi-mix[{extra}]'`") from None

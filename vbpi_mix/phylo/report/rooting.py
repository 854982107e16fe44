"""Trees rooted where a user says: on the edge of an outgroup, or at the midpoint of the longest path between taxa.

Fits are of unrooted trees; a root is put in for the reader, at the end. What is known of a split is known of an edge, and
stays with its edge whichever of its ends is the upper one: both halves of the edge with the root have its frequency. On
labels of nodes that are left where they stood: Czech, Huerta-Cepas and Stamatakis (2017), "A critical review on the use of
support values in tree viewers and bioinformatics toolkits".

A tree is a `Consensus`, resolved or not; `tree_of` makes one of a topology and its branch lengths.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.report.consensus import Consensus, ConsensusClade
from vbpi_mix.phylo.trees.newick import composed, unquote

_SHOWN = 6


@dataclass(frozen=True)
class Rooting:
    """What was asked: a root beside these taxa, or else at the midpoint."""

    outgroup: tuple[str, ...] = ()

    @staticmethod
    def of(outgroup: str | Sequence[str] | None, midpoint: bool, taxa: Sequence[str]) -> Rooting | None:
        """Checked choices; None if neither is made. outgroup: names, or one text with commas between them, in which a name
        with a comma stands in quotes.

        ConfigError if both are asked, for a name that is no taxon or comes twice, and for all taxa.

        >>> Rooting.of("a, 'b,c'", False, ["a", "b,c", "d"])
        Rooting(outgroup=('a', 'b,c'))
        """
        if outgroup is None:
            return Rooting() if midpoint else None
        if midpoint:
            raise ConfigError("a tree has one root: give either --outgroup or --midpoint")
        named = _names(outgroup, taxa) if isinstance(outgroup, str) else tuple(outgroup)
        found = tuple(_taxon(name, taxa) for name in named)
        if not found:
            raise ConfigError("--outgroup: no taxon is named; give the names of one or more taxa, with commas between them")
        for k, name in enumerate(found):
            if name in found[:k]:
                raise ConfigError(f"--outgroup: taxon {name!r} is named twice")
        if len(found) == len(taxa):
            raise ConfigError(f"--outgroup: all {len(taxa)} taxa are in it; leave out those of the ingroup")
        return Rooting(found)


@dataclass(frozen=True)
class Rooted:
    """A tree with a root: its clades are those below it, two unless the tree does not resolve where it is. remark: what was
    done if the outgroup is no group of the tree, a sentence; else empty."""

    tree: Consensus
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Edge:
    """A clade with the number of the edge above it, -1 at the top, and the distance from the clade's node to its farthest
    taxon."""

    clade: ConsensusClade
    above: int
    members: frozenset[str]
    depth: float


def root(tree: Consensus, rooting: Rooting) -> Rooted:
    """The tree, rooted or not, with a root as asked. Its taxa must have the outgroup's among them."""
    tree = unrooted(tree)
    if not rooting.outgroup:
        return Rooted(_at_midpoint(tree))
    return _at_outgroup(tree, rooting.outgroup)


def unrooted(tree: Consensus) -> Consensus:
    """The tree with the two edges of a bifurcating root as one."""
    if len(tree.clades) != 2:
        return tree
    one, other = sorted(tree.clades, key=lambda clade: not clade.clades, reverse=True)
    if not other.clades:
        return tree
    joined = replace(one, length=one.length + other.length, frequency=min(one.frequency, other.frequency))
    return Consensus((joined, *other.clades))


def tree_of(children: np.ndarray, lengths: np.ndarray, taxa: Sequence[str], support: np.ndarray | None = None) -> Consensus:
    """A topology int32 [n-2, 2] with branch lengths float64 [E], unrooted. support: float64 [E], in place of a frequency of 1
    of every edge."""
    n_taxa = len(taxa)
    shares = np.ones(2 * n_taxa - 3) if support is None else support
    known = list(zip(shares.tolist(), lengths.tolist(), strict=True))
    clades = [ConsensusClade(name, *known[max(k - 1, 0)]) for k, name in enumerate(taxa)]
    for k in range(n_taxa - 3):
        left, right = children[k].tolist()
        clades.append(ConsensusClade("", *known[n_taxa + k - 1], (clades[left], clades[right])))
    left, right = children[n_taxa - 3].tolist()
    # The edge above the top is the pendant edge of taxon 0.
    first = ConsensusClade(taxa[0], *known[2 * n_taxa - 4])
    return Consensus((first, clades[left], clades[right]))


def _at_outgroup(tree: Consensus, named: Sequence[str]) -> Rooted:
    outgroup, edges = frozenset(named), edges_of(tree)
    everything = _taxa(edges)

    def rank(k: int) -> tuple[int, bool, float, int]:
        """How many taxa are on the wrong side. Of edges that are equally wrong, one that is right of the taxon named first, so
        that trees of one posterior look alike."""
        members = edges[k].members
        apart = len(members) + len(outgroup) - 2 * len(members & outgroup)
        inside = 2 * apart <= len(everything)
        return min(apart, len(everything) - apart), (named[0] in members) != inside, -edges[k].clade.frequency, k

    best = min(range(len(edges)), key=rank)
    misplaced = edges[best].members ^ outgroup
    misplaced = min(misplaced, everything - misplaced, key=len)
    if not misplaced:
        return Rooted(_at_edge(tree, edges, best, 0.5, outgroup))
    node = _node_between(edges, outgroup, everything)
    if node is not None:
        what = f"the outgroup {_some(outgroup)} is neither a group in this tree nor contradicted by it"
        at = _at_node(tree, edges, node)
        return Rooted(_outgroup_first(at, outgroup), f"{what}: the root is at the node where it meets the ingroup")
    count = f"{len(misplaced)} taxon" if len(misplaced) == 1 else f"{len(misplaced)} taxa"
    remark = (
        f"the outgroup {_some(outgroup)} is not monophyletic in this tree: the root is on the edge with the fewest taxa on the "
        f"wrong side, {count} ({_some(misplaced)})"
    )
    return Rooted(_at_edge(tree, edges, best, 0.5, outgroup), remark)


def _taxa(edges: Sequence[Edge]) -> frozenset[str]:
    return frozenset(edge.clade.name for edge in edges if not edge.clade.clades)


def _node_between(edges: Sequence[Edge], outgroup: frozenset[str], everything: frozenset[str]) -> int | None:
    """The node, by the edge above it and -1 for the top, around which every clade is all outgroup or has none of it."""
    pure: dict[int, bool] = {}
    for edge in edges:
        inside = edge.members <= outgroup or not edge.members & outgroup
        pure[edge.above] = pure.get(edge.above, True) and inside
    for node in pure:
        above = everything - edges[node].members if node >= 0 else frozenset()
        if pure[node] and (above <= outgroup or not above & outgroup):
            return node
    return None


def _at_midpoint(tree: Consensus) -> Consensus:
    """Halfway between the two taxa that are farthest apart (Farris 1972)."""
    edges = edges_of(tree)
    below: dict[int, list[int]] = {}
    for k, edge in enumerate(edges):
        below.setdefault(edge.above, []).append(k)

    def arm(k: int) -> float:
        return edges[k].depth + edges[k].clade.length

    def two_longest(node: int) -> float:
        return sum(sorted(map(arm, below[node]))[-2:])

    node = max(below, key=two_longest)
    here = max(below[node], key=arm)
    rest = arm(here) - two_longest(node) / 2
    while rest > edges[here].clade.length and here in below:
        rest -= edges[here].clade.length
        here = max(below[here], key=arm)
    length = edges[here].clade.length
    return _at_edge(tree, edges, here, min(rest / length, 1.0) if length > 0 else 0.5)


def edges_of(tree: Consensus) -> list[Edge]:
    """Every edge, an upper one before those below it."""
    clades: list[tuple[ConsensusClade, int]] = []
    waiting = [(clade, -1) for clade in reversed(tree.clades)]
    while waiting:
        clade, above = waiting.pop()
        waiting.extend((inner, len(clades)) for inner in reversed(clade.clades))
        clades.append((clade, above))
    members: list[set[str]] = [{clade.name} if not clade.clades else set() for clade, _ in clades]
    depth = [0.0] * len(clades)
    for k in reversed(range(len(clades))):
        clade, above = clades[k]
        if above >= 0:
            members[above] |= members[k]
            depth[above] = max(depth[above], depth[k] + clade.length)
    return [Edge(*clades[k], frozenset(members[k]), depth[k]) for k in range(len(clades))]


def _at_edge(
    tree: Consensus, edges: Sequence[Edge], chosen: int, share: float, outgroup: frozenset[str] | None = None
) -> Consensus:
    """A root on an edge, this share of its length from its upper end; the side with more of the outgroup first."""
    clade = edges[chosen].clade
    above = _above(tree, edges, chosen)
    lower = replace(clade, length=clade.length * (1.0 - share))
    upper = replace(above, length=clade.length * share)
    if outgroup is None:
        return Consensus((upper, lower))
    inside = edges[chosen].members
    # Of the edge's two sides, the outgroup's is the one that it differs from in fewer taxa.
    is_lower = 2 * len(inside ^ outgroup) <= len(_taxa(edges))
    return Consensus((lower, upper) if is_lower else (upper, lower))


def _at_node(tree: Consensus, edges: Sequence[Edge], node: int) -> Consensus:
    """A root at a node, with all clades around it; -1 is the top."""
    if node < 0:
        return tree
    return Consensus((*edges[node].clade.clades, _above(tree, edges, node)))


def _above(tree: Consensus, edges: Sequence[Edge], chosen: int) -> ConsensusClade:
    """What is above an edge, turned over: a clade with the edge's frequency and length."""
    path = [chosen]
    while edges[path[-1]].above >= 0:
        path.append(edges[path[-1]].above)
    turned: tuple[ConsensusClade, ...] = ()
    around = tree.clades
    for k in reversed(path):
        clade = edges[k].clade
        others = (*(each for each in around if each is not clade), *turned)
        turned = (ConsensusClade("", clade.frequency, clade.length, others),)
        around = clade.clades
    return turned[0]


def _outgroup_first(tree: Consensus, outgroup: frozenset[str]) -> Consensus:
    return Consensus(tuple(sorted(tree.clades, key=lambda clade: _any_taxon(clade) not in outgroup)))


def _any_taxon(clade: ConsensusClade) -> str:
    while clade.clades:
        clade = clade.clades[0]
    return clade.name


def _names(text: str, taxa: Sequence[str]) -> tuple[str, ...]:
    """The names in a text with commas between them; a text that is a name itself is one."""
    if text in taxa:
        return (text,)
    found = re.findall(r"\s*('(?:[^']|'')*'|\"[^\"]*\"|[^,]+)\s*(?:,|$)", text)
    return tuple(name.strip() for name in found if name.strip())


def _taxon(name: str, taxa: Sequence[str]) -> str:
    """The taxon of a name as it is written, without its quotes, or with underscores for its blanks."""
    bare = unquote(name)
    for wanted in (name, bare, composed(bare)):
        if wanted in taxa:
            return wanted
    spaced = [taxon for taxon in taxa if taxon.replace("_", " ") == bare.replace("_", " ")]
    if len(spaced) == 1:
        return spaced[0]
    near = difflib.get_close_matches(bare, taxa, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"--outgroup: taxon {bare!r} is not among the {len(taxa)} of this run{hint}")


def _some(names: frozenset[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")

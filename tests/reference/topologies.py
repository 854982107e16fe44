"""Slow, obviously right twins of the topology code: nested tuples, sets and recursion."""

from __future__ import annotations

import itertools
import re

Tree = int | tuple  # a taxon number, or a tuple of subtrees


def read_newick(text, taxa):
    """Nested tuples of taxon numbers; for plain Newick with bare names, and neither lengths nor comments."""
    tokens = re.findall(r"[(),]|[^(),;\s]+", text)
    tree, rest = _read(tokens, list(taxa))
    assert not rest
    return tree


def _read(tokens, taxa):
    if tokens[0] != "(":
        return taxa.index(tokens[0]), tokens[1:]
    parts = []
    while tokens[0] in "(,":
        part, tokens = _read(tokens[1:], taxa)
        parts.append(part)
    return tuple(parts), tokens[1:]


def leaves(tree):
    """The set of taxa of a tree."""
    return frozenset([tree]) if isinstance(tree, int) else frozenset().union(*map(leaves, tree))


def splits(tree):
    """Splits of the tree, unrooted: for every edge, the side without taxon 0."""
    everyone = leaves(tree)
    found = set()

    def visit(node):
        below = leaves(node)
        found.add(everyone - below if 0 in below else below)
        if not isinstance(node, int):
            for part in node:
                visit(part)

    for part in tree:
        visit(part)
    return frozenset(found)


def canonical_children(tree):
    """The canonical array of the tree, as rows of pairs, built from its splits by the definition."""
    clades = splits(tree)
    n_taxa = len(leaves(tree))
    rows = []

    def number(clade):
        if len(clade) == 1:
            return min(clade)
        inside = [c for c in clades if c < clade]
        halves = [c for c in inside if not any(c < d for d in inside)]
        pair = tuple(number(half) for half in sorted(halves, key=min))
        rows.append(pair)
        return n_taxa + len(rows) - 1

    number(max(clades, key=len))
    return rows


def clades_of_children(children):
    """The set of taxa below every node of an array of children, by node; taxon 0 has itself."""
    n_taxa = len(children) + 2
    below = [frozenset([taxon]) for taxon in range(n_taxa)]
    for left, right in children:
        below.append(below[left] | below[right])
    return below


def all_trees(n_taxa):
    """Every unrooted topology as a nested tuple with taxon 0 first, by stepwise addition."""

    def insertions(tree, taxon):
        yield (tree, taxon)
        if not isinstance(tree, int):
            left, right = tree
            yield from ((grown, right) for grown in insertions(left, taxon))
            yield from ((left, grown) for grown in insertions(right, taxon))

    trees = [(1, 2)]
    for taxon in range(3, n_taxa):
        trees = list(itertools.chain.from_iterable(insertions(tree, taxon) for tree in trees))
    return [(0, *tree) for tree in trees]


def random_rooted_tree(n_taxa, rng):
    """Nested pairs: subtrees joined two by two at random. Covers every shape and rooting, not uniformly."""
    parts = list(range(n_taxa))
    while len(parts) > 1:
        first, second = (parts.pop(rng.integers(len(parts))) for _ in range(2))
        parts.append((first, second))
    return parts[0]


def unroot(tree):
    """The same tree with a trifurcation at the top, where it has at least 3 taxa."""
    left, right = tree
    return (left, *right) if isinstance(left, int) else (*left, right)


def write_newick(tree, taxa):
    """Newick of nested tuples, names as they are."""

    def write(node):
        return taxa[node] if isinstance(node, int) else "(" + ",".join(map(write, node)) + ")"

    return write(tree) + ";"

"""Kernel that turns Newick text into canonical topologies, many trees in a call.

A tree is read with a stack of open parentheses into an undirected graph, of which it forgets the root, and
then hung from taxon 0. What else may be read than fully resolved trees on exactly the taxa is said by `Rules`.
The layout of the result is that of docs/data-model.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vbpi_mix.accelerate import allocates, kernel
from vbpi_mix.phylo.trees.kernels.newick_tokens import (
    CLOSE,
    COLON,
    COMMA,
    OPEN,
    SEMICOLON,
    SPACE,
    UNDERSCORE,
    after_label,
    is_quote,
    look_up,
    read_number,
    skip_blank,
)
from vbpi_mix.phylo.trees.kernels.topology import number_canonically

(
    PARSED, TRUNCATED, UNBALANCED, MULTIFURCATION, SINGLE_CHILD, UNKNOWN_TAXON, REPEATED_TAXON, MISSING_TAXON,
    BAD_LENGTH, NEGATIVE_LENGTH, SOME_LENGTHS, SYNTAX,
) = range(12)  # fmt: skip
# Columns of what is counted in a tree: edges without a length, polytomies resolved, leaves left out, lengths below 0.
ABSENT, RESOLVED, PRUNED, RAISED = range(4)
_LEFT_OUT = -2


class Rules(NamedTuple):
    """What else is read than fully resolved trees on exactly the taxa.

    choices: float64 [N, n] in [0, 1), which resolve the polytomies of each tree; [0, n] if none may have any. prune: whether
    leaves that are no taxa are left out. least_length: of a branch; what is below 0 and not below this is 0.
    """

    choices: Any
    prune: Any
    least_length: Any


class Graph(NamedTuple):
    """An unrooted tree as it is read: seen bool [n], which taxa are in it; neighbours int32 [2n, 3] and distances float64
    [2n, 3] of its nodes, nan where no length is given; degree int32 [2n]."""

    seen: Any
    neighbours: Any
    distances: Any
    degree: Any


@kernel
def _find_taxon(exact, loose, text, start, stop, scratch):
    """Taxon of the label text[start:stop]: as written, then without quotes, then with `_` read as a blank."""
    taxon = look_up(exact, text, start, stop)
    if taxon >= 0 or stop - start > scratch.size:
        return taxon
    size = 0
    if is_quote(text[start]):
        quote = text[start]
        pos = start + 1
        while pos < stop - 1:
            scratch[size] = text[pos]
            size += 1
            pos += 2 if text[pos] == quote else 1
    else:
        for pos in range(start, stop):
            scratch[size] = text[pos]
            size += 1
    taxon = look_up(exact, scratch, 0, size)
    if taxon >= 0:
        return taxon
    for pos in range(size):
        if scratch[pos] == UNDERSCORE:
            scratch[pos] = SPACE
    return look_up(loose, scratch, 0, size)


@kernel
def _link(one, other, length, graph):
    for here, there in ((one, other), (other, one)):
        graph.neighbours[here, graph.degree[here]] = there
        graph.distances[here, graph.degree[here]] = length
        graph.degree[here] += 1


@kernel
@allocates
def _hang_from_first(neighbours, distances, n_taxa, children, lengths):
    """Hang the tree from taxon 0, canonically; fills children int32 [n-2, 2] and lengths float64 [E]."""
    nodes = neighbours.shape[0]
    first = np.empty(nodes, np.int32)
    second = np.empty(nodes, np.int32)
    above = np.empty(nodes, np.float64)
    # A node that is in the tree no longer keeps 0.
    relabel = np.zeros(nodes, np.int32)
    stack = np.empty((nodes, 2), np.int32)
    top = neighbours[0, 0]
    above[top] = distances[0, 0]
    stack[0, 0], stack[0, 1] = top, 0
    waiting = 1
    while waiting:
        waiting -= 1
        node = stack[waiting, 0]
        parent = stack[waiting, 1]
        if node < n_taxa:
            continue
        seen = 0
        for k in range(3):
            child = neighbours[node, k]
            if child == parent:
                continue
            above[child] = distances[node, k]
            if seen == 0:
                first[node] = child
            else:
                second[node] = child
            seen += 1
            stack[waiting, 0], stack[waiting, 1] = child, node
            waiting += 1
    number_canonically(first, second, top, n_taxa, children, relabel)
    for node in range(1, nodes):
        if relabel[node] > 0:
            lengths[relabel[node] - 1] = above[node]


@kernel
@allocates
def _resolve(count, choices):
    """A uniform rooted binary tree on `count` >= 2 leaves: children int64 [count-1, 2] of its inner nodes, and its root.

    Leaves are 0 ... count-1, inner nodes count ... 2 count-2. Added one by one, each to an edge chosen uniformly by a number in
    [0, 1), the leaves are joined in each of the (2 count-3)!! ways with the same probability.
    """
    children = np.empty((count - 1, 2), np.int64)
    above = np.full(2 * count - 1, -1, np.int64)
    root = 0
    for leaf in range(1, count):
        edges = 2 * leaf - 1
        place = min(np.int64(choices[leaf - 1] * edges), edges - 1)
        if place >= leaf:
            place += count - leaf
        node = count + leaf - 1
        children[leaf - 1, 0], children[leaf - 1, 1] = place, leaf
        parent = above[place]
        above[node] = parent
        above[place] = node
        above[leaf] = node
        if parent < 0:
            root = node
        else:
            side = 0 if children[parent - count, 0] == place else 1
            children[parent - count, side] = node
    return children, root


@kernel
@allocates
def _join(graph, nodes, lengths, choices, tally):
    """Make the node above two subtrees, or those of a random tree on more; returns the one on top.

    nodes, lengths: of the subtrees. tally: int64 [2], how many nodes there are, and how many of the choices are used.
    """
    count = nodes.size
    made = tally[0]
    tally[0] += count - 1
    if count == 2:
        for k in range(2):
            _link(made, nodes[k], lengths[k], graph)
        return made
    children, root = _resolve(count, choices[tally[1] :])
    tally[1] += count - 1
    # Where the others have lengths, a new edge has 0.
    inner = np.nan if np.all(np.isnan(lengths)) else 0.0
    for k in range(count - 1):
        for side in range(2):
            child = children[k, side]
            if child < count:
                _link(made + k, nodes[child], lengths[child], graph)
            else:
                _link(made + k, made + child - count, inner, graph)
    return made + root - count


@kernel
@allocates
def _join_top(graph, nodes, lengths, choices, tally):
    """Join what is below the outermost parentheses, where the root of a rooted tree is forgotten."""
    count = nodes.size
    if count == 2:
        # The root is not a node of the unrooted tree; its two edges are one.
        _link(nodes[0], nodes[1], lengths[0] + lengths[1], graph)
    elif count > 2:
        top = _join(graph, nodes[: count - 1], lengths[: count - 1], choices, tally)
        _link(top, nodes[count - 1], lengths[count - 1], graph)
    elif count == 1 and graph.degree[nodes[0]] == 2:
        # All but one of the root's children are left out: that one is no node either.
        node = nodes[0]
        one, other = graph.neighbours[node, 0], graph.neighbours[node, 1]
        length = graph.distances[node, 0] + graph.distances[node, 1]
        for here, there in ((one, other), (other, one)):
            for k in range(graph.degree[here]):
                if graph.neighbours[here, k] == node:
                    graph.neighbours[here, k], graph.distances[here, k] = there, length


@kernel
@allocates
def _parse_tree(text, start, stop, exact, loose, rules, choices, graph, counts, fault):
    """Read the tree at `start` as an unrooted graph; returns PARSED or what is wrong.

    choices: float64 [n], those of this tree, [0] if it may have no polytomy. graph and counts, int32 [4], are filled. fault:
    int64 [2] receives the position at fault and the taxon at fault.
    """
    n_taxa = graph.seen.size
    end = min(stop, text.size)
    scratch = np.empty(exact.letters.size + 1, np.uint8)
    # A tree of which leaves are left out may be deeper than one of the taxa alone.
    deepest = end - start if rules.prune else n_taxa
    first, written = np.empty((2, deepest), np.int64)
    nodes, lengths = np.empty(n_taxa + 1, np.int64), np.empty(n_taxa + 1, np.float64)
    tally = np.array([n_taxa, 0])
    graph.seen[:] = False
    graph.degree[:] = 0
    counts[:] = 0
    depth, waiting, current, length, below = -1, 0, np.int64(-1), np.nan, 0.0
    expecting, labelled, measured = True, False, False
    pos = start
    while True:
        pos = skip_blank(text, pos, end)
        fault[0] = min(pos, text.size - 1)
        if pos >= end:
            return TRUNCATED
        byte = text[pos]
        if expecting and byte == OPEN:
            depth += 1
            if depth >= deepest:
                return UNBALANCED
            first[depth], written[depth] = waiting, 0
            pos += 1
        elif expecting:
            if byte == SEMICOLON:
                return UNBALANCED
            if depth < 0 or byte in (COMMA, CLOSE, COLON):
                return SYNTAX
            after = after_label(text, pos, end)
            if after >= end:
                return TRUNCATED
            current = np.int64(_find_taxon(exact, loose, text, pos, after, scratch))
            fault[1] = current
            if current < 0 and not rules.prune:
                return UNKNOWN_TAXON
            if current < 0:
                current = np.int64(_LEFT_OUT)
                counts[PRUNED] += 1
            elif graph.seen[current]:
                return REPEATED_TAXON
            else:
                graph.seen[current] = True
            expecting, labelled, measured, length, below = False, True, False, np.nan, 0.0
            pos = after
        elif byte == COLON and not measured:
            begin = skip_blank(text, pos + 1, end)
            fault[0] = min(begin, text.size - 1)
            length, pos = read_number(text, begin, end)
            if pos == begin and begin == end:
                return TRUNCATED
            if pos == begin or not np.isfinite(length):
                return BAD_LENGTH
            if length < rules.least_length:
                return NEGATIVE_LENGTH
            if length < 0.0:
                length = 0.0
                counts[RAISED] += 1
            length += below
            labelled, measured = True, True
        elif byte in (COMMA, CLOSE):
            if depth < 0:
                return UNBALANCED
            written[depth] += 1
            if current != _LEFT_OUT:
                if choices.size == 0 and waiting - first[depth] == (2 if depth else 3):
                    return MULTIFURCATION
                nodes[waiting], lengths[waiting] = current, length
                waiting += 1
            pos += 1
            expecting = byte == COMMA
            if expecting:
                continue
            if written[depth] == 1:
                return SINGLE_CHILD
            begin, count = first[depth], waiting - first[depth]
            below = 0.0
            counts[RESOLVED] += count > (2 if depth else 3)
            if depth == 0:
                _join_top(graph, nodes[begin:waiting], lengths[begin:waiting], choices, tally)
            elif count == 0:
                current = np.int64(_LEFT_OUT)
            elif count == 1:
                # What remains of the node is the edge through it.
                current, below = nodes[begin], lengths[begin]
            else:
                current = _join(graph, nodes[begin:waiting], lengths[begin:waiting], choices, tally)
            waiting = begin
            depth -= 1
            labelled, measured, length = False, False, np.nan
        elif byte == SEMICOLON:
            return PARSED if depth < 0 else UNBALANCED
        elif labelled or byte == OPEN:
            return BAD_LENGTH if measured and byte != COLON else SYNTAX
        else:
            pos = after_label(text, pos, end)
            labelled = True


@kernel
@allocates
def parse_trees(text, starts, stops, exact, loose, rules, children, lengths, counts, fault):
    """Parse trees i = 0 ... N-1 at starts[i]:stops[i] of `text` into canonical form.

    text: uint8; exact, loose: LabelTable of the n taxa; children: int32 [N, n-2, 2]; lengths: float64 [N, E],
    nan where none is given; counts: int32 [N, 4]; fault: int64 [2].
    Returns (PARSED, N), or (what is wrong, tree) at the first bad tree, with its position and taxon in
    `fault`.
    """
    n_taxa = children.shape[1] + 2
    graph = Graph(
        np.zeros(n_taxa, np.bool_),
        np.empty((2 * n_taxa, 3), np.int32),
        np.empty((2 * n_taxa, 3), np.float64),
        np.zeros(2 * n_taxa, np.int32),
    )
    none = np.empty(0, np.float64)
    for i in range(starts.size):
        choices = rules.choices[i] if rules.choices.shape[0] else none
        code = _parse_tree(text, starts[i], stops[i], exact, loose, rules, choices, graph, counts[i], fault)
        if code != PARSED:
            return code, i
        for taxon in range(n_taxa):
            if not graph.seen[taxon]:
                fault[1] = taxon
                return MISSING_TAXON, i
        _hang_from_first(graph.neighbours, graph.distances, n_taxa, children[i], lengths[i])
        for edge in range(lengths.shape[1]):
            counts[i, ABSENT] += np.isnan(lengths[i, edge])
        if 0 < counts[i, ABSENT] < lengths.shape[1]:
            return SOME_LENGTHS, i
    return PARSED, starts.size

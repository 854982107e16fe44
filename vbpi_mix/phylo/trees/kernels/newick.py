"""Kernel that turns Newick text into canonical topologies, many trees in a call.

A tree is read with a stack of open parentheses into an undirected graph, of which it forgets the root, and
then hung from taxon 0. The layout of the result is that of docs/data-model.md.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.accelerate import kernel
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
def _link(one, other, length, neighbours, distances, degree):
    neighbours[one, degree[one]] = other
    distances[one, degree[one]] = length
    degree[one] += 1
    neighbours[other, degree[other]] = one
    distances[other, degree[other]] = length
    degree[other] += 1


@kernel
def _hang_from_first(neighbours, distances, n_taxa, children, lengths):
    """Hang the tree from taxon 0, canonically; fills children int32 [n-2, 2] and lengths float64 [E]."""
    nodes = neighbours.shape[0]
    first = np.empty(nodes, np.int32)
    second = np.empty(nodes, np.int32)
    above = np.empty(nodes, np.float64)
    relabel = np.empty(nodes, np.int32)
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
    for node in range(1, 2 * n_taxa - 2):
        lengths[relabel[node] - 1] = above[node]


@kernel
def _parse_tree(text, start, stop, exact, loose, seen, neighbours, distances, fault):
    """Read the tree at `start` as an unrooted graph; returns PARSED or what is wrong.

    seen: bool [n], neighbours: int32 [2n, 3], distances: float64 [2n, 3] (nan where no length is given) are
    filled. fault: int64 [2] receives the position at fault and the taxon at fault.
    """
    n_taxa = seen.size
    end = min(stop, text.size)
    scratch = np.empty(exact.letters.size + 1, np.uint8)
    degree = np.zeros(2 * n_taxa, np.int32)
    count = np.zeros(n_taxa, np.int32)
    nodes = np.empty((n_taxa, 3), np.int32)
    lengths = np.empty((n_taxa, 3), np.float64)
    seen[:] = False
    depth, made, current, length = -1, 0, np.int32(-1), np.nan
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
            if depth >= n_taxa:
                return UNBALANCED
            count[depth] = 0
            pos += 1
        elif expecting:
            if byte == SEMICOLON:
                return UNBALANCED
            if depth < 0 or byte in (COMMA, CLOSE, COLON):
                return SYNTAX
            after = after_label(text, pos, end)
            if after >= end:
                return TRUNCATED
            current = _find_taxon(exact, loose, text, pos, after, scratch)
            fault[1] = current
            if current < 0:
                return UNKNOWN_TAXON
            if seen[current]:
                return REPEATED_TAXON
            seen[current] = True
            expecting, labelled, measured, length = False, True, False, np.nan
            pos = after
        elif byte == COLON and not measured:
            begin = skip_blank(text, pos + 1, end)
            fault[0] = min(begin, text.size - 1)
            length, pos = read_number(text, begin, end)
            if pos == begin and begin == end:
                return TRUNCATED
            if pos == begin or not np.isfinite(length):
                return BAD_LENGTH
            if length < 0.0:
                return NEGATIVE_LENGTH
            labelled, measured = True, True
        elif byte in (COMMA, CLOSE):
            if depth < 0:
                return UNBALANCED
            if count[depth] == 3 or (count[depth] == 2 and depth > 0):
                return MULTIFURCATION
            nodes[depth, count[depth]] = current
            lengths[depth, count[depth]] = length
            count[depth] += 1
            pos += 1
            expecting = byte == COMMA
            if expecting:
                continue
            if count[depth] == 1:
                return SINGLE_CHILD
            if depth == 0 and count[0] == 2:
                # The root of a rooted tree is not a node of the unrooted one; its two edges are one.
                _link(nodes[0, 0], nodes[0, 1], lengths[0, 0] + lengths[0, 1], neighbours, distances, degree)
            else:
                current = np.int32(n_taxa + made)
                made += 1
                for k in range(count[depth]):
                    _link(current, nodes[depth, k], lengths[depth, k], neighbours, distances, degree)
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
def parse_trees(text, starts, stops, exact, loose, children, lengths, absent, fault):
    """Parse trees i = 0 ... N-1 at starts[i]:stops[i] of `text` into canonical form.

    text: uint8; exact, loose: LabelTable of the n taxa; children: int32 [N, n-2, 2]; lengths: float64 [N, E],
    nan where none is given; absent: int32 [N], how many lengths are not given; fault: int64 [2].
    Returns (PARSED, N), or (what is wrong, tree) at the first bad tree, with its position and taxon in
    `fault`.
    """
    n_taxa = children.shape[1] + 2
    seen = np.zeros(n_taxa, np.bool_)
    neighbours = np.empty((2 * n_taxa, 3), np.int32)
    distances = np.empty((2 * n_taxa, 3), np.float64)
    for i in range(starts.size):
        code = _parse_tree(text, starts[i], stops[i], exact, loose, seen, neighbours, distances, fault)
        if code != PARSED:
            return code, i
        for taxon in range(n_taxa):
            if not seen[taxon]:
                fault[1] = taxon
                return MISSING_TAXON, i
        _hang_from_first(neighbours, distances, n_taxa, children[i], lengths[i])
        absent[i] = 0
        for edge in range(lengths.shape[1]):
            absent[i] += np.isnan(lengths[i, edge])
        if 0 < absent[i] < lengths.shape[1]:
            return SOME_LENGTHS, i
    return PARSED, starts.size

"""Kernels that read the bytes of a tree file: its commands, and the labels, comments and numbers in them.

The text is uint8 [bytes]. A command is what ends at a `;` outside quotes and comments. A quote opens only
where a token may begin, so that an apostrophe within a name is part of the name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vbpi_mix.accelerate import inner_kernel, kernel

OTHER, NEWICK_TREE, NEXUS_TREE = 0, 1, 2
NO_WEIGHT, WEIGHTED, BAD_WEIGHT = 0, 1, 2
SEMICOLON, COMMA, COLON, EQUALS, STAR = 59, 44, 58, 61, 42
OPEN, CLOSE, OPEN_COMMENT, CLOSE_COMMENT = 40, 41, 91, 93
QUOTE, DOUBLE_QUOTE, UNDERSCORE, SPACE, AMPERSAND = 39, 34, 95, 32, 38
DOT, PLUS, MINUS, ZERO, NINE, SLASH = 46, 43, 45, 48, 57, 47


# The powers of ten that float64 holds exactly. A computed power could be fused with the division by it.
_POWERS = 10.0 ** np.arange(23)


class LabelTable(NamedTuple):
    """Labels to taxon numbers, by open addressing.

    slots: int32 [a power of two], the label in each slot or -1. Label i is letters[starts[i]:starts[i+1]]
    (uint8, int64) and stands for taxon values[i] (int32).
    """

    slots: Any
    starts: Any
    letters: Any
    values: Any


@kernel
def _hash(text, start, stop):
    """A 32-bit FNV-1a code, folded; in int64 no product overflows, compiled or not."""
    code = np.int64(2166136261)
    for pos in range(start, stop):
        code = ((code ^ np.int64(text[pos])) * 16777619) & 0xFFFFFFFF
    return code ^ (code >> 15)


@kernel
def fill_table(table):
    """Put every label of `table` into its slot; the slots are -1 before, more than the labels in number."""
    mask = table.slots.size - 1
    for label in range(table.values.size):
        slot = _hash(table.letters, table.starts[label], table.starts[label + 1]) & mask
        while table.slots[slot] >= 0:
            slot = (slot + 1) & mask
        table.slots[slot] = label


@inner_kernel
def look_up(table, text, start, stop):
    """The taxon that text[start:stop] names, or -1."""
    mask = table.slots.size - 1
    slot = _hash(text, start, stop) & mask
    while table.slots[slot] >= 0:
        label = table.slots[slot]
        begin = table.starts[label]
        if table.starts[label + 1] - begin == stop - start:
            same = True
            for offset in range(stop - start):
                if table.letters[begin + offset] != text[start + offset]:
                    same = False
                    break
            if same:
                return table.values[label]
        slot = (slot + 1) & mask
    return np.int32(-1)


@inner_kernel
def is_blank(byte):
    return byte == 32 or (9 <= byte <= 13)


@kernel
def _after_comment(text, pos, stop):
    """Position after the comment that opens at `pos`; comments nest."""
    depth = 0
    while pos < stop:
        if text[pos] == OPEN_COMMENT:
            depth += 1
        elif text[pos] == CLOSE_COMMENT:
            depth -= 1
            if depth == 0:
                return pos + 1
        pos += 1
    return stop


@inner_kernel
def skip_blank(text, pos, stop):
    """Position of the first byte that is neither blank nor in a comment."""
    while pos < stop:
        if text[pos] == OPEN_COMMENT:
            pos = _after_comment(text, pos, stop)
        elif is_blank(text[pos]):
            pos += 1
        else:
            return pos
    return stop


@inner_kernel
def after_quoted(text, pos, stop):
    """Position after the quoted token that opens at `pos`; a doubled quote is a quote."""
    quote = text[pos]
    pos += 1
    while pos < stop:
        if text[pos] == quote:
            if pos + 1 < stop and text[pos + 1] == quote:
                pos += 1
            else:
                return pos + 1
        pos += 1
    return stop


@inner_kernel
def is_quote(byte):
    return byte in (QUOTE, DOUBLE_QUOTE)


@inner_kernel
def after_label(text, pos, stop):
    """Position after the label, quoted or bare, that begins at `pos`."""
    if is_quote(text[pos]):
        return after_quoted(text, pos, stop)
    while pos < stop:
        byte = text[pos]
        if is_blank(byte) or byte in (COMMA, COLON, CLOSE, OPEN, OPEN_COMMENT, SEMICOLON):
            return pos
        pos += 1
    return stop


@inner_kernel
def read_number(text, pos, stop):
    """Decimal number at `pos`: (value, position after it); the same position if there is none.

    Exact for up to 15 digits and small exponents, which covers what programs write; else within 2 units
    in the last place.
    """
    start = pos
    negative = pos < stop and text[pos] == MINUS
    if negative or (pos < stop and text[pos] == PLUS):
        pos += 1
    mantissa, exponent, digits, seen_dot = np.int64(0), np.int64(0), 0, False
    while pos < stop and (ZERO <= text[pos] <= NINE or (text[pos] == DOT and not seen_dot)):
        if text[pos] == DOT:
            seen_dot = True
        else:
            digits += 1
            keep = mantissa < 900_000_000_000_000_000
            if keep:
                mantissa = mantissa * 10 + (np.int64(text[pos]) - ZERO)
            exponent += np.int64(not keep) - np.int64(seen_dot)
        pos += 1
    if digits == 0:
        return 0.0, start
    if pos < stop and (text[pos] == 69 or text[pos] == 101):
        written, after = _read_exponent(text, pos + 1, stop)
        if after == pos + 1:
            return 0.0, start
        exponent, pos = exponent + written, after
    value = _scale(float(mantissa), exponent)
    return (-value if negative else value), pos


@kernel
def _read_exponent(text, pos, stop):
    """Integer at `pos`, held within 9999 of zero: (value, position after it), the same position if none."""
    start = pos
    negative = pos < stop and text[pos] == MINUS
    if negative or (pos < stop and text[pos] == PLUS):
        pos += 1
    value, digits = np.int64(0), pos
    while pos < stop and ZERO <= text[pos] <= NINE:
        value = min(value * 10 + (np.int64(text[pos]) - ZERO), 9999)
        pos += 1
    if pos == digits:
        return value, start
    return (-value if negative else value), pos


@kernel
def _scale(value, exponent):
    """value times ten to the exponent; with an exact power of ten the one operation rounds once."""
    if 0 <= exponent < _POWERS.size:
        return value * _POWERS[exponent]
    if -_POWERS.size < exponent < 0:
        return value / _POWERS[-exponent]
    if exponent > 0:
        if exponent > 308:
            return np.inf if value > 0.0 else 0.0
        return value * 10.0 ** float(exponent)
    # 10**309 and beyond would overflow, so the far end is reached in two steps.
    near = max(exponent, -300)
    return value / 10.0 ** float(-near) / 10.0 ** float(min(near - exponent, 308))


@kernel
def _end_of_command(text, pos, stop):
    """Position after the `;` that ends the command at `pos`, or -1 if the text ends first."""
    token_may_begin = True
    while pos < stop:
        byte = text[pos]
        if byte == OPEN_COMMENT:
            pos = _after_comment(text, pos, stop)
            token_may_begin = True
        elif token_may_begin and is_quote(byte):
            pos = after_quoted(text, pos, stop)
            token_may_begin = False
        elif byte == SEMICOLON:
            return pos + 1
        else:
            token_may_begin = is_blank(byte) or byte in (COMMA, OPEN, CLOSE, COLON, EQUALS)
            pos += 1
    return -1


@kernel
def _tree_body(text, pos, stop):
    """Where the tree of the command `tree name = ...` begins, or -1 if the command is another."""
    # Bit 32 makes a letter small; u t r e e are 117 116 114 101 101.
    if (text[pos] | 32) == 117:
        pos += 1
    if stop - pos < 5:
        return -1
    word = (text[pos] | 32, text[pos + 1] | 32, text[pos + 2] | 32, text[pos + 3] | 32)
    after = text[pos + 4]
    if word != (116, 114, 101, 101) or not (is_blank(after) or after in (STAR, OPEN_COMMENT)):
        return -1
    pos = skip_blank(text, pos + 4, stop)
    while pos < stop and text[pos] != EQUALS:
        pos = skip_blank(text, after_quoted(text, pos, stop) if is_quote(text[pos]) else pos + 1, stop)
    return min(pos + 1, stop)


@kernel
def _read_weight(text, pos, stop):
    """The number of the first comment `[&W x]` or `[&W x/y]`: (state, value)."""
    while pos < stop:
        if text[pos] != OPEN_COMMENT:
            pos += 1
            continue
        end = _after_comment(text, pos, stop)
        marked = end - pos > 4 and text[pos + 1] == AMPERSAND and (text[pos + 2] | 32) == 119
        if marked and is_blank(text[pos + 3]):
            start = skip_blank(text, pos + 3, end)
            value, after = read_number(text, start, end)
            if start < after < end and text[after] == SLASH:
                start = after + 1
                below, after = read_number(text, start, end)
                value = value / below if below > 0 else np.inf
            closed = skip_blank(text, after, end) == end - 1
            return (WEIGHTED if after > start and closed else BAD_WEIGHT), value
        pos = end
    return NO_WEIGHT, 0.0


@kernel
def scan_commands(text, kinds, starts, stops, weights):
    """Split a file into commands; returns how many.

    Per command: kinds uint8 [2, room], what it is and whether it has a weight; starts int64 [room], where the
    tree (or the other command) begins; stops int64 [room], the position after its `;` or the size of the text
    plus 1 if it has none; weights float64 [room]. room must exceed the number of `;`.
    """
    size, count, before = text.size, 0, 0
    pos = skip_blank(text, 0, size)
    while pos < size:
        stop = _end_of_command(text, pos, size)
        end = size if stop < 0 else stop
        stops[count] = size + 1 if stop < 0 else stop
        kinds[0, count] = OTHER
        starts[count] = pos
        if text[pos] == OPEN:
            kinds[0, count] = NEWICK_TREE
        else:
            body = _tree_body(text, pos, end)
            if body >= 0:
                kinds[0, count] = NEXUS_TREE
                starts[count] = skip_blank(text, body, end)
                before = body
        if kinds[0, count] != OTHER:
            kinds[1, count], weights[count] = _read_weight(text, before, starts[count])
        count += 1
        before = end
        pos = skip_blank(text, end, size)
    return count

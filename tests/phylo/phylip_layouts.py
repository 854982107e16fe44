"""PHYLIP files in every layout that programs write, made at random together with what they hold."""

from __future__ import annotations

from dataclasses import dataclass

LETTERS = {"dna": "ACGT", "protein": "ARNDCQEGHILKMFPSTWYV", "binary": "01", "standard": "0123"}
_NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REST = _NAMES + "0123456789_.-|"


@dataclass(frozen=True)
class Layout:
    """A file: its text, what it holds, and how it was laid out."""

    text: str
    names: tuple[str, ...]
    rows: tuple[str, ...]
    kind: str
    how: str


def random_layout(rng):
    """A file of 4 to 9 taxa and 1 to 90 sites."""
    kind = str(rng.choice(list(LETTERS)))
    is_strict, is_interleaved, repeats = rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.5
    n_taxa, n_sites = int(rng.integers(4, 10)), int(rng.integers(1, 91))
    names = _names(n_taxa, is_strict, rng)
    # Gaps are rarer than states, as anywhere.
    letters = LETTERS[kind] * 4 + "-?"
    rows = ["".join(rng.choice(list(letters), n_sites)) for _ in names]
    group = int(rng.choice([0, 10])) if rng.random() < 0.5 else 0
    heads = [f"{name:<10}" + rng.choice(["", " "]) if is_strict else name + " " * int(rng.integers(1, 4)) for name in names]
    if is_interleaved:
        width = int(rng.integers(1, n_sites + 1)) if rng.random() < 0.3 else min(n_sites, int(rng.choice([20, 30, 60])))
        lines = _interleaved(heads, rows, width, group, repeats, rng)
    else:
        repeats = False
        lines = _sequential(heads, rows, group, is_strict, rng)
    words = [("strict" if is_strict else "relaxed"), ("interleaved" if is_interleaved else "sequential")]
    header = rng.choice(["{} {}", " {}  {} ", "{}\t{}"]).format(n_taxa, n_sites)
    text = "\n".join([header, *lines]) + rng.choice(["", "\n", "\n\n"])
    return Layout(text, tuple(names), tuple(rows), kind, " ".join([*words, *(["repeated"] if repeats else []), kind]))


def _names(count, is_strict, rng):
    names: list[str] = []
    while len(names) < count:
        size = int(rng.integers(2, 11 if is_strict else 21))
        name = rng.choice(list(_NAMES)) + "".join(rng.choice(list(_REST), size - 1))
        if is_strict and size > 4 and rng.random() < 0.2:
            name = f"{name[:2]} {name[3:]}"
        if name not in names:
            names.append(name)
    return names


def _grouped(piece, group):
    return " ".join(piece[k : k + group] for k in range(0, len(piece), group)) if group else piece


def _interleaved(heads, rows, width, group, repeats, rng):
    lines: list[str] = []
    indent = " " * int(rng.choice([0, 0, 10]))
    for start in range(0, len(rows[0]), width):
        for head, row in zip(heads, rows, strict=True):
            lines.append((head if start == 0 or repeats else indent) + _grouped(row[start : start + width], group))
        if rng.random() < 0.8:
            lines.append("")
    return lines


def _sequential(heads, rows, group, is_strict, rng):
    lines: list[str] = []
    width = int(rng.choice([20, 60, 1000]))
    # A name of fixed width with a blank in it needs something behind it to be told from a name and a row.
    alone = rng.random() < 0.3
    for head, row in zip(heads, rows, strict=True):
        pieces = [row[k : k + width] for k in range(0, len(row), width)]
        if alone and not (is_strict and " " in head.strip()):
            lines += [head.rstrip(), *(_grouped(piece, group) for piece in pieces)]
        else:
            lines.append(head + _grouped(pieces[0], group))
            lines += [_grouped(piece, group) for piece in pieces[1:]]
    return lines

"""Empirical models of amino acid replacement, by name; their figures and sources are in protein.txt."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

AMINO_ACIDS = "ARNDCQEGHILKMFPSTWYV"
PAIRS = 190


@dataclass(frozen=True)
class ProteinMatrix:
    """exchangeabilities: 190, upper triangle row by row, of any scale. frequencies: 20, summing to 1. Order AMINO_ACIDS."""

    exchangeabilities: tuple[float, ...]
    frequencies: tuple[float, ...]


@functools.cache
def protein_matrices() -> Mapping[str, ProteinMatrix]:
    """All of them, by the names that IQ-TREE has for them."""
    text = files(__package__).joinpath("protein.txt").read_text(encoding="utf-8")
    blocks: dict[str, list[float]] = {}
    numbers: list[float] = []
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0][0].isalpha():
            numbers = blocks.setdefault(words[0], [])
        else:
            numbers.extend(map(float, words))
    return {name: _matrix(values) for name, values in blocks.items()}


def _matrix(values: list[float]) -> ProteinMatrix:
    frequencies = values[PAIRS:]
    total = sum(frequencies)
    return ProteinMatrix(tuple(values[:PAIRS]), tuple(each / total for each in frequencies))

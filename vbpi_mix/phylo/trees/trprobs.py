"""Topologies and their weights as a NEXUS file in the manner of MrBayes's sumt (.trprobs)."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.trees.newick import newick_word
from vbpi_mix.phylo.trees.topology import to_newick


def trprobs(children: np.ndarray, weights: np.ndarray, taxa: tuple[str, ...], comment: str) -> str:
    """The file's text: topologies int32 [U, n-2, 2], weights float64 [U] in the order they are given.

    Weights [&W] are written in full, so that reading the file gives them again; p and P, the weight and the sum so far, are
    for people.
    """
    numbers = tuple(str(k + 1) for k in range(len(taxa)))
    names = ",\n".join(f"      {number} {newick_word(name)}" for number, name in zip(numbers, taxa, strict=True))
    lines = ["#NEXUS", f"[{comment.translate({91: '(', 93: ')'})}]", "begin trees;", "   translate", f"{names};"]
    total = 0.0
    for k, (tree, weight) in enumerate(zip(children, weights.tolist(), strict=True), start=1):
        total += weight
        newick = to_newick(tree, numbers)
        lines.append(f"   tree tree_{k} [p = {weight:.6f}, P = {total:.6f}] = [&U] [&W {weight!r}] {newick}")
    return "\n".join([*lines, "end;", ""])

"""The taxa of a tree file, for when there is no alignment to say them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vbpi_mix.errors import TreeError
from vbpi_mix.files import read_bytes
from vbpi_mix.phylo.trees.newick import leaf_labels, unquote

_TREE = re.compile(r"(?i)(?<![\w.])u?tree\s+(?:\[[^\]]*\]|[^;=\[])*=\s*((?:\[[^\]]*\]\s*)*\(.*?;)", re.DOTALL)
_LIST = r"(?is)(?<![\w.]){}\s((?:'(?:[^']|'')*'|[^;'])*);"


def read_tree_taxa(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the taxa of a tree file, plain or gzip-compressed.

    In the order of the TRANSLATE command of a NEXUS file, else of its TAXLABELS, else sorted as they stand in
    the first tree. Raises TreeError if the file cannot be read or tells fewer than 3 taxa.
    """
    path = Path(path)
    text = read_bytes(path, "tree file", TreeError).decode("utf-8", "replace")
    nexus = text.lstrip()[:6].upper() == "#NEXUS"
    taxa = _nexus_taxa(text) if nexus else _leaves(text[: text.find(";") + 1])
    if len(taxa) < 3:
        raise TreeError(
            f"{path}: no taxa can be told from it; check that it is a tree file, or give --alignment"
        )
    if len(set(taxa)) < len(taxa):
        raise TreeError(
            f"{path}: a taxon is named twice in its first tree or its list of taxa; correct the file"
        )
    return tuple(taxa)


def _nexus_taxa(text: str) -> list[str]:
    tree = _TREE.search(text)
    head = re.sub(r"\[[^\]]*\]", " ", text[: tree.start()] if tree else text)
    translate = re.search(_LIST.format("translate"), head)
    if translate:
        entries = _words(translate[1].replace(",", " "))
        return entries[1::2]
    labels = re.search(_LIST.format("taxlabels"), head)
    if labels:
        return _words(labels[1])
    return _leaves(tree[1]) if tree else []


def _words(text: str) -> list[str]:
    return [unquote(word) for word in re.findall(r"'(?:[^']|'')*'|\"[^\"]*\"|\S+", text)]


def _leaves(tree: str) -> list[str]:
    return sorted(unquote(label) for label in leaf_labels(tree))

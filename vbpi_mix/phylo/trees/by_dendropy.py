"""Trees that the own reader cannot parse, read by DendroPy and written again as the plainest Newick.

DendroPy knows more of the formats and is slow, so it is asked only about what was refused. What it reads amiss stays refused.
Moreno, Holder and Sukumaran (2024), "DendroPy 5: a mature Python library for phylogenetic computing".
"""

from __future__ import annotations

import re
from typing import Any

from vbpi_mix.phylo.trees.newick import newick_word, without_comments
from vbpi_mix.phylo.trees.nexus import NEXUS_HEAD

# Reading takes about a second for each MB.
_LONGEST = 3_000_000
_NEXML = re.compile(rb"<(?:\w+:)?nexml\b")
_WEIGHT = re.compile(rb"\[\s*&W\s", re.IGNORECASE)
# Extended Newick's `:length:support`, of which DendroPy takes the last number for the length.
_SEVERAL_NUMBERS = re.compile(r":\s*[-+.\dEe]*\s*:")
_NAMES = re.compile(r"'(?:[^']|'')*'")
_TREE = {"nexml": re.compile(r"<(?:\w+:)?tree\b"), "nexus": re.compile(r"\s*u?tree\b[^=]*=", re.IGNORECASE)}


def plain_newick(data: bytes) -> bytes | None:
    """The trees of a file's content, a line each, with names, lengths and weights alone; None if DendroPy reads none.

    Nodes with a single child are left out, their branches joined. NEXUS, Newick and NeXML are told apart by how they begin.
    """
    import dendropy

    if len(data) > _LONGEST:
        return None
    nexus = NEXUS_HEAD.match(data)
    schema = "nexml" if _NEXML.search(data[:2000]) else "nexus" if nexus else "newick"
    given: dict[str, Any] = {}
    if schema != "nexml":
        given = {
            "preserve_underscores": True, "store_tree_weights": True, "suppress_internal_node_taxa": True,
            "case_sensitive_taxon_labels": True,
        }  # fmt: skip
    text = data[nexus.end() if nexus else 0 :].decode("utf-8", "replace")
    try:
        names = dendropy.TaxonNamespace(is_case_sensitive=True)
        trees = dendropy.TreeList.get(data=text, schema=schema, taxon_namespace=names, **given)
    # Damaged files end in exceptions of every kind there.
    except Exception:
        return None
    bare = text if schema == "nexml" else _NAMES.sub("", without_comments(text))
    # What it passes over without a word is a loss.
    if len(trees) != _count(bare, schema) or (schema != "nexml" and _SEVERAL_NUMBERS.search(bare)):
        return None
    weighted = bool(_WEIGHT.search(data))
    lines = [_line(tree, weighted) for tree in trees]
    if not lines or None in lines:
        return None
    return "".join(f"{line}\n" for line in lines).encode()


def _count(bare: str, schema: str) -> int:
    """How many trees a text without names and comments must hold; what follows the last of a list counts as one."""
    if schema == "nexml":
        return len(_TREE["nexml"].findall(bare))
    *statements, rest = bare.split(";")
    if schema == "nexus":
        return sum(bool(_TREE["nexus"].match(each)) for each in [*statements, rest])
    return len(statements) + bool(rest.strip())


def _line(tree: Any, weighted: bool) -> str | None:
    """One tree, its weight before it; None if a leaf has no name, or there is but one."""
    bodies: dict[Any, tuple[str, float | None]] = {}
    for node in tree.postorder_node_iter():
        below = [bodies.pop(child) for child in node.child_nodes()]
        if not below:
            if node.taxon is None:
                return None
            bodies[node] = (newick_word(node.taxon.label), node.edge.length)
        elif len(below) == 1:
            body, length = below[0]
            known = [float(each) for each in (length, node.edge.length) if each is not None]
            bodies[node] = (body, sum(known) if known else None)
        else:
            bodies[node] = (f"({','.join(map(_marked, below))})", node.edge.length)
    body = bodies[tree.seed_node][0]
    return f"{f'[&W {float(tree.weight)!r}] ' if weighted else ''}{body};" if body.startswith("(") else None


def _marked(part: tuple[str, float | None]) -> str:
    body, length = part
    return body if length is None else f"{body}:{float(length)!r}"

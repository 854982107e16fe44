"""Trees as NeXML, by DendroPy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

_COMMENT = "comment"


def tokens(count: int) -> list[str]:
    """What stands for the taxa in the trees that `nexml` takes."""
    return [f"taxon_{k}" for k in range(count)]


def nexml(texts: Sequence[str], taxa: Sequence[str], rooted: bool, comment: str) -> str:
    """A NeXML document of trees in Newick, with `tokens` for names, whose annotations become its annotations.

    DendroPy 5.1 writes labels as JSON has them, which XML reads otherwise (quotes, letters beyond ASCII); so it is given
    tokens, and names take their places afterwards.
    """
    import dendropy

    words = tokens(len(taxa))
    namespace = dendropy.TaxonNamespace(words)
    trees = dendropy.TreeList.get(
        data="\n".join(texts), schema="newick", taxon_namespace=namespace, preserve_underscores=True,
        rooting="force-rooted" if rooted else "force-unrooted", extract_comment_metadata=True,
    )  # fmt: skip
    trees.label = _COMMENT
    labels = {word: quoteattr(name) for word, name in zip((*words, _COMMENT), (*taxa, comment), strict=True)}
    text = str(trees.as_string(schema="nexml"))
    return re.sub(r'label="(taxon_\d+|comment)"', lambda found: f"label={labels[found[1]]}", text)

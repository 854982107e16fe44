"""Trees as NeXML, by DendroPy."""

from __future__ import annotations

from collections.abc import Sequence


def nexml(texts: Sequence[str], taxa: Sequence[str], rooted: bool, comment: str) -> str:
    """A NeXML document of Newick trees, whose annotations become its annotations. taxa: in the order of the document."""
    import dendropy

    namespace = dendropy.TaxonNamespace(list(taxa))
    trees = dendropy.TreeList.get(
        data="\n".join(texts), schema="newick", taxon_namespace=namespace, preserve_underscores=True,
        rooting="force-rooted" if rooted else "force-unrooted", extract_comment_metadata=True,
    )  # fmt: skip
    trees.label = comment
    return str(trees.as_string(schema="nexml"))

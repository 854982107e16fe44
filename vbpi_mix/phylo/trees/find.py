"""Which files are a tree sample: those that a user names by path or pattern, or those beside an alignment."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vbpi_mix.errors import TreeError

# Families of tree samples in order of preference; each ends the name of the alignment, with or without the
# suffix of its format.
_FAMILIES = (r"\.ufboot", "ufboot folder", r"\.trprobs", r"(\.run\d+)?\.t", r"\.trees", r"\.tre")


def expand_paths(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths and glob patterns (`*`, `?`, `[..]`, `**`) name, each once.

    Files of one pattern are in natural order: rep_2 before rep_10. Raises TreeError if a path or pattern
    names no file.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        name = os.path.expanduser(os.fspath(pattern))
        names = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True), key=_natural)
        if not names:
            kind = "no file matches this pattern" if glob.has_magic(name) else "no such file"
            raise TreeError(f"{pattern}: {kind}; check the path of the tree sample")
        for each in names:
            found.setdefault(os.path.realpath(each), Path(each))
    return list(found.values())


def find_tree_samples(alignment_path: str | os.PathLike[str]) -> list[Path]:
    """Files beside an alignment that are by their names a tree sample of it; an empty list if there are none.

    They are named like the alignment, with or without the suffix of its format, plain or .gz. Only one family
    is taken, the first of: NAME.ufboot; the folder `ufboot` with files *.ufboot; NAME.trprobs; NAME.t and
    NAME.run1.t, NAME.run2.t ...; NAME.trees; NAME.tre. A file that is there both plain and compressed counts
    once.
    """
    return next(find_tree_families(alignment_path), [])


def find_tree_families(alignment_path: str | os.PathLike[str]) -> Iterator[list[Path]]:
    """The files of every family that is there, in order of preference; `find_tree_samples` has the names."""
    alignment = Path(alignment_path)
    bare = alignment.name.removesuffix(".gz")
    stems = "|".join(re.escape(stem) for stem in {bare, Path(bare).stem})
    for family in _FAMILIES:
        folder, name = alignment.parent, rf"({stems}){family}(\.gz)?"
        if family == "ufboot folder":
            folder, name = folder / "ufboot", r".+\.ufboot(\.gz)?"
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        matches = {e.name.removesuffix(".gz"): e for e in reversed(entries) if re.fullmatch(name, e.name)}
        if matches:
            yield [matches[key] for key in sorted(matches, key=_natural)]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that orders runs of digits by their value."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]

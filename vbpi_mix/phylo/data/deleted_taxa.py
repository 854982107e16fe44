"""The taxa that a NEXUS file leaves out: DELETE and RESTORE of MrBayes and PAUP blocks, and the TAXSETs that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vbpi_mix.phylo.data.nexus_commands import Command, of_blocks
from vbpi_mix.phylo.data.site_sets import BLOCKS, SiteSets, Words, definition

_TAXA = Words("taxon", "taxa", "taxset")


def deleted_taxa(taxa: Sequence[str], commands: Sequence[Command], where: Path | str) -> np.ndarray:
    """Which taxa, bool [n], DELETE leaves out and RESTORE or UNDELETE does not take in again.

    A list has names, numbers, ranges such as `3-5` or `7-.`, taxsets and `all`. where: what errors begin with. Raises
    AlignmentError for what is no taxon and no taxset, and for a number beyond the last taxon.
    """
    places = {name: np.array([k], dtype=np.int64) for k, name in enumerate(taxa)}
    sets = SiteSets(len(taxa), where, places, _TAXA)
    for command in of_blocks(commands, "taxa", *BLOCKS):
        if command.word == "taxset":
            name, _, text = definition(command.body)
            sets.define(name, text)
    out = np.zeros(len(taxa), dtype=bool)
    for command in of_blocks(commands, "mrbayes", "paup"):
        if command.word in ("delete", "restore", "undelete"):
            out[sets.sites(command.body, command.word.upper())] = command.word == "delete"
    return out

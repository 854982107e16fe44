"""The parts of an alignment and their models, in the words and files of IQ-TREE and MrBayes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vbpi_mix.phylo.data.alignment import Alignment, write_fasta
from vbpi_mix.phylo.data.alphabets import Alphabet
from vbpi_mix.phylo.models.mrbayes_lines import dirichlet
from vbpi_mix.phylo.models.parameters import DEFAULT_PRIORS

# What MrBayes calls parameters that several parts may share.
_MRBAYES_PARAMETERS = {
    "kappa": "tratio", "rates": "revmat", "frequencies": "statefreq", "alpha": "shape", "pinvar": "pinvar",
}  # fmt: skip


class ModelWords(Protocol):
    """A model of characters, as other programs are told."""

    @property
    def iqtree(self) -> str:
        """After -m, or in a charpartition."""
        ...

    def mrbayes(self, partition: int | None = None) -> tuple[str, ...]:
        """Lines of a MrBayes block, for a partition counted from 1 or for all characters."""
        ...


@dataclass(frozen=True, eq=False)
class ProgramPart:
    """Characters that share a model: sites int, counted from 0, of one alphabet and none of them excluded."""

    sites: np.ndarray
    model: ModelWords


@dataclass(frozen=True)
class ProgramParts:
    """All parts of an alignment; branch lengths are the same for all.

    linked: names of parameters (kappa, rates, frequencies, alpha, pinvar) that parts share. multipliers: the prior of the parts'
    shares of all change, as dirichlet:1, where every part has a rate of its own; None: all have one rate.
    """

    parts: tuple[ProgramPart, ...]
    linked: tuple[str, ...] = ()
    multipliers: str | None = DEFAULT_PRIORS["multipliers"]

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.parts) > 1


def write_iqtree_parts(alignment: Alignment, given: ProgramParts, folder: Path) -> list[str]:
    """Write the sites of each part as FASTA, and a partition file if there are several; returns IQ-TREE's arguments for them.

    IQ-TREE estimates the parameters of every part by itself, whatever parts share. Raises AlignmentError if a file cannot be
    written.
    """
    kinds = []
    for number, part in enumerate(given.parts, start=1):
        own = _of_sites(alignment, part.sites)
        write_fasta(own, folder / f"part{number}.fasta")
        kinds.append(_iqtree_kind(own.alphabets[0], part.model.iqtree))
    if not given.several:
        return ["-s", "part1.fasta", "-st", kinds[0], "-m", given.parts[0].model.iqtree]
    charsets = [f"charset p{k} = part{k}.fasta:{kind}, *;" for k, kind in enumerate(kinds, start=1)]
    models = [f"{part.model.iqtree}:p{k}" for k, part in enumerate(given.parts, start=1)]
    lines = ["#nexus", "begin sets;", *charsets, f"charpartition parts = {', '.join(models)};", "end;", ""]
    (folder / "parts.nex").write_text("\n".join(lines), encoding="ascii")
    return ["-q" if given.multipliers is None else "-p", "parts.nex"]


def _iqtree_kind(alphabet: Alphabet, model: str) -> str:
    """IQ-TREE's word for a kind of data; binary characters are another to it than others, with models of their own."""
    if alphabet.name == "standard":
        return "BIN" if model.startswith(("JC2", "GTR2")) else "MORPH"
    return {"dna": "DNA", "protein": "AA"}[alphabet.name]


def _of_sites(alignment: Alignment, sites: np.ndarray) -> Alignment:
    """The alignment of some sites of one alphabet."""
    alphabet = alignment.alphabets[alignment.alphabet_of[sites[0]]]
    return Alignment(alignment.taxa, np.ascontiguousarray(alignment.states[:, sites]), (alphabet,))


def part_after_part(alignment: Alignment, given: ProgramParts) -> Alignment:
    """The alignment with the sites of the first part, then those of the second, and so on."""
    sites = np.concatenate([part.sites for part in given.parts])
    states = np.ascontiguousarray(alignment.states[:, sites])
    used, of_site = np.unique(alignment.alphabet_of[sites], return_inverse=True)
    return Alignment(alignment.taxa, states, tuple(alignment.alphabets[k] for k in used), of_site.astype(np.uint8))


def mrbayes_model_lines(given: ProgramParts) -> tuple[str, ...]:
    """Lines of a MrBayes block that set the model of an alignment whose parts stand one after the other.

    Raises ConfigError for a model or a prior that MrBayes does not have.
    """
    if not given.several:
        return given.parts[0].model.mrbayes()
    ends = np.cumsum([part.sites.size for part in given.parts]).tolist()
    starts = [1, *(end + 1 for end in ends[:-1])]
    names = [f"p{k + 1}" for k in range(len(given.parts))]
    charsets = [f"charset {name} = {a}-{b};" for name, a, b in zip(names, starts, ends, strict=True)]
    models = [line for k, part in enumerate(given.parts, start=1) for line in part.model.mrbayes(k)]
    return (
        *charsets, f"partition parts = {len(names)}: {', '.join(names)};", "set partition=parts;", *models,
        *_links(given.linked),
        *([] if given.multipliers is None else [f"prset applyto=(all) ratepr={dirichlet(given.multipliers, len(names))};"]),
    )  # fmt: skip


def _links(linked: Sequence[str]) -> list[str]:
    """Which parameters parts share; MrBayes has those alone that it is told to unlink, and shares others with equal priors."""
    own = [word for name, word in _MRBAYES_PARAMETERS.items() if name not in linked]
    shared = [word for name, word in _MRBAYES_PARAMETERS.items() if name in linked]
    lines = [("unlink", own), ("link", shared)]
    return [f"{command} {' '.join(f'{word}=(all)' for word in words)};" for command, words in lines if words]

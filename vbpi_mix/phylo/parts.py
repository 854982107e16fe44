"""The parts of an alignment with their models, and the posterior that they make: the one place that says which.

A part is what evolves alike: all characters, those of one alphabet of a mixed alignment, or a partition. What a checkpoint
keeps of it is enough to make its model again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import DNA, alphabet_of_name
from vbpi_mix.phylo.data.partitions import Part, default_parts
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.strings import alphabet_of_model, parse_model
from vbpi_mix.phylo.models.substitution import DEFAULT_MODEL
from vbpi_mix.phylo.prior_choices import Priors

# Of characters for which no model is named.
DEFAULT_MODELS = {"dna": DEFAULT_MODEL, "protein": "LG", "standard": "MK"}



@dataclass(frozen=True, eq=False)
class DataPart:
    """Characters that evolve alike. model: in IQ-TREE's syntax. places: int64, which sites of the alignment they are; None if
    they come from a checkpoint, which has no alignment.
    """

    name: str
    patterns: SitePatterns
    model: str
    places: np.ndarray | None = None

    @property
    def sites(self) -> int:
        """How many characters."""
        return int(self.patterns.weights.sum())


def data_parts(
    alignment: Alignment, model: str | None = None, partitions: Sequence[Part] | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[DataPart, ...]:
    """The parts of an alignment with a model each: that of the partition file, else `model` where it is for such characters,
    else the default, which `tell` is told of where it is not JC69.

    ConfigError if no part can have `model`.
    """
    wanted = None if model is None else alphabet_of_model(model)
    made, used = [], False
    for part in default_parts(alignment) if partitions is None else partitions:
        patterns = compress(alignment, part.sites)
        chosen = part.model
        if chosen is None and model is not None and wanted in (None, part.alphabet.name):
            chosen, used = model, True
        if chosen is None:
            chosen = DEFAULT_MODELS[part.alphabet.name]
            if tell is not None and chosen != DEFAULT_MODEL:
                tell(f"{part.name}: {part.alphabet.name} characters, under {chosen} as no other model is named (--model)")
        parse_model(chosen, part.alphabet)
        made.append(DataPart(part.name, patterns, chosen, part.sites))
    if model is not None and not used:
        parse_model(model, made[0].patterns.alphabet)
        if all(part.model is not None for part in partitions or ()):
            raise ConfigError(f"model {model}: every part has a model of its own in the partition file; leave --model out")
    return tuple(made)


def is_default(parts: Sequence[DataPart]) -> bool:
    """Whether there is nothing but nucleotides under JC69, which has its own kernels."""
    (first, *others) = parts
    alphabet = first.patterns.alphabet
    return not others and alphabet == DNA and parse_model(first.model, alphabet).text == "JC"


def posterior_of(parts: Sequence[DataPart], model: ModelConfig, chosen: Priors) -> Posterior:
    """The posterior that a fit approximates, when it begins and when it is loaded. chosen: priors of lengths and topologies."""
    priors: dict[str, Any] = {"branch_prior": chosen.lengths, "topology_prior": chosen.topologies}
    if is_default(parts):
        return Posterior(parts[0].patterns, **priors)
    from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
    from vbpi_mix.phylo.models.joint import HeldModel, JointPosterior
    from vbpi_mix.phylo.models.part import make_part

    given, used = model.priors(), set()
    made = []
    for part in parts:
        own = make_part(part.model, part.patterns, {name: given[name] for name in given if name in _free(part)})
        used |= _free(part)
        made.append(CharacterPart(part.name, part.patterns, own))
    unused = [name for name in given if name not in used]
    if unused:
        raise ConfigError(f"prior {unused[0]}: no part has such a free parameter; free are {', '.join(sorted(used)) or 'none'}")
    linked = model.shared()
    characters = CharacterModel(made, linked, multipliers="multipliers" not in linked)
    if characters.size == 0:
        held = HeldModel(characters, np.zeros(0))
        return Posterior(parts[0].patterns, held, **priors)
    return JointPosterior(characters, **priors)


def _free(part: DataPart) -> set[str]:
    return set(parse_model(part.model, part.patterns.alphabet).free)


def parts_state(parts: Sequence[DataPart]) -> list[dict[str, Any]]:
    """Parts as plain data and tensors."""
    return [
        {
            "name": part.name,
            "model": part.model,
            "alphabet": part.patterns.alphabet.name,
            "symbols": part.patterns.alphabet.symbols,
            "states": torch.from_numpy(_signed(part.patterns.states)),
            "weights": torch.from_numpy(part.patterns.weights),
        }
        for part in parts
    ]


def restore_parts(state: Mapping[str, Any]) -> tuple[DataPart, ...]:
    """The parts of a problem's state; one from before there were parts has the patterns of nucleotides under JC69. KeyError if
    something is missing.
    """
    if "parts" not in state:
        alphabet = alphabet_of_name(*state.get("alphabet", ("dna", "")))
        patterns = SitePatterns(state["states"].numpy().view(alphabet.dtype), state["weights"].numpy(), alphabet)
        return (DataPart("all", patterns, DEFAULT_MODEL),)
    made = []
    for each in state["parts"]:
        alphabet = alphabet_of_name(each["alphabet"], each["symbols"])
        states = each["states"].numpy().view(alphabet.dtype)
        made.append(DataPart(each["name"], SitePatterns(states, each["weights"].numpy(), alphabet), each["model"]))
    return tuple(made)


def _signed(states: np.ndarray) -> np.ndarray:
    """torch has no unsigned integers of 64 bits."""
    return states.view(np.int64) if states.dtype == np.uint64 else states

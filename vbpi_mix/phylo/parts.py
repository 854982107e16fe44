"""The parts of an alignment with their models, and the posterior that they make: the one place that says which.

A part is what evolves alike: all characters, those of one alphabet of a mixed alignment, or a partition. What a checkpoint
keeps of it is enough to make its model again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from vbpi_mix.errors import CheckpointError, ConfigError
from vbpi_mix.phylo.config import ModelConfig
from vbpi_mix.phylo.data.alignment import Alignment
from vbpi_mix.phylo.data.alphabets import DNA, Alphabet, alphabet_of_name
from vbpi_mix.phylo.data.partitions import Part, default_parts
from vbpi_mix.phylo.data.site_patterns import SitePatterns, compress
from vbpi_mix.phylo.models.parameters import DEFAULT_PRIORS, DENSITIES
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.strings import WORDS, alphabet_of_model, parse_model
from vbpi_mix.phylo.models.substitution import DEFAULT_MODEL
from vbpi_mix.phylo.prior_choices import Priors, describe_topologies

# Of characters for which no model is named.
DEFAULT_MODELS = {"dna": DEFAULT_MODEL, "protein": "LG", "standard": "MK"}
# Sites that do not vary, in a message.
MOST_LISTED = 200
RICHER_MODELS = {"dna": "GTR+G4", "protein": "LG+G4", "standard": "MK+G4"}


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
    else the default, which `tell` is told of.

    ConfigError if no part can have `model`, or a part not the one that is written for it.
    """
    if model is not None:
        _check_single(model)
    wanted = None if model is None else alphabet_of_model(model)
    made, used, assumed = [], False, set()
    found = default_parts(alignment) if partitions is None else partitions
    for part in found:
        patterns = compress(alignment, part.sites)
        chosen = part.model
        if chosen is None and model is not None and wanted in (None, part.alphabet.name):
            chosen, used = model, True
        if chosen is None:
            chosen = DEFAULT_MODELS[part.alphabet.name]
            assumed.add(part.alphabet.name)
        with _naming(part.name, len(found)):
            spec = parse_model(chosen, part.alphabet)
            if spec.ascertainment:
                _check_varying(spec.text, alignment, part.sites)
        made.append(DataPart(part.name, patterns, chosen, part.sites))
    if model is not None and not used:
        parse_model(model, made[0].patterns.alphabet)
        if all(part.model is not None for part in partitions or ()):
            raise ConfigError(
                f"model {model}: every part has a model of its own in the partition file; leave --model out, or the models there"
            )
    say = tell or (lambda text: None)
    for kind in sorted(assumed):
        say(
            f"{WORDS[kind]} under {DEFAULT_MODELS[kind]}, as no other model is named: --model {RICHER_MODELS[kind]} is another "
            "(docs/models.md lists all)"
        )
    return tuple(made)


def _check_varying(model: str, alignment: Alignment, sites: np.ndarray) -> None:
    """ConfigError, which says what to exclude, if some of the sites may be the same at all taxa."""
    constant = sites[np.bitwise_and.reduce(alignment.states[:, sites], axis=0) != 0] + 1
    if constant.size:
        listed = " ".join(map(str, constant[:MOST_LISTED])) + (" ..." if constant.size > MOST_LISTED else "")
        raise ConfigError(
            f"model {model}: {constant.size} of {sites.size} characters do not vary, and +ASC is for those that do; leave +ASC "
            f"out, or exclude them, in NEXUS by an assumptions block with 'exset * constant = {listed};'"
        )


def _check_single(model: str) -> None:
    """ConfigError for several models in one text."""
    if ";" in model or re.search(r",(?![^{]*\})", model):
        raise ConfigError(
            f"model {model}: give one; models for parts of the data stand in a partition file, 'HKY+G4, gene1 = 1-500' "
            "(--partitions), and `vbpi-mix models` compares several"
        )


@contextmanager
def _naming(part: str, count: int) -> Iterator[None]:
    """Errors name the part that they are of, where there are several."""
    try:
        yield
    except ConfigError as error:
        raise (ConfigError(f"part {part!r}: {error}") if count > 1 else error) from None


def is_default(parts: Sequence[DataPart]) -> bool:
    """Whether there is nothing but nucleotides under JC69, which has its own kernels."""
    (first, *others) = parts
    alphabet = first.patterns.alphabet
    return not others and alphabet == DNA and parse_model(first.model, alphabet).text == "JC"


def posterior_of(parts: Sequence[DataPart], model: ModelConfig, chosen: Priors, number: int | None = None) -> Posterior:
    """The posterior that a fit approximates, when it begins and when it is loaded. chosen: priors of lengths and topologies.
    number: by which other processes know it, if they do.
    """
    priors: dict[str, Any] = {"branch_prior": chosen.lengths, "topology_prior": chosen.topologies}
    given, linked = model.priors(), model.shared()
    free = {name for part in parts for name in _free(part)}
    if len(parts) > 1 and "multipliers" not in linked:
        free.add("multipliers")
    for name in given:
        _check_prior(name, given[name], free)
    for name in linked:
        if name not in shareable(parts):
            raise ConfigError(f"link {name}: no two parts have {name} to share; leave it out")
    if is_default(parts):
        if number is None:
            return Posterior(parts[0].patterns, **priors)
        from vbpi_mix.phylo.models.shared import SharedJukesCantor

        return Posterior(parts[0].patterns, SharedJukesCantor(number), **priors)
    from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
    from vbpi_mix.phylo.models.joint import HeldModel, JointPosterior
    from vbpi_mix.phylo.models.part import make_part

    made = []
    for part in parts:
        with _naming(part.name, len(parts)):
            own = make_part(part.model, part.patterns, {name: given[name] for name in given if name in _free(part)})
        made.append(CharacterPart(part.name, part.patterns, own))
    of_shares = given.get("multipliers", DEFAULT_PRIORS["multipliers"])
    arguments = made, linked, None if "multipliers" in linked else of_shares
    if number is None:
        characters = CharacterModel(*arguments)
    else:
        from vbpi_mix.phylo.models.shared import SharedCharacters

        characters = SharedCharacters(number, *arguments)
    if characters.size == 0:
        held = HeldModel(characters, np.zeros(0))
        return Posterior(parts[0].patterns, held, **priors)
    return JointPosterior(characters, **priors)


def _free(part: DataPart) -> set[str]:
    return set(parse_model(part.model, part.patterns.alphabet).free)


def _check_prior(name: str, density: str, free: Collection[str]) -> None:
    """ConfigError for a prior of what is no parameter, or of none that is learned."""
    if name not in DENSITIES:
        raise ConfigError(
            f"prior {name}={density}: parameters are {', '.join(DENSITIES)}; the prior of branch lengths is --prior-lengths"
        )
    if name not in free:
        raise ConfigError(f"prior {name}={density}: nothing learns {name}; learned are {', '.join(sorted(free)) or 'none'}")


def shareable(parts: Sequence[DataPart]) -> frozenset[str]:
    """Names of what parts have in common to share: a parameter of the same size for the same characters."""
    count: Counter[tuple[object, ...]] = Counter()
    for part in parts:
        spec = parse_model(part.model, part.patterns.alphabet)
        count.update((name, spec.alphabet, spec.n_states, spec.classes if name == "rates" else None) for name in spec.free)
    several = {"multipliers"} if len(parts) > 1 else set()
    return frozenset({str(key[0]) for key, times in count.items() if times > 1} | several)


def applicable(model: ModelConfig, parts: Sequence[DataPart]) -> ModelConfig:
    """The same choices without priors of parameters that these parts do not learn, and links that they cannot have."""
    free = {name for part in parts for name in _free(part)}
    priors = ";".join(f"{name}={density}" for name, density in model.priors().items() if name in free)
    shared = ",".join(name for name in model.shared() if name in shareable(parts))
    return replace(model, prior=priors, link=shared)


def describe_models(parts: Sequence[DataPart]) -> str:
    """The models of parts in a line, those of many parts with their number."""
    count = Counter(parse_model(part.model, part.patterns.alphabet).text for part in parts)
    if len(parts) == 1:
        return next(iter(count))
    return f"{len(parts)} parts ({', '.join(f'{times} {model}' if times > 1 else model for model, times in count.items())})"


def describe_target(parts: Sequence[DataPart], posterior: Posterior, model: ModelConfig) -> str:
    """What the evidence refers to, in a line: models of the parts, what they share, and priors of parameters that are not the
    default, of lengths and of topologies.
    """
    shared = [f"sharing {', '.join(model.shared())}"] if model.shared() else []
    own = [f"priors {', '.join(f'{name}={density}' for name, density in model.priors().items())}"] if model.priors() else []
    lengths = f"branch lengths {posterior.branch_prior.text}"
    return "; ".join([describe_models(parts), *shared, *own, lengths, describe_topologies(posterior.topology_prior)])


def parts_state(parts: Sequence[DataPart]) -> list[dict[str, Any]]:
    """Parts as plain data and tensors."""
    return [
        {
            "name": part.name,
            "model": part.model,
            "alphabet": part.patterns.alphabet.name,
            "symbols": part.patterns.alphabet.symbols,
            "states": as_tensor(part.patterns.states),
            "weights": torch.from_numpy(part.patterns.weights),
        }
        for part in parts
    ]


# Whole numbers up to here are float64s.
MOST_SITES = 2.0**53


def restore_parts(state: Mapping[str, Any]) -> tuple[DataPart, ...]:
    """The parts of a problem's state; one from before there were parts has the patterns of nucleotides under JC69. KeyError if
    something is missing, CheckpointError if there are states that the characters do not have.
    """
    if "parts" not in state:
        alphabet = alphabet_of_name(*state.get("alphabet", ("dna", "")))
        return (DataPart("all", _patterns(state, alphabet, len(state["taxa"])), DEFAULT_MODEL),)
    made = []
    for each in state["parts"]:
        alphabet = alphabet_of_name(each["alphabet"], each["symbols"])
        made.append(DataPart(each["name"], _patterns(each, alphabet, len(state["taxa"])), each["model"]))
    return tuple(made)


def _patterns(state: Mapping[str, Any], alphabet: Alphabet, n_taxa: int) -> SitePatterns:
    """Site patterns from a checkpoint: kernels look states up in tables of the alphabet's size."""
    states, weights = state["states"].numpy().view(alphabet.dtype), state["weights"].numpy()
    fits = states.ndim == 2 and states.shape == (n_taxa, weights.size) and states.max(initial=0) <= alphabet.missing
    if not fits or weights.dtype != np.float64 or weights.ndim != 1 or not ((weights > 0) & (weights <= MOST_SITES)).all():
        raise CheckpointError("the site patterns of the checkpoint are damaged: use another checkpoint")
    return SitePatterns(np.ascontiguousarray(states), weights, alphabet)


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """An array as a tensor; bit sets of 64 as int64, since not every version of PyTorch has uint64."""
    return torch.from_numpy(values.view(np.int64) if values.dtype == np.uint64 else values)

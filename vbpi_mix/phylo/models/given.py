"""Models whose numbers are all given: the likelihood of one tree, and characters drawn on it."""

from __future__ import annotations

import numpy as np

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.data.alphabets import DNA, PROTEIN, STANDARD_SYMBOLS, Alphabet, standard
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.characters import CharacterModel, CharacterPart
from vbpi_mix.phylo.models.jukes_cantor import JukesCantor
from vbpi_mix.phylo.models.part import PartModel, make_part
from vbpi_mix.phylo.models.simulate import simulate_characters, simulate_states, state_sets
from vbpi_mix.phylo.models.strings import alphabet_of_model

# How each is written in a model string.
WRITTEN = {
    "kappa": "{name}{{2.5}}", "rates": "{name}{{numbers}}", "frequencies": "+F{{numbers}}", "alpha": "+G{categories}{{0.5}}",
    "pinvar": "+I{{0.1}}",
}  # fmt: skip


def tree_log_likelihood(
    text: str, patterns: SitePatterns, children: np.ndarray, lengths: np.ndarray, device: str = "cpu"
) -> float:
    """Log-likelihood of one tree, children int32 [n-2, 2] and lengths [E], under the model that a string names.

    device: where it is computed (device.DEVICES). ConfigError for a string that is no model of these characters or leaves numbers
    open, and for a device that is not there or has no kernels for the model.
    """
    part = _whole(make_part(text, patterns))
    one = (children[None], lengths[None])
    if part.spec.text == "JC":
        model = JukesCantor()
        model.to(device)
        return float(model.log_likelihoods(*one, model.pack(patterns))[0])
    characters = CharacterModel([CharacterPart("all", patterns, part)])
    characters.to(device)
    return float(characters.log_likelihoods(*one, np.empty((1, 0)))[0])


def draw_characters(
    text: str, alphabet: Alphabet, children: np.ndarray, lengths: np.ndarray, sites: int, rng: np.random.Generator
) -> np.ndarray:
    """State sets [n, sites] at the taxa of one tree under the model that a string names.

    ConfigError for a string that is no model of the alphabet or leaves numbers open; frequencies that are to be counted
    are open, for want of data.
    """
    nothing = SitePatterns(np.empty((children.shape[0] + 2, 0), alphabet.dtype), np.empty(0), alphabet)
    part = _whole(make_part(text, nothing))
    if part.spec.frequencies == "empirical":
        raise ConfigError(f"model {part.spec.text}: there are no data to count frequencies in; give them as +F{{numbers}}")
    if part.spec.text == "JC":
        return simulate_states(children, lengths, sites, rng)
    rates = part.rates(np.empty((1, 0)))
    return state_sets(simulate_characters(children, lengths, sites, rng, rates, part.spec.ascertainment), alphabet)


def alphabet_for(text: str, n_states: int = 2) -> Alphabet:
    """The alphabet that a model is for; n_states: of discrete characters. ConfigError for a number that is out of range."""
    kind = alphabet_of_model(text)
    if kind == "standard":
        if not 2 <= n_states <= len(STANDARD_SYMBOLS):
            raise ConfigError(f"{n_states} states: discrete characters have 2 to {len(STANDARD_SYMBOLS)}")
        return standard(STANDARD_SYMBOLS[:n_states])
    return PROTEIN if kind == "protein" else DNA


def _whole(part: PartModel) -> PartModel:
    """The same, or ConfigError that says which numbers are lacking and how they are written."""
    lacking = part.lacking()
    if lacking:
        spec = part.spec
        shown = (WRITTEN[name].format(name=spec.name, categories=spec.categories) for name in lacking)
        raise ConfigError(f"model {spec.text}: numbers are lacking for {', '.join(lacking)}; give them as {', '.join(shown)}")
    return part

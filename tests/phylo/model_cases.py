"""Small data for models: patterns of any alphabet, and models that between them have every kind of parameter."""

from __future__ import annotations

import numpy as np

from vbpi_mix.phylo.data.alphabets import BINARY, DNA, PROTEIN, standard
from vbpi_mix.phylo.data.site_patterns import SitePatterns

MODELS = [
    ("GTR+I+G4", DNA), ("HKY+G4", DNA), ("TIM2+FQ+I", DNA), ("K80+I{0.3}+G3", DNA), ("JC+G4", DNA), ("GTR{1,2,3,4,5}", DNA),
    ("LG+I+G4", PROTEIN), ("WAG+FO", PROTEIN), ("GTR2+G4+ASC", BINARY), ("MK+FO+G2+ASC", standard("012")),
    ("ORDERED+I+G4", standard("0123")),
]  # fmt: skip


def patterns_of(alphabet, n_taxa=6, n_patterns=12, seed=0, varying=False):
    """Random states, every tenth missing and some sets of two; varying: none that may be constant."""
    rng = np.random.default_rng(seed)
    one = alphabet.dtype.type(1)
    shape = (n_taxa, n_patterns)
    states = np.left_shift(one, rng.integers(0, alphabet.n_states, shape).astype(alphabet.dtype))
    second = np.left_shift(one, rng.integers(0, alphabet.n_states, shape).astype(alphabet.dtype))
    states = np.where(rng.random(shape) < 0.1, states | second, states)
    states[rng.random(shape) < 0.1] = alphabet.missing
    if varying:
        states[:2] = [[1], [2]]
    return SitePatterns(states, rng.integers(1, 4, n_patterns).astype(float), alphabet)

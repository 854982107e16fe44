"""A part of the data with its model's parameters held: what the built-in sampler moves trees under."""

from __future__ import annotations

from dataclasses import dataclass

from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.models.rates import Rates


@dataclass(frozen=True, eq=False)
class HeldPart:
    """Patterns of one alphabet, rates of one parameter vector (M = 1), and whether only variable characters were recorded."""

    patterns: SitePatterns
    rates: Rates
    ascertainment: bool

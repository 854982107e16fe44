"""Data of several parts under models whose parameters are held, with a slow twin of their likelihood."""

import numpy as np
from reference import pruning

from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.models.rates import Rates


class HeldPosterior(Posterior):
    """Parts with models whose parameters are given, in place of JC69."""

    def __init__(self, parts):
        super().__init__(parts[0].patterns)
        self.parts = parts

    @property
    def held_parts(self):
        return self.parts

    def twin(self, children, lengths):
        total = 0.0
        for part in self.parts:
            rates = Rates(*(values[0] for values in part.rates))
            q = rates.vectors @ np.diag(rates.values) @ rates.inverse
            categories = [*zip(rates.rates, rates.weights, strict=True), (0.0, rates.invariant)]
            total += pruning.log_likelihood(
                children, lengths, part.patterns.states, part.patterns.weights, q, rates.frequencies, categories,
                part.ascertainment,
            )  # fmt: skip
        return total

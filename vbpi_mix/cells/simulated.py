"""Cells of seven known types, simulated: negative-binomial counts, dropout, library sizes that vary.

Type t has log-expression base_g + effect_tg of gene g, where a third of the genes are markers of each type (effects of a standard
deviation of MARKER_EFFECT). Of cell n: counts ~ NB(mean library_n softmax(...)_g, dispersion theta_g), each then lost with
probability DROPOUT. Everything comes from SEED, in a stream that numpy has promised never to change.
"""

from __future__ import annotations

import numpy as np

from vbpi_mix.cells.data import RawCells

SEED = 7
N_CELLS = 1_400
N_GENES = 200
# Unequal, as types of cells are.
TYPES = {
    "astrocyte": 0.10, "endothelial": 0.08, "interneuron": 0.12, "microglia": 0.05, "oligodendrocyte": 0.25,
    "pyramidal CA1": 0.22, "pyramidal SS": 0.18,
}  # fmt: skip
MARKER_SHARE = 1.0 / 3.0
MARKER_EFFECT = 0.7
MEAN_LOG_LIBRARY, SD_LOG_LIBRARY = 6.5, 0.4
DROPOUT = 0.2


def simulate(n_cells: int = N_CELLS, n_genes: int = N_GENES, seed: int = SEED) -> RawCells:
    """Counts [n_cells, n_genes] with the type of each cell."""
    random = np.random.RandomState(seed)
    names, shares = np.array(list(TYPES)), np.array(list(TYPES.values()))
    base = random.normal(0.0, 1.0, n_genes)
    is_marker = random.uniform(size=(len(names), n_genes)) < MARKER_SHARE
    effects = is_marker * random.normal(0.0, MARKER_EFFECT, (len(names), n_genes))
    dispersion = random.gamma(2.0, 1.0, n_genes) + 0.2
    types = random.choice(len(names), n_cells, p=shares)
    library = np.exp(random.normal(MEAN_LOG_LIBRARY, SD_LOG_LIBRARY, n_cells))
    expression = np.exp(base + effects)
    mean = library[:, None] * (expression / expression.sum(1, keepdims=True))[types]
    rates = random.gamma(np.broadcast_to(dispersion, mean.shape), mean / dispersion)
    counts = random.poisson(rates) * (random.uniform(size=mean.shape) >= DROPOUT)
    genes = tuple(f"gene{number}" for number in range(1, n_genes + 1))
    return RawCells("the simulated cells", counts, genes, names[types], "type")

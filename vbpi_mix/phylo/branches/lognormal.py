"""The log-normal branch model: feature tables, and the draws and densities of log-lengths under R components.

The log-length of an edge is z + LOG_LENGTH_SHIFT with z ~ Normal(mean, sd); mean and log sd are sums of learned
features of the edge: its split, and with PSP features also the primary subsplit pairs at its two ends (pendant edges
have one). Zhang and Matsen (2019), "Variational Bayesian phylogenetic inference", section 3.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vbpi_mix.errors import ConfigError
from vbpi_mix.phylo.sbn.support import SubsplitSupport

# A branch that has learned nothing has a median of exp(-2) = 0.135 substitutions per site.
LOG_LENGTH_SHIFT = -2.0
BRANCH_MODELS = ("psp", "split")


def initial_features(
    support: SubsplitSupport, n_components: int, branch_model: str, generator: torch.Generator
) -> Tensor:
    """Feature tables float64 [A, n_features, 2] (mean, log sd), Xavier-uniform per component; a leaf with gradient.

    branch_model "psp" has a row per split and per primary subsplit pair, "split" only the former. Raises ConfigError
    for another name.
    """
    if branch_model not in BRANCH_MODELS:
        raise ConfigError(f"branch model {branch_model!r} is unknown: give {' or '.join(BRANCH_MODELS)}")
    rows = support.n_features if branch_model == "psp" else support.n_splits
    bound = math.sqrt(6.0 / (rows + 2))
    uniform = torch.rand(n_components, rows, 2, generator=generator, dtype=torch.float64)
    return (uniform.mul_(2.0).sub_(1.0).mul_(bound)).requires_grad_()

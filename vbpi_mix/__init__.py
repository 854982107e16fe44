"""Mixtures of subsplit Bayesian networks, learned by variational inference.

    import vbpi_mix
    run = vbpi_mix.fit("DS1.nex", trees="ufboot/*.gz", components=4, sampled=2, estimator="s2a", out="DS1.vbpi")
    run.evaluate(importance_samples=1000).pooled.mean
    run.consensus().newick()
    run = vbpi_mix.load("DS1.vbpi")

Names are imported when they are first used, so that `import vbpi_mix` itself costs nothing. `vbpi_mix.estimators` are
the estimators of the mixture bound by themselves, for any target; `vbpi_mix.errors` what may be raised.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name is defined.
_PUBLIC = {
    "Alignment": "vbpi_mix.phylo.data.alignment",
    "FitConfig": "vbpi_mix.phylo.config",
    "ModelConfig": "vbpi_mix.phylo.config",
    "Run": "vbpi_mix.phylo.run",
    "TrainingConfig": "vbpi_mix.training.config",
    "TreeSample": "vbpi_mix.phylo.trees.sample",
    "compare": "vbpi_mix.phylo.compare",
    "compare_models": "vbpi_mix.phylo.model_choice",
    "fit": "vbpi_mix.phylo.fit",
    "fit_replicates": "vbpi_mix.phylo.replicate_fits",
    "load": "vbpi_mix.phylo.run",
    "read_alignment": "vbpi_mix.phylo.data.alignment",
    "read_tree_sample": "vbpi_mix.phylo.trees.sample",
    "simulate": "vbpi_mix.phylo.simulation",
}
_MODULES = ("errors", "estimators")

__all__ = [
    "Alignment",
    "FitConfig",
    "ModelConfig",
    "Run",
    "TrainingConfig",
    "TreeSample",
    "__version__",
    "compare",
    "compare_models",
    "errors",
    "estimators",
    "fit",
    "fit_replicates",
    "load",
    "read_alignment",
    "read_tree_sample",
    "simulate",
]

if TYPE_CHECKING:
    from vbpi_mix import errors, estimators
    from vbpi_mix.phylo.compare import compare
    from vbpi_mix.phylo.config import FitConfig, ModelConfig
    from vbpi_mix.phylo.data.alignment import Alignment, read_alignment
    from vbpi_mix.phylo.fit import fit
    from vbpi_mix.phylo.model_choice import compare_models
    from vbpi_mix.phylo.replicate_fits import fit_replicates
    from vbpi_mix.phylo.run import Run, load
    from vbpi_mix.phylo.simulation import simulate
    from vbpi_mix.phylo.trees.sample import TreeSample, read_tree_sample
    from vbpi_mix.training.config import TrainingConfig


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

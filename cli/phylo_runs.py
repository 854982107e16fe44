"""A phylogenetic run as a whole: put together from its parts, saved with them, and loaded again.

The checkpoint holds the site patterns and the support beside the parameters, so that a run directory can be evaluated,
exported and compared wherever it is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vbpi_mix.errors import CheckpointError
from vbpi_mix.estimators import Estimator
from vbpi_mix.phylo.branches.flows import FLOWS, make_flow
from vbpi_mix.phylo.branches.flows.contract import BranchFlow
from vbpi_mix.phylo.data.site_patterns import SitePatterns
from vbpi_mix.phylo.mixture import PhyloMixture
from vbpi_mix.phylo.models.posterior import Posterior
from vbpi_mix.phylo.sbn.support import SubsplitSupport
from vbpi_mix.training.checkpoint import load_checkpoint
from vbpi_mix.training.mixture_problem import MixtureProblem
from vbpi_mix.training.run_directory import RunDirectory
from vbpi_mix_cli.config_files import check_config

KIND = "phylo"
# What config.yaml must hold to make the model again (config_files.check_config), and what it may hold besides.
MODEL_ENTRIES: dict[str, Any] = {
    "A": int,
    "S": int,
    "K": int,
    "estimator": tuple(estimator.value for estimator in Estimator),
    "branch": ("psp", "split"),
}
# Runs of before there were flows lack these; a flow that has no layers or hidden units has None for them.
LATER_MODEL_ENTRIES: dict[str, Any] = {"flow": FLOWS, "pair_rate": float}
FLOW_SIZES: dict[str, Any] = {"flow_layers": int, "flow_hidden": int}


class PhyloProblem(MixtureProblem):
    """Trees: VIMCO with K particles; its state includes the data and the support."""

    def __init__(
        self,
        taxa: tuple[str, ...],
        patterns: SitePatterns,
        mixture: PhyloMixture,
        *,
        estimator: Estimator,
        sampled: int,
        particles: int,
    ) -> None:
        super().__init__(
            KIND, Posterior(patterns), mixture, estimator=estimator, sampled=sampled, particles=particles, direct=True
        )
        self.taxa = taxa
        self.patterns = patterns
        self.support = mixture.support
        self.trees = mixture

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters, taxa, site patterns and support."""
        return {
            **super().state_dict(),
            "taxa": list(self.taxa),
            "states": torch.from_numpy(self.patterns.states),
            "weights": torch.from_numpy(self.patterns.weights),
            "support": support_state(self.support),
        }


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run read from its directory."""

    directory: RunDirectory
    config: Mapping[str, Any]
    taxa: tuple[str, ...]
    patterns: SitePatterns
    support: SubsplitSupport
    mixture: PhyloMixture
    target: Posterior


def load_run(path: str | Path) -> LoadedRun:
    """The run in a directory.

    Raises RunDirectoryError if there is none or its configuration is no good, CheckpointError if its checkpoint is missing,
    damaged, or not of trees.
    """
    directory = RunDirectory.open(path)
    config = directory.read_config()
    state = load_checkpoint(directory.checkpoint, KIND).problem
    check_config(directory, config, {"model": MODEL_ENTRIES, "training": {}})
    model = config["model"]
    later = {name: kind for name, kind in LATER_MODEL_ENTRIES.items() if name in model}
    sizes = {name: kind for name, kind in FLOW_SIZES.items() if model.get(name) is not None}
    check_config(directory, config, {"model": later | sizes})
    try:
        taxa = tuple(state["taxa"])
        patterns = SitePatterns(state["states"].numpy(), state["weights"].numpy())
        support = restore_support(state["support"])
        mixture = PhyloMixture(
            support,
            model["A"],
            generator=torch.Generator(),
            branch_model=model["branch"],
            flow=flow_of(model, support, torch.Generator()),
            pair_rate=model.get("pair_rate", 1.0),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory.checkpoint} lacks {error}: it is not a whole run of trees") from error
    mixture.load_state_dict(state)
    return LoadedRun(directory, config, taxa, patterns, support, mixture, Posterior(patterns))


def flow_of(model: Mapping[str, Any], support: SubsplitSupport, generator: torch.Generator) -> BranchFlow | None:
    """The flow that the model part of a configuration asks for; none, if it says nothing."""
    return make_flow(
        model.get("flow", "none"), support, generator, model.get("flow_layers"), model.get("flow_hidden"),
        split_only=model["branch"] == "split",
    )  # fmt: skip


def support_state(support: SubsplitSupport) -> dict[str, Any]:
    """A support as tensors and numbers; the bit sets of splits as int64."""
    state: dict[str, Any] = {"n_taxa": support.n_taxa}
    for name in SubsplitSupport.__dataclass_fields__:
        value = getattr(support, name)
        if isinstance(value, np.ndarray):
            state[name] = torch.from_numpy(value.view(np.int64) if value.dtype == np.uint64 else value)
    return state


def restore_support(state: Mapping[str, Any]) -> SubsplitSupport:
    """The support of `support_state`. Raises KeyError if an array is missing."""
    arrays = {
        name: state[name].numpy() if isinstance(state[name], Tensor) else state[name]
        for name in SubsplitSupport.__dataclass_fields__
    }
    arrays["split_bits"] = arrays["split_bits"].view(np.uint64)
    return SubsplitSupport(**arrays)
